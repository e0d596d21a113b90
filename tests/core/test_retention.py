"""What is old goes, batch by batch, whoever is there to do it."""

from __future__ import annotations

import asyncio
from uuid import UUID

from holdfast.core.retention import DAY_S, EVERY_S, batches, purge, purge_for_ever
from holdfast.core.settings import CoreSettings
from holdfast.errors import StoreUnavailableError
from holdfast.sim.loop import SimLoop
from holdfast.sim.memstore import MemStore
from holdfast.store.model import MemberSpec

SETTINGS = CoreSettings(events_keep_days=2, keep_jobs_s=2 * DAY_S)


class Flaky(MemStore):
    """Its events cannot be purged for a while."""

    away = True

    async def purge_events(self, keep_s: float, limit: int) -> int:
        if self.away:
            raise StoreUnavailableError("not now")
        return await super().purge_events(keep_s, limit)


async def test_a_purge_goes_on_until_nothing_old_is_left():
    left = [5, 5, 2]

    async def batch() -> int:
        return left.pop(0) if left else 0

    assert await purge(batch, pause_s=0) == 12
    assert left == []


def test_every_kind_of_what_is_kept_goes_in_time_and_an_outage_of_one_keeps_no_other():
    loop = SimLoop(1)

    async def main() -> None:
        store = Flaky(loop.time, {"node": None})
        member = await store.register(
            MemberSpec(id=UUID(int=5), role="api", slot="a", host="h"), 5.0
        )
        await store.end_lease(member.id, member.epoch, "stopped")
        purging = loop.create_task(purge_for_ever(store, SETTINGS))
        await asyncio.sleep(DAY_S - EVERY_S)
        assert len(await store.members(gone=True)) == 1
        await asyncio.sleep(3 * EVERY_S)
        assert await store.members(gone=True) == []
        await asyncio.sleep(2 * DAY_S)
        assert (await store.events(None, 10)).events
        store.away = False
        await asyncio.sleep(2 * EVERY_S)
        assert (await store.events(None, 10)).events == ()
        purging.cancel()

    loop.run(main())


def test_the_settings_say_how_long():
    store = MemStore(lambda: 0.0, {"node": None})
    told_s = {what: batch.args[0] for what, batch in batches(store, SETTINGS).items()}  # pyright: ignore[reportFunctionMemberAccess]
    assert told_s == {"events": 2 * DAY_S, "jobs": 2 * DAY_S, "members": DAY_S}
