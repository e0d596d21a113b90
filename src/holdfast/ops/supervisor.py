"""The parent of a host's roles: starts them, starts them again, reports their deaths, drains them.

It knows processes only. What is started, in which order it stops and what stands
underneath (database, keys) is ``ops.system``'s business.

    starting -> running -(dies)-> extinguished -> reaped -> obituary -> waiting -> starting
                   |                                  (back-off, doubled per quick death)
                   +-(drained: status 0)-> left -(SIGHUP)-> starting
                   +-(stop: TERM, after stop_s KILL)-> gone
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec
import structlog

from holdfast.errors import HoldfastError
from holdfast.ops.children import Child, Exit, Launch
from holdfast.ops.obituaries import Obituaries
from holdfast.ops.settings import SupervisorSettings

log = structlog.get_logger(__name__)

_STEADY_S: Final = 10.0  # a child that lived so long has its back-off forgotten
_OBITUARIES_S: Final = 2.0  # how long a stop waits for the database to take them


class ChildSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One slot: how to start it (asked before each start), and how it stops.

    Stages stop one after the other, lowest first: conductors hand over while the
    API and the gateway still work.
    """

    slot: str
    role: str
    launch: Callable[[], Awaitable[Launch]]
    output: Path
    stop_stage: int = 0
    stop_signal: int = signal.SIGTERM
    kill_signal: int = signal.SIGKILL
    leaves: bool = True  # status 0 means that it was asked to drain: then it stays down


class ChildStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What the supervisor knows of a slot."""

    slot: str
    role: str
    pid: int | None
    restarts: int
    last_exit: str | None


class _Slot:
    """The keeper of one slot: at most one child at a time, until told to stop."""

    def __init__(self, spec: ChildSpec) -> None:
        self.spec = spec
        self.child: Child | None = None
        self.restarts = 0
        self.last_exit: str | None = None
        self.stopping = asyncio.Event()
        self.resume = asyncio.Event()
        self.task: asyncio.Task[None] | None = None


class Supervisor:
    """Keeps a set of children running until ``stop``."""

    def __init__(
        self,
        specs: Sequence[ChildSpec],
        settings: SupervisorSettings,
        obituaries: Obituaries,
        announce: Callable[[str], None],
        *,
        log_bytes_max: int = 50_000_000,
    ) -> None:
        self._slots = {spec.slot: _Slot(spec) for spec in specs}
        self._settings = settings
        self._obituaries = obituaries
        self._announce = announce
        self._log_bytes_max = log_bytes_max
        self._trimming: asyncio.Task[None] | None = None

    def start(self, *slots: str) -> None:
        """Start these slots (none named: all); each is kept running from now on."""
        for name in slots or tuple(self._slots):
            slot = self._slots[name]
            if slot.task is None:
                slot.task = asyncio.create_task(self._keep(slot), name=f"keep {name}")
        if self._trimming is None:
            self._trimming = asyncio.create_task(self._trim_logs())

    async def failed(self) -> None:
        """Return never, unless a keeper itself breaks: then raise what broke it."""
        tasks = [slot.task for slot in self._slots.values() if slot.task]
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        for task in done:
            task.result()
        await asyncio.Event().wait()

    def resume(self) -> None:
        """Start what has drained again."""
        for slot in self._slots.values():
            slot.resume.set()

    def status(self) -> list[ChildStatus]:
        """Every slot, as it is now."""
        return [
            ChildStatus(
                slot=name,
                role=slot.spec.role,
                pid=slot.child.pid if slot.child else None,
                restarts=slot.restarts,
                last_exit=slot.last_exit,
            )
            for name, slot in self._slots.items()
        ]

    async def stop(self) -> None:
        """Drain stage by stage: TERM, and KILL for who is not gone after ``stop_s``."""
        for slots in self._stages():
            await self._stop_slots(slots, self._settings.stop_s)
        self._end()

    async def kill(self) -> None:
        """Stop hard: stage by stage too, so that obituaries still find a database."""
        for slots in self._stages():
            await self._stop_slots(slots, 0.0)
        self._end()

    def _stages(self) -> list[list[_Slot]]:
        slots = self._slots.values()
        stages = sorted({slot.spec.stop_stage for slot in slots})
        return [[s for s in slots if s.spec.stop_stage == stage] for stage in stages]

    def _end(self) -> None:
        if self._trimming:
            self._trimming.cancel()

    async def _stop_slots(self, slots: list[_Slot], within_s: float) -> None:
        for slot in slots:
            slot.stopping.set()
            if slot.child and within_s:
                self._announce(f"{slot.spec.slot}: draining")
                slot.child.signal(slot.spec.stop_signal)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._ended(slots)
        for slot in slots:
            if slot.child:
                if within_s:
                    self._announce(f"{slot.spec.slot}: not drained in {within_s:g} s; killed")
                slot.child.signal(slot.spec.kill_signal)
        await self._ended(slots)
        await self._obituaries.settle(within_s=_OBITUARIES_S)

    async def _ended(self, slots: list[_Slot]) -> None:
        tasks = [slot.task for slot in slots if slot.task]
        if tasks:
            await asyncio.wait(tasks)

    async def _keep(self, slot: _Slot) -> None:
        spec, quick_deaths = slot.spec, 0
        while not slot.stopping.is_set():
            began = time.monotonic()
            left = False
            try:
                end = await self._run_once(slot)
                left = spec.leaves and end.status == 0
                slot.last_exit = str(end)
                if end.status and (last := last_line(spec.output)):
                    slot.last_exit += f", its log ending in: {last}"
            except (OSError, HoldfastError) as fault:
                slot.last_exit = f"could not be started: {fault}"
            if slot.stopping.is_set():
                self._announce(f"{spec.slot}: stopped ({slot.last_exit})")
                return
            if left:
                self._announce(f"{spec.slot}: drained; started again when I get SIGHUP")
                await self._resumed(slot)
                continue
            quick_deaths = 0 if time.monotonic() - began > _STEADY_S else quick_deaths + 1
            await self._back_off(slot, quick_deaths)

    async def _back_off(self, slot: _Slot, quick_deaths: int) -> None:
        pause_s = min(
            self._settings.backoff_min_s * 2 ** max(0, min(quick_deaths, 30) - 1),
            self._settings.backoff_max_s,
        )
        slot.restarts += 1
        self._announce(f"{slot.spec.slot}: {slot.last_exit}; started again in {pause_s:g} s")
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(slot.stopping.wait(), pause_s)

    async def _resumed(self, slot: _Slot) -> None:
        """Wait until told to start a drained slot again, or to stop."""
        slot.resume.clear()
        waits = [asyncio.create_task(event.wait()) for event in (slot.resume, slot.stopping)]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    async def _run_once(self, slot: _Slot) -> Exit:
        """One child, from its start to its obituary."""
        spec = slot.spec
        slot.child = child = Child(await spec.launch(), spec.output)
        self._announce(f"{spec.slot}: started (process {child.pid})")
        try:
            end = await child.ended()
        except asyncio.CancelledError:
            child.signal(signal.SIGKILL)
            raise
        self._obituaries.send(spec.slot, child.incarnations(), str(end))
        child.close()
        slot.child = None
        log.info("child.ended", slot=spec.slot, end=str(end))
        return end

    async def _trim_logs(self) -> None:
        """Move a log that has grown too large aside; its writer appends to the emptied file."""
        while True:
            for slot in self._slots.values():
                trim_log(slot.spec.output, self._log_bytes_max)
            await asyncio.sleep(30)


def last_line(path: Path, chars_max: int = 200) -> str:
    """The end of a log, in as much as it fits on a line."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 4096))
            lines = file.read().decode(errors="replace").split("\n")
    except OSError:
        return ""
    return next((line.strip()[:chars_max] for line in reversed(lines) if line.strip()), "")


def trim_log(path: Path, bytes_max: int) -> None:
    """Copy to ``*.1`` and empty in place, as the writer keeps the file open for appending."""
    try:
        if not path.exists() or path.stat().st_size <= bytes_max:
            return
        with path.open("rb") as old, path.with_name(f"{path.name}.1").open("wb") as aside:
            while piece := old.read(1 << 20):
                aside.write(piece)
        os.truncate(path, 0)
    except OSError as error:
        log.warning("log.not_trimmed", path=str(path), fault=error.strerror)
