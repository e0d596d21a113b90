"""Jobs that a limit keeps back: how many go before each.

An owner lets its own jobs go on in the order in which they came (``JobStore.acquire``),
so what counts are older jobs of the same owner that wait for the same limit.
"""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from holdfast.store.model import Job
from holdfast.store.port import Store

LOOKED_AT_MAX = 10_000  # active jobs; beyond, nobody counts the places


async def places_ahead(store: Store, jobs: Sequence[Job]) -> dict[UUID, int]:
    """For each of ``jobs`` that is kept back, how many go before it. Nobody waits: no query."""
    waiting = [job for job in jobs if job.kept_back]
    if not waiting:
        return {}
    owners: dict[tuple[str, int], object] = {}
    for group in {job.group for job in waiting}:
        owners |= {(claim.group, claim.shard): claim.owner for claim in await store.claims(group)}
    queues: dict[object, list[Job]] = {}
    for job in await store.jobs(bound=True, active=True, limit=LOOKED_AT_MAX):
        if job.kept_back:
            # What a job says of its waiting names the limit, whatever the job's kind.
            queue = (owners.get((job.group, job.shard)), job.progress_message)
            queues.setdefault(queue, []).append(job)
    found: dict[UUID, int] = {}
    for queue in queues.values():
        queue.sort(key=lambda job: (job.created_at, job.id))
        found |= {job.id: place for place, job in enumerate(queue)}
    return {job.id: found[job.id] for job in waiting if job.id in found}
