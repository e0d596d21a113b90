"""The conductor: owns a share of the nodes and runs their jobs."""

from __future__ import annotations

import asyncio

from holdfast.baremetal import jobs
from holdfast.baremetal.belongings import PgBelongings
from holdfast.bmc.client import GatewayClient
from holdfast.bmc.dispatch import Dispatcher
from holdfast.core.worker import Worker
from holdfast.ops.metrics import Reading, registry
from holdfast.ops.roles.process import RoleProcess
from holdfast.store.pg.notify import PgWaker


async def run(process: RoleProcess) -> int:
    """Own and work until drained, or until the lease is over."""
    settings = process.settings
    gateway = GatewayClient(
        settings.rack.gateway_url,
        process.datadir.secret(process.datadir.gateway_secret),
    )
    vault = process.vault()
    try:
        async with process.store() as (db, store), PgWaker(process.database_url) as waker:
            membership = process.membership(store, group=settings.conductor.group)
            dispatcher = Dispatcher(store, gateway)
            belongings = PgBelongings(db)
            worker = Worker(
                store,
                membership,
                lambda: jobs.handlers(dispatcher, vault, settings.provisioning, belongings),
                settings.core,
                process.clock,
                waker,
            )

            async def waiting() -> list[str]:
                return [] if worker.ready else ["its lease and its first look at the claims"]

            async with process.face(waiting, registry(process.role, _gauges(worker))):
                draining = asyncio.create_task(_drain(process, worker))
                try:
                    verdict = await worker.run()
                finally:
                    draining.cancel()
    finally:
        await gateway.close()
    return process.DRAINED if verdict == "drained" else process.LEASE_LOST


async def _drain(process: RoleProcess, worker: Worker) -> None:
    await process.draining.wait()
    worker.membership.request_drain()


def _gauges(worker: Worker) -> dict[str, tuple[str, Reading]]:
    return {
        "holdfast_lease_trust_seconds": (
            "How long this member may still trust its lease",
            lambda: max(0.0, worker.membership.window.remaining_s()),
        ),
        "holdfast_shards_held": (
            "Shards this conductor owns",
            lambda: float(worker.keeper.held if worker.keeper else 0),
        ),
        "holdfast_jobs_running": (
            "Job steps that run now",
            lambda: float(worker.runner.running if worker.runner else 0),
        ),
    }
