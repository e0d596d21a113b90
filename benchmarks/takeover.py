"""Takeover after kill -9 of a conductor that owns 1,000 nodes (issue figures; I4).

A system of its own by ``holdfast up`` with the settings it is shipped with, two conductors and
2,000 nodes; some of them deploy. Measured from the kill, by CLOCK_MONOTONIC:

- until every shard is owned by a living member (the database, asked every few milliseconds);
- until a new owner speaks to a machine whose deployment the dead one had in hand (the fleet's
  journal, reads included): for the first such deployment, and for half of them. The latter
  includes what a deployment waits for by itself, a machine's boot for example.

"Without a supervisor": it is stopped (SIGSTOP) before the kill, so nobody reports the death.
"""

from __future__ import annotations

import asyncio
import os
import signal
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import msgspec

from holdfast.cli.demo.cloud import Api
from holdfast.cli.demo.stage import Stage
from holdfast.sim.fleet.journal import read_lines
from holdfast.store.embedded import EmbeddedPostgres

TITLE = "Takeover"
NODES = 2_000  # over two conductors
ROUNDS = 3
DEPLOYING = 40  # in each round
LIMIT_S = 120.0
AT_ONCE = 16
LEASE_S = 5.0  # as shipped

UNOWNED = """
select count(*) from shard_claim c where not exists (select from member m
 where m.id = c.owner and m.epoch = c.incarnation and m.state <> 'gone')
"""
OF_MEMBER = "select count(*) from shard_claim where owner = $1 and incarnation = $2"
OBJECTS = "select coalesce(sum(objects), 0) from shard_claim where owner = $1"
JOBS_OF = """
select j.id, greatest(c.epoch, n.entered_epoch)
  from job j join shard_claim c on c.grp = j.grp and c.shard = j.shard
  join node n on n.uuid = j.object_id
 where c.owner = $1 and c.incarnation = $2 and j.state in ('queued', 'running', 'waiting')
"""
WHO = "select id, epoch from member where slot = $1 and state <> 'gone'"


