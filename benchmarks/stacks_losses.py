"""An engine dies in the middle of a stack: when somebody goes on, and whether all is made once."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import msgspec

from benchmarks.stacks_held import NAME
from benchmarks.stacks_shapes import of_type
from benchmarks.stacks_system import Holdfast

RESOURCES = 300
HELD_S = 1.0
JOBS_MAX = 40  # places of an engine: what it has in hand when it dies
BEFORE_S = 1.5
LIMIT_S = 60.0
ENGINES_RUNNING = 2
POLL_S = 0.003

WHO = "select id, epoch from member where slot = $1 and state <> 'gone'"
IN_HAND = """
select id from job
 where owner = $1 and run_epoch = $2 and state = 'running' and kind = 'stack.resource'
"""
GONE_ON = """
select count(*) filter (where state <> 'running' or (owner, run_epoch) is distinct from ($2, $3))
           as free,
       count(*) filter (where state not in ('queued', 'waiting')
                          and (state <> 'running' or (owner, run_epoch) is distinct from ($2, $3)))
           as gone_on
  from job where id = any($1)
"""
STATUS = "select action || '_' || status from stack where id = $1"
ROWS = "select physical_id from stack_resource where stack = $1 and status = 'COMPLETE'"
ENGINES = "select count(*) from member where role = 'engine' and state <> 'gone'"


class Loss(msgspec.Struct, frozen=True):
    """What came after a kill, in seconds from it."""

    in_hand: int
    free_s: float
    first_s: float
    last_s: float
    status: str
    resources: int  # that the stack has
    orphans: int  # that were made, and are not the stack's


async def loss(system: Holdfast, number: int, *, supervised: bool) -> Loss:
    """Kill -9 an engine while a stack is made. Not ``supervised``: nobody reports it."""
    side = system.side
    slot = f"engine-{number % 2 + 1}"
    database: Any = await asyncpg.connect(side.dsn)
    try:
        async with asyncio.timeout(LIMIT_S):
            while await database.fetchval(ENGINES) < ENGINES_RUNNING:
                await asyncio.sleep(0.1)
        system.children = await system.stage.children()
        pid = system.children[slot]
        who = await database.fetchrow(WHO, slot)
        name = f"loss-{'s' if supervised else 'u'}{number}"
        world = system.stage.folder / name
        world.mkdir()
        template = of_type(RESOURCES, NAME, seconds=HELD_S, folder=str(world))
        making = asyncio.create_task(side.create("loss", name, template))
        await asyncio.sleep(BEFORE_S)
        parent = _parent(pid)
        if not supervised:
            os.kill(parent, signal.SIGSTOP)
        try:
            os.kill(pid, signal.SIGKILL)
            killed = time.monotonic()
            jobs = [row["id"] for row in await database.fetch(IN_HAND, *who)]
            free_s, first_s, last_s = await _gone_on(database, jobs, who, killed)
            await making
        finally:
            os.kill(parent, signal.SIGCONT)
        stack = UUID(side.ids[name])
        owned = {row["physical_id"] for row in await database.fetch(ROWS, stack)}
        return Loss(
            in_hand=len(jobs),
            free_s=free_s,
            first_s=first_s,
            last_s=last_s,
            status=await database.fetchval(STATUS, stack),
            resources=len(owned),
            orphans=sum(file.name not in owned for file in world.iterdir()),
        )
    finally:
        await database.close()


async def _gone_on(database: Any, jobs: list[UUID], who: Any, killed: float) -> list[float]:
    """When all of these jobs were free for others, when one and when all were in other hands."""
    at = [0.0, 0.0, 0.0]
    async with asyncio.timeout(LIMIT_S):
        while not all(at):
            seen = await database.fetchrow(GONE_ON, jobs, *who)
            now = time.monotonic() - killed
            there = (seen["free"] == len(jobs), seen["gone_on"] > 0, seen["gone_on"] == len(jobs))
            at = [before or (now if true else 0.0) for before, true in zip(at, there, strict=True)]
            await asyncio.sleep(POLL_S)
    return at


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
