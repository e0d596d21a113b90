"""Counting everything that operators watch, in one statement over partial indices."""

# ruff: noqa: S608 - statements are put together from constants
from __future__ import annotations

from holdfast.store.model import Census, JobCount, JobState, MemberState
from holdfast.store.pg.database import Database
from holdfast.store.pg.rows import ACTIVE_ANYWHERE

CENSUS = f"""
select 'job' as what, queue, kind, state, count(*) as n,
       greatest(extract(epoch from
           clock_timestamp() - min(coalesce(due_at, updated_at))), 0)::float8 as oldest_s,
       count(*) filter (where deadline < clock_timestamp()) as overdue
  from job where {ACTIVE_ANYWHERE} group by queue, kind, state
union all
select 'member', null, role, state, count(*), 0, 0
  from member where state <> 'gone' group by role, state
union all
select 'unowned', null, c.grp, null,
       count(*) filter (where not exists (
           select from member m
            where m.id = c.owner and m.epoch = c.incarnation and m.state <> 'gone')), 0, 0
  from shard_claim c group by c.grp
"""


class PgCensus:
    """``store.port.CensusStore`` on PostgreSQL."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def census(self) -> Census:
        jobs: list[JobCount] = []
        members: dict[tuple[str, MemberState], int] = {}
        unowned: dict[str, int] = {}
        for row in await self._db.fetch(CENSUS):
            what, name, count = row["what"], row["kind"], row["n"]
            if what == "member":
                members[(name, MemberState(row["state"]))] = count
            elif what == "unowned":
                unowned[name] = count
            else:
                jobs.append(
                    JobCount(
                        queue=row["queue"],
                        kind=name,
                        state=JobState(row["state"]),
                        jobs=count,
                        oldest_s=row["oldest_s"],
                        overdue=row["overdue"],
                    )
                )
        return Census(jobs=tuple(jobs), members=members, unowned=unowned)