class Round(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds from the kill."""

    objects: int  # that the killed conductor owned
    in_hand: int  # its deployments
    owned_s: float
    first_s: float
    half_s: float


def measure() -> list[tuple[str, str, str]]:
    """Rows of (what, aim, measured)."""
    return asyncio.run(_measure())


async def _measure() -> list[tuple[str, str, str]]:
    stage = Stage(conductors=2)
    try:
        cloud = await stage.start_system()
        async with Api(cloud) as api:
            began = time.monotonic()
            bench = Bench(stage, api)
            try:
                await bench.prepare()
                print(f"prepared in {time.monotonic() - began:.0f} s", flush=True)
                reported = [await bench.round(n, supervised=True) for n in range(ROUNDS)]
                silent = [await bench.round(n + ROUNDS, supervised=False) for n in range(ROUNDS)]
            finally:
                await bench.close()
    finally:
        await stage.close(keep=False)
    return [
        *_rows("a living supervisor", "< 1 s", reported),
        *_rows("no supervisor", f"≤ {LEASE_S + 1:g} s (lease + 1 s)", silent),
    ]


def _rows(which: str, aim: str, rounds: Sequence[Round]) -> list[tuple[str, str, str]]:
    def shown(times: list[float]) -> str:
        return f"{statistics.median(times):.3f} s ({', '.join(f'{t:.3f}' for t in times)})"

    objects = ", ".join(str(r.objects) for r in rounds)
    in_hand = ", ".join(str(r.in_hand) for r in rounds)
    return [
        (f"{which}: until its shards ({objects} nodes) are owned", aim,
         shown([r.owned_s for r in rounds])),
        (f"{which}: until the first deployment in hand goes on", aim,
         shown([r.first_s for r in rounds])),
        (f"{which}: until half of them ({in_hand}) do", aim, shown([r.half_s for r in rounds])),
    ]  # fmt: skip


class Bench:
    """The system with its nodes and machines."""

    def __init__(self, stage: Stage, api: Api) -> None:
        self._stage = stage
        self._api = api
        self._nodes: list[str] = []
        self._fleet: asyncio.subprocess.Process | None = None
        self._journal = stage.folder / "reads.jsonl"
        self._database: Any = None

    async def prepare(self) -> None:
        """All nodes enrolled; those that will deploy, available."""
        dsn = EmbeddedPostgres.prepare(self._stage.folder / "data").dsn
        self._database = await asyncpg.connect(dsn)
        machines, control = await self._start_fleet(DEPLOYING * ROUNDS * 2)

        async def enrol(number: int) -> str:
            machine = machines[number] if number < len(machines) else None
            info = {
                "redfish_address": machine["address"] if machine else "http://127.0.0.1:9",
                "redfish_username": "admin",
                "redfish_password": "password",
                "deploy_iso": f"{control}/ramdisk.iso",
            }
            mac = machine["mac"] if machine else f"52:54:01:00:{number >> 8:02x}:{number & 255:02x}"
            return await self._api.create(f"n{number:04d}", info, mac)

        self._nodes = await _each(range(NODES), enrol)
        busy = self._nodes[: len(machines)]
        for verb, state in (("manage", "manageable"), ("provide", "available")):
            await _each(busy, lambda node, verb=verb: self._api.provision(node, verb))
            await self._until(lambda state=state: self._all(busy, state))

    async def _start_fleet(self, count: int) -> tuple[list[dict[str, Any]], str]:
        argv = (
            *("--count", str(count), "--port-base", "0", "--api-url", self._api.baremetal_url),
            *("--journal", str(self._journal), "--journal-reads", "--heartbeat-min", "1"),
        )
        self._fleet = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "holdfast.sim.fleet", *argv, stdout=asyncio.subprocess.PIPE
        )
        assert self._fleet.stdout is not None
        control = str(msgspec.json.decode(await self._fleet.stdout.readline())["control_url"])
        machines = [
            {"address": line["address"], "mac": line["mac"]}
            for line in await _machines(f"{control}/control/machines")
        ]
        return machines, control

    async def round(self, number: int, *, supervised: bool) -> Round:
        """Deploy some machines, kill a conductor in the middle of it, and look who goes on."""
        nodes = self._nodes[number * DEPLOYING : (number + 1) * DEPLOYING]
        slot = f"conductor-{number % 2 + 1}"
        await self._until(lambda: self._balanced(slot))
        await _each(nodes, lambda node: self._api.provision(node, "active"))
        await asyncio.sleep(4)  # by now they boot their ramdisks or write images
        who = await self._database.fetchrow(WHO, slot)
        objects = await self._database.fetchval(OBJECTS, who["id"])
        pid = (await self._stage.children())[slot]
        parent = _parent(pid)
        if not supervised:
            os.kill(parent, signal.SIGSTOP)
        jobs = {str(job): epoch for job, epoch in await self._database.fetch(JOBS_OF, *who)}
        killed = time.monotonic()
        os.kill(pid, signal.SIGKILL)
        try:
            while await self._database.fetchval(OF_MEMBER, who["id"], who["epoch"]):
                await asyncio.sleep(0.003)
            while await self._database.fetchval(UNOWNED):
                await asyncio.sleep(0.003)
            owned_s = time.monotonic() - killed
            await self._until(lambda: self._all(nodes, "active"))
        finally:
            os.kill(parent, signal.SIGCONT)
        gaps = self._gone_on(jobs, killed)
        return Round(
            objects=objects,
            in_hand=len(jobs),
            owned_s=owned_s,
            first_s=gaps[0],
            half_s=statistics.median(gaps),
        )

    def _gone_on(self, jobs: dict[str, int], killed: float) -> list[float]:
        """Per job, with its token at the kill: when somebody first spoke under a higher one."""
        first: dict[str, float] = {}
        with self._journal.open("rb") as file:
            for line in read_lines(file):
                if line and line.job in jobs and line.epoch > jobs[line.job]:
                    first.setdefault(line.job, line.t - killed)
        if not first:
            raise RuntimeError("the killed conductor had no deployment in hand: deploy more")
        return sorted(first.values())

    async def _balanced(self, slot: str) -> bool:
        """Whether the slot is registered and owns about its half."""
        who = await self._database.fetchrow(WHO, slot)
        if who is None or await self._database.fetchval(UNOWNED):
            return False
        return bool(await self._database.fetchval(OBJECTS, who["id"]) >= NODES * 0.48)

    async def _all(self, nodes: Sequence[str], state: str) -> bool:
        wanted = set(nodes)
        found = await self._database.fetchval(
            "select count(*) from node where uuid = any($1) and provision_state = $2", wanted, state
        )
        return bool(found == len(wanted))

    async def _until(self, condition: Callable[[], Awaitable[bool]]) -> None:
        async with asyncio.timeout(LIMIT_S):
            while not await condition():
                await asyncio.sleep(0.2)

    async def close(self) -> None:
        if self._database is not None:
            await self._database.close()
        if self._fleet is not None:
            self._fleet.terminate()
            await self._fleet.wait()


async def _each(items: Sequence[Any], work: Callable[[Any], Awaitable[Any]]) -> list[Any]:
    room = asyncio.Semaphore(AT_ONCE)

    async def one(item: Any) -> Any:
        async with room:
            return await work(item)

    return await asyncio.gather(*(one(item) for item in items))


async def _machines(url: str) -> list[dict[str, Any]]:
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        document: dict[str, Any] = await response.json()
        return list(document["machines"])


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
