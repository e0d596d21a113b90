"""The engine: runs the jobs of stacks. Any number on any hosts, none with anything of its own."""

from __future__ import annotations

import asyncio
from typing import Final

import structlog

from holdfast.baremetal.service import Baremetal
from holdfast.core.queue_worker import QueueWorker
from holdfast.fleet.store import Fleet
from holdfast.identity.delegations import Delegations
from holdfast.identity.policy import Caller
from holdfast.ops.broker import BrokerMetrics
from holdfast.ops.memory import full, limit_memory, used_mb
from holdfast.ops.metrics import Reading, Readings, registry
from holdfast.ops.roles.process import RoleProcess
from holdfast.ops.settings import http_url
from holdfast.ops.stack_metrics import StackCounts
from holdfast.stacks.compiling import Plans
from holdfast.stacks.jobs import handlers
from holdfast.stacks.model import QUEUE, Delegation
from holdfast.stacks.parts import Parts
from holdfast.stacks.pgstore import PgStacks
from holdfast.stacks.types import bodies
from holdfast.stacks.types import registry as resource_types
from holdfast.store.model import Json
from holdfast.store.pg.notify import MEMBERS, PgWaker, queue_topic
from holdfast.store.pg.store import PgStore

log = structlog.get_logger(__name__)

MEMORY_LOOK_S: Final = 2.0


async def run(process: RoleProcess) -> int:
    """Run jobs until drained, until the lease is over, or until its memory is full."""
    settings = process.settings
    memory_mb = limit_memory(settings.engine.memory_max_mb)
    topics = (queue_topic(QUEUE), MEMBERS)
    async with (
        process.store(settings.engine.pool_overflow) as (db, store),
        PgWaker(process.database_url, topics) as waker,
        process.broker(db, waker, {QUEUE}) as broker,
    ):
        parts = stack_parts(process, store)
        shown = registry(process.role)
        counts = StackCounts(shown)
        worker = QueueWorker(
            store,
            process.membership(store, mortal=True),
            lambda: counts.around(handlers(parts)),
            {QUEUE: settings.engine.jobs_max},
            settings.core,
            process.clock,
            waker,
            keep_jobs_s=settings.core.keep_jobs_s,
            lookout=broker.lookout if broker else None,
        )

        async def waiting() -> list[str]:
            return [] if worker.ready else ["its lease"]

        shown.register(Readings(_gauges(worker)))
        if broker:
            shown.register(BrokerMetrics(broker))
        async with process.face(waiting, shown):
            draining = asyncio.create_task(_drain(process, worker))
            filling = asyncio.create_task(leave_when_full(worker, memory_mb))
            try:
                verdict = await worker.run()
            finally:
                filled = filling.done()
                draining.cancel()
                filling.cancel()
    stays_down = verdict == "drained" and (process.draining.is_set() or not filled)
    return process.DRAINED if stays_down else process.LEASE_LOST


def stack_parts(process: RoleProcess, store: PgStore) -> Parts:
    """What stacks' jobs run with."""
    settings = process.settings
    stacks = PgStacks(store, process.vault())
    region = settings.identity.region
    return Parts(
        jobs=store,
        store=stacks,
        plans=Plans(stacks, region),
        registry=resource_types(),
        bodies=bodies,
        call=outer_world(process, store),
        events_max=settings.stacks.events_per_stack_max,
        resources_max=settings.stacks.resources_per_stack_max,
        depth_max=settings.stacks.nested_depth_max,
    )


def outer_world(process: RoleProcess, store: PgStore) -> dict[str, Json]:
    """The ports that resource types may use (``stacks.types``)."""
    settings = process.settings
    delegations = Delegations(store.db)

    async def caller(delegation: Delegation) -> Caller:
        return await delegations.caller(delegation.user_id, delegation.project_id, delegation.roles)

    url = settings.api.public_url or http_url(settings.api.host, settings.api.port)
    return {
        "baremetal": Baremetal(
            store, process.vault(), settings.baremetal, shards=settings.core.shards
        ),
        "serving": Fleet(store.db),
        "caller": caller,
        "orchestration_url": f"{url}/orchestration/v1",
        "region": settings.identity.region,
    }


async def _drain(process: RoleProcess, worker: QueueWorker) -> None:
    await process.draining.wait()
    worker.membership.request_drain()


async def leave_when_full(worker: QueueWorker, limit_mb: int) -> None:
    """Hand over the work while there is memory left to do so in; the supervisor starts afresh."""
    while not full(used := used_mb(), limit_mb):
        await asyncio.sleep(MEMORY_LOOK_S)
    log.error("engine.memory_full", used_mb=used, limit_mb=limit_mb)
    worker.membership.request_drain()


def _gauges(worker: QueueWorker) -> dict[str, tuple[str, Reading]]:
    return {
        "holdfast_lease_trust_seconds": (
            "How long this member may still trust its lease",
            lambda: max(0.0, worker.membership.window.remaining_s()),
        ),
        "holdfast_jobs_running": (
            "Job steps that run now",
            lambda: float(worker.runner.running if worker.runner else 0),
        ),
        "orchestration_engine_up": (
            "Whether this engine has a lease that is trusted (X22)",
            lambda: float(worker.ready),
        ),
    }
