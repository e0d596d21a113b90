"""The conductor: owns a share of the nodes and runs their jobs."""

from __future__ import annotations

import asyncio

from holdfast.baremetal import jobs
from holdfast.baremetal.belongings import PgBelongings
from holdfast.baremetal.jobs.limits import job_limits
from holdfast.baremetal.power_sync.restore import restore_handlers, restore_limit
from holdfast.baremetal.power_sync.sync import PowerSync
from holdfast.bmc.client import GatewayClient
from holdfast.bmc.dispatch import Dispatcher
from holdfast.bmc.observing import Observer
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
            observer = Observer(dispatcher, gateway)
            sync = PowerSync(store, observer, vault, settings.power_sync)
            worker = Worker(
                store,
                membership,
                lambda: {
                    **jobs.handlers(dispatcher, vault, settings.provisioning, belongings),
                    **restore_handlers(dispatcher, vault, settings.provisioning),
                },
                settings.core,
                process.clock,
                waker,
                limits=(
                    *job_limits(settings.provisioning),
                    restore_limit(settings.power_sync.restores_max),
                ),
                duties=[sync.run] if settings.power_sync.interval_s else [],
            )

            async def waiting() -> list[str]:
                return [] if worker.ready else ["its lease and its first look at the claims"]

            async with process.face(waiting, registry(process.role, _gauges(worker, sync))):
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


def _gauges(worker: Worker, sync: PowerSync) -> dict[str, tuple[str, Reading]]:
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
        "holdfast_power_sync_nodes": (
            "Nodes whose power is kept in sync here",
            lambda: float(len(sync.schedule)),
        ),
        "holdfast_power_sync_failing": (
            "Of these, those whose BMC gave no good answer the last time",
            lambda: float(sync.schedule.failing),
        ),
        "holdfast_power_sync_late_seconds": (
            "How late the latest observation is",
            sync.late_s,
        ),
    }
