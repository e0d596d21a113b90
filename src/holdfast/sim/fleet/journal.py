"""The journal: one JSON line per command, in order of execution; and state and fault lines.

A line is with the kernel before the command's answer is sent, so it outlives the
fleet's own death. ``t`` is CLOCK_MONOTONIC (comparable between processes of one
host), ``wall`` the epoch. About 5 µs a line.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import TracebackType

import msgspec

from holdfast.sim.fleet.http import Request

READS = ("read", "session")  # actions that change nothing the owner of a machine cares for
ORIGIN = "x-holdfast-origin"
POWER_CUT = "power-cut"  # the action of a fault line: the machine lost power
TAIL_LINES = 2_000


class Line(msgspec.Struct, omit_defaults=True, frozen=True, kw_only=True):
    """One line. ``kind``: "command", "state" (a machine changed) or "fault" (we broke it).

    A command: ``action`` is read, session, power, boot, media or agent.<command>;
    ``value`` what was asked for; ``done`` whether it took effect; ``status`` the HTTP
    status decided (0: never answered); ``took_s`` from its arrival to its execution;
    ``fault`` the injected fault that befell it; ``boot`` which boot of the machine the
    agent belongs to. Member to attempt are the ``X-Holdfast-Origin`` it carried.
    """

    t: float
    wall: float
    machine: str
    kind: str = "command"
    method: str = ""
    path: str = ""
    action: str = ""
    value: str = ""
    status: int = 0
    done: bool = False
    took_s: float = 0.0
    fault: str = ""
    boot: int = 0
    member: str = ""
    epoch: int = -1  # -1: the command carried none
    job: str = ""
    step: str = ""
    attempt: int = 0

    @property
    def effect(self) -> bool:
        """A command that took effect on the machine."""
        return self.kind == "command" and self.done and self.action not in READS


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a command; see ``Line``."""

    status: int
    done: bool
    took_s: float = 0.0
    fault: str = ""
    boot: int = 0


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """Who sent a command, read from ``X-Holdfast-Origin``."""

    member: str = ""
    epoch: int = -1
    job: str = ""
    step: str = ""
    attempt: int = 0

    @classmethod
    def parse(cls, header: str) -> Origin:
        """``member=..;epoch=..;job=..;step=..;attempt=..``; what is missing stays unset."""
        known: dict[str, str] = {}
        for part in header.split(";"):
            key, _, value = part.strip().partition("=")
            known[key] = "" if value == "-" else value
        return cls(
            member=known.get("member", ""),
            epoch=_number(known.get("epoch", ""), -1),
            job=known.get("job", ""),
            step=known.get("step", ""),
            attempt=_number(known.get("attempt", ""), 0),
        )


def _number(text: str, otherwise: int) -> int:
    return int(text) if text.isdecimal() else otherwise


class Journal:
    """Where lines go: a file appended to, and the last ones in memory."""

    def __init__(
        self,
        path: str = "",
        *,
        reads: bool = False,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.reads = reads
        self.written = 0
        self._encoder = msgspec.json.Encoder()
        self._tail: deque[bytes] = deque(maxlen=TAIL_LINES)
        self._clock = clock
        self._wall = wall
        self._fd = -1
        if path:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.close()

    def command(
        self, machine: str, request: Request, action: str, value: str, outcome: Outcome
    ) -> None:
        """Record one command that reached a BMC or an agent, as it is executed."""
        if action in READS and not self.reads:
            return
        origin = request.headers.get(ORIGIN, "")
        sent = Origin.parse(origin) if origin else Origin()
        self._write(
            Line(
                t=round(self._clock(), 6),
                wall=round(self._wall(), 6),
                machine=machine,
                method=request.method,
                path=request.path,
                action=action,
                value=value,
                **msgspec.structs.asdict(outcome),
                **msgspec.structs.asdict(sent),
            )
        )

    def state(self, machine: str, what: str, value: str) -> None:
        """Record that a machine changed: ``power`` "On", ``running`` "ramdisk", ..."""
        self._note("state", machine, what, value)

    def fault(self, machine: str, what: str, value: str) -> None:
        """Record that somebody broke (or mended) a machine on purpose."""
        self._note("fault", machine, what, value)

    def tail(self, count: int) -> list[bytes]:
        """The last lines written, oldest first, undecoded."""
        return list(self._tail)[-count:] if count > 0 else []

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _note(self, kind: str, machine: str, what: str, value: str) -> None:
        t, wall = round(self._clock(), 6), round(self._wall(), 6)
        self._write(Line(t=t, wall=wall, machine=machine, kind=kind, action=what, value=value))

    def _write(self, line: Line) -> None:
        text = self._encoder.encode(line)
        self.written += 1
        self._tail.append(text)
        if self._fd >= 0:
            os.write(self._fd, text + b"\n")  # unbuffered: it survives this process


def read_lines(raw: Iterable[bytes | str]) -> Iterator[Line | None]:
    """Decode journal lines; None for one that cannot be read (a write cut short)."""
    decoder = msgspec.json.Decoder(Line)
    for text in raw:
        if text.strip():
            try:
                yield decoder.decode(text)
            except msgspec.DecodeError:
                yield None
