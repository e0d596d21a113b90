"""The demonstration itself, act by act."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import Any, Final, TypeVar

import click
import msgspec
from rich.console import Console
from rich.live import Live

from holdfast.cli.demo.cloud import Api
from holdfast.cli.demo.picture import Picture, draw, line
from holdfast.cli.demo.score import Score, card, verdict_of
from holdfast.cli.demo.stage import Fleet, Stage
from holdfast.cli.demo.watch import Watch
from holdfast.errors import HoldfastError

LOOK_S: Final = 0.25
LINE_S: Final = 2.0
AT_ONCE: Final = 8  # requests in hand
PASSWORD: Final = "password"  # noqa: S105 - of the simulated BMCs

Condition = Callable[[Picture], bool]
T = TypeVar("T")
R = TypeVar("R")


class Plot(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be played."""

    nodes: int
    conductors: int
    kill: bool
    limit_s: float
    keep: bool
    live: bool
    as_json: bool


class Play:
    """Sets the stage, plays, judges, and clears up whatever happened."""

    def __init__(self, plot: Plot) -> None:
        self._plot = plot
        self._console = Console()
        self._began = time.monotonic()
        self._killed = ""
        self._takeover_s: float | None = None

    async def run(self) -> int:
        """Play; returns the exit status: 0 only if nothing was lost."""
        stage = Stage(self._plot.conductors)
        task = asyncio.current_task()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, lambda: task.cancel() if task else None)
        keep = True  # whatever goes wrong, its logs are wanted
        try:
            score = await self._play(stage)
            keep = self._plot.keep or bool(score.faults())
        except asyncio.CancelledError:
            click.echo("stopped", err=True)
            keep = self._plot.keep
            return 130
        finally:
            self._tell("clearing up")
            await stage.close(keep=keep)
            if keep:
                click.echo(f"logs, data and journal are kept in {stage.folder}", err=True)
        return self._judge(score)

    def _judge(self, score: Score) -> int:
        faults = score.faults()
        if self._plot.as_json:
            document = {**msgspec.structs.asdict(score), "lost": faults}
            click.echo(msgspec.json.encode(document).decode())
        else:
            self._console.print(card(score))
            for fault in faults:
                self._console.print(f"[bold red]lost:[/] {fault}")
        return 1 if faults else 0

    async def _play(self, stage: Stage) -> Score:
        self._tell("starting the system")
        cloud = await stage.start_system()
        async with Api(cloud) as api:
            self._tell("starting the machines")
            fleet = await stage.start_fleet(self._plot.nodes, api.baremetal_url)
            watch = Watch(api)
            async with self._shown(watch):
                try:
                    async with asyncio.timeout(self._plot.limit_s):
                        await self._acts(stage, api, fleet, watch)
                except TimeoutError:
                    watch.say(f"given up after {self._plot.limit_s:g} s")
                with contextlib.suppress(HoldfastError):
                    await watch.look()
            return self._score(watch, fleet)

    async def _acts(self, stage: Stage, api: Api, fleet: Fleet, watch: Watch) -> None:
        watch.picture.phase = "enrolling"
        nodes = await self._enrol(api, fleet)
        await self._all_to(api, watch, nodes, "manage", "manageable")
        await self._all_to(api, watch, nodes, "provide", "available")
        watch.picture.phase = "deploying"
        deploying = asyncio.create_task(_each(nodes, lambda n: api.provision(n, "active")))
        try:
            if self._plot.kill:
                await self._until(watch, self._in_full_swing)
                await self._kill(stage, watch)
            await deploying
        finally:
            deploying.cancel()
        await self._until(watch, self._settled)
        watch.picture.phase = "done"

    async def _enrol(self, api: Api, fleet: Fleet) -> list[str]:
        async def enrol(machine: dict[str, Any]) -> str:
            info = {
                "redfish_address": machine["address"],
                "redfish_username": "admin",
                "redfish_password": PASSWORD,
                "deploy_iso": f"{fleet.control_url}/ramdisk.iso",
            }
            number = int(machine["index"]) + 1
            return await api.create(f"m{number:02d}", info, machine["mac"])

        return await _each(fleet.machines, enrol)

    async def _all_to(
        self, api: Api, watch: Watch, nodes: list[str], verb: str, state: str
    ) -> None:
        watch.picture.phase = f"{verb}: until all are {state}"
        await _each(nodes, lambda node: api.provision(node, verb))
        await self._until(watch, lambda picture: picture.states()[state] == self._plot.nodes)

    def _in_full_swing(self, picture: Picture) -> bool:
        """Many machines in the middle of their deployment, none of them nearly done."""
        under_way = sum(1 for node in picture.nodes if 0.2 <= node.share < 0.9)
        return under_way >= len(picture.nodes) * 0.6 or picture.states()["active"] > 0

    def _settled(self, picture: Picture) -> bool:
        states = picture.states()
        ended = states["active"] + sum(n for state, n in states.items() if "failed" in state)
        return ended == self._plot.nodes

    async def _kill(self, stage: Stage, watch: Watch) -> None:
        """Kill the conductor with most work in hand, and time the takeover by the claims."""
        chosen = watch.busiest()
        if chosen is None:
            watch.say("no conductor has work in hand: none is killed")
            return
        owner, shards = chosen
        slot = watch.slot_of(owner)
        pid = (await stage.children())[slot]
        killed_at = time.time()
        os.kill(pid, signal.SIGKILL)
        self._killed, watch.killed = slot, owner
        watch.picture.phase = f"deploying; {slot} was killed"
        watch.say(f"kill -9 {pid}: {slot}, with {len(shards)} shards")
        while any(watch.owner_of_shard[shard] == owner for shard in shards):
            await watch.look()
            await asyncio.sleep(0.05)
        # By the claims' own times: exact, however seldom we look.
        self._takeover_s = max(0.0, max(watch.since[shard] for shard in shards) - killed_at)
        watch.say(f"all of them have a new owner after {self._takeover_s * 1000:.0f} ms")

    async def _until(self, watch: Watch, condition: Condition) -> None:
        while not condition(await watch.look()):
            await asyncio.sleep(LOOK_S)

    def _score(self, watch: Watch, fleet: Fleet) -> Score:
        states = watch.picture.states()
        deployments = [j for j in watch.jobs.values() if j["kind"] == "node.deploy"]
        verdict = verdict_of(fleet.journal)
        return Score(
            nodes=self._plot.nodes,
            active=states["active"],
            resumed=sum(1 for job in deployments if job["owners"] > 1),
            failed=sum(n for state, n in states.items() if "failed" in state or state == "error"),
            takeover_s=self._takeover_s,
            took_s=time.monotonic() - self._began,
            killed=self._killed,
            double_commands=verdict.double_commands,
            commands=verdict.effects,
        )

    def _tell(self, text: str) -> None:
        if not self._plot.as_json:
            click.echo(text)

    @contextlib.asynccontextmanager
    async def _shown(self, watch: Watch) -> AsyncGenerator[None, None]:
        """Show the picture as it changes: live on a terminal, else a line now and then."""
        if self._plot.as_json:
            yield
            return
        showing = self._show_live(watch) if self._plot.live else self._show_lines(watch)
        task = asyncio.create_task(showing)
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _show_live(self, watch: Watch) -> None:
        with Live(console=self._console, auto_refresh=False) as live:
            try:
                while True:
                    live.update(draw(watch.picture), refresh=True)
                    await asyncio.sleep(LOOK_S)
            finally:
                live.update(draw(watch.picture), refresh=True)

    async def _show_lines(self, watch: Watch) -> None:
        told = 0
        while True:
            for event in watch.picture.events[told:]:
                click.echo(event)
            told = len(watch.picture.events)
            click.echo(line(watch.picture))
            await asyncio.sleep(LINE_S)


async def _each(items: Sequence[T], work: Callable[[T], Awaitable[R]]) -> list[R]:
    """Do the same for all, a few at once; results in order."""
    room = asyncio.Semaphore(AT_ONCE)

    async def one(item: T) -> R:
        async with room:
            return await work(item)

    return await asyncio.gather(*(one(item) for item in items))
