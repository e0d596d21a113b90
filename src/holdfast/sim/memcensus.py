"""The census of ``sim.memstore``: ``store.port.CensusStore`` in memory."""

from __future__ import annotations

from collections import Counter

from holdfast.sim.memtables import Tables
from holdfast.store.model import Census, Job, JobCount, JobState


class MemCensus:
    """Counts the rows."""

    def __init__(self, tables: Tables) -> None:
        self._t = tables

    async def census(self) -> Census:
        found: dict[tuple[str | None, str, JobState], list[Job]] = {}
        for job in self._t.jobs.values():
            if not job.state.ended:
                found.setdefault((job.queue, job.kind, job.state), []).append(job)
        living = [row for row in self._t.members.values() if not row.gone]
        return Census(
            jobs=tuple(
                self._count(queue, kind, state, jobs)
                for (queue, kind, state), jobs in found.items()
            ),
            members=dict(Counter((row.spec.role, row.state) for row in living)),
            unowned={
                group: sum(self._t.living(c.owner, c.incarnation) is None for c in claims)
                for group, claims in self._t.shards.items()
                if claims
            },
        )

    def _count(self, queue: str | None, kind: str, state: JobState, jobs: list[Job]) -> JobCount:
        now = self._t.clock()
        since = min(self._since(job) for job in jobs)
        return JobCount(
            queue=queue,
            kind=kind,
            state=state,
            jobs=len(jobs),
            oldest_s=max(0.0, now - since),
            overdue=sum(job.deadline is not None and job.deadline < now for job in jobs),
        )

    def _since(self, job: Job) -> float:
        return job.updated_at if job.queue is None else self._t.nodes[job.id].line[0]
