"""Unbound jobs through two worker processes on the embedded PostgreSQL (issue figures).

The workers are what a product would run: registered members with a lease on a thread of its
own, claims in batches, completions by natural batching, the journal written. A tiny job is a
handler that returns at once. The rate is that between the first and the last end, as the
database dates them. A violation of the order is a job whose handler was entered before the
database dated the end of one that comes before it (one host, one clock).
"""

from __future__ import annotations

import asyncio
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import uvloop
from msgspec import Struct

from benchmarks.unit_costs import children, cpu_s
from holdfast.core.clock import SystemClock
from holdfast.core.jobs import Done, Handler, Outcome, Step, StepContext
from holdfast.core.lease_thread import ThreadedKeeper
from holdfast.core.members import Membership
from holdfast.core.queue_worker import QueueWorker
from holdfast.core.settings import CoreSettings
from holdfast.store.embedded import DATABASE, ROLE, EmbeddedPostgres
from holdfast.store.model import Job, JobError, JobState, MemberSpec, QueuedJob, Write
from holdfast.store.pg.database import Database
from holdfast.store.pg.migrate import migrate
from holdfast.store.pg.notify import MEMBERS, PgWaker, queue_topic
from holdfast.store.pg.store import PgStore

TITLE = "Unbound jobs"
WORKERS = 2
ROOM = 200  # of each worker
TINY = 20_000
RUNS = 3
IN_THE_WAY = 100_000
GRAPH, EDGES_EACH = 3_000, 3
CHAIN = 1_000
RESERVING, RESOURCES = 3_000, 100
PINGS = 200
LIMIT_S = 300.0

SPAN = """
select count(*) as jobs, extract(epoch from max(finished_at) - min(finished_at))::float8 as took_s,
       max(attempts) as attempts
  from job where id = any($1) and state = 'succeeded'
"""
LEFT = "select count(*) from job where id = any($1) and finished_at is null"
BUSY = """
select exists (select from job where queue = 'work' and state in ('queued', 'waiting')
                  and due_at <= statement_timestamp())
"""
RAN = "select job, (output->>'at')::float8 as at, finished_at from job_step where job = any($1)"


class Tiny:
    """Notes when it was run, and nothing else."""

    kind = "tiny"
    cleanup: tuple[Step, ...] = ()

    def __init__(self) -> None:
        self.steps = (Step(name="run", run=self._run),)

    async def _run(self, _ctx: StepContext) -> Outcome:
        return Done(output={"at": time.time()})

    def ended(
        self, obj: Mapping[str, Any], job: Job, state: JobState, error: JobError | None
    ) -> dict[str, Any]:
        return {}

    def closing(self, job: Job, error: JobError, now: float) -> tuple[Write, ...]:
        return ()

    def trouble(self, error: JobError) -> dict[str, Any]:
        return {}


async def work(dsn: str, slot: str) -> None:
    """One worker process, until it is killed."""
    spec = MemberSpec(id=uuid4(), role="worker", slot=slot, host="here")
    settings, clock = CoreSettings(), SystemClock()
    handlers: dict[str, Handler] = {Tiny.kind: Tiny()}
    topics = (MEMBERS, queue_topic("work"))
    async with await Database.open(dsn) as db, PgWaker(dsn, topics) as waker:
        store = PgStore(db, {})

        def on_thread(keeper: Any) -> ThreadedKeeper:
            return ThreadedKeeper(keeper, lambda: PgStore.connected(dsn, {}, connections_max=1))

        membership = Membership(store, spec, settings, clock, keeper_on_thread=on_thread)
        queues = {"work": ROOM}
        await QueueWorker(store, membership, lambda: handlers, queues, settings, clock, waker).run()


class Server(Struct, frozen=True):
    """An embedded PostgreSQL with two databases: one for itself, one with much in the way."""

    alone: str
    crowded: str
    pid: int

    def cpu_s(self) -> float:
        """What it and all its processes have spent so far."""
        return cpu_s(self.pid, ended=True) + sum(map(cpu_s, children(self.pid)))


@asynccontextmanager
async def server() -> AsyncGenerator[Server]:
    """PostgreSQL as it is shipped, durable and all, for as long as this lasts."""
    with tempfile.TemporaryDirectory(prefix="holdfast-bench-") as name:
        home = Path(name)
        home.chmod(0o755)
        postgres = EmbeddedPostgres.prepare(home / "data")
        with (home / "log").open("w") as log:
            process = started(postgres.argv, stderr=log, **postgres.spawn_options)
        try:
            await postgres.wait_ready()
            await migrate(postgres.dsn)
            admin: Any = await asyncpg.connect(postgres.admin_dsn)
            await admin.execute(f"create database crowded template {DATABASE} owner {ROLE}")
            await admin.close()
            crowded = postgres.dsn.replace(f"/{DATABASE}?", "/crowded?")
            yield Server(postgres.dsn, crowded, process.pid)
        finally:
            process.send_signal(postgres.stop_signal)
            process.wait(timeout=30)


class Run(Struct, frozen=True):
    """Tiny jobs: how many a second were run, and enqueued; PostgreSQL's CPU for each."""

    rate: float
    put: float
    cpu_s: float


def shown(runs: Sequence[Run]) -> str:
    """The medians: what else a machine does comes and goes."""
    rate = statistics.median(run.rate for run in runs)
    cpu_s = statistics.median(run.cpu_s for run in runs)
    return f"{rate:,.0f}/s, {cpu_s * 1e6:.0f} µs of PostgreSQL's CPU each"


class Bench:
    """A store, and the workers that run what it has."""

    def __init__(self, postgres: Server, db: Database) -> None:
        self.postgres = postgres
        self.store = PgStore(db, {})
        self.db = db

    @asynccontextmanager
    async def workers(self) -> AsyncGenerator[None]:
        running = [
            started([sys.executable, "-m", "benchmarks.jobs", self.db.dsn, f"worker-{n}"])
            for n in range(WORKERS)
        ]
        try:
            yield
        finally:
            for process in running:
                process.kill()
                process.wait()
            for member in await self.store.members("worker"):
                await self.store.end_lease(member.id, member.epoch, "the benchmark is over")

    async def up(self) -> None:
        while len(await self.store.members("worker")) < WORKERS:
            await asyncio.sleep(0.05)

    async def rate(self, jobs: Sequence[UUID]) -> tuple[float, float]:
        """Jobs a second, and how long all took."""
        async with asyncio.timeout(LIMIT_S):
            while await self.db.fetchval(BUSY) or await self.db.fetchval(LEFT, jobs):
                await asyncio.sleep(0.2)
        row = await self.db.fetchrow(SPAN, jobs)
        assert row is not None
        assert (row["jobs"], row["attempts"]) == (len(jobs), 1)
        return len(jobs) / row["took_s"], row["took_s"]

    async def put(self, jobs: Sequence[QueuedJob]) -> float:
        """Enqueue in batches; how long that took."""
        began = time.perf_counter()
        for n in range(0, len(jobs), 5_000):
            await self.store.enqueue(jobs[n : n + 5_000])
        return time.perf_counter() - began

    async def tiny(self) -> Run:
        jobs = [tiny() for _ in range(TINY)]
        spent_s = self.postgres.cpu_s()
        put_s = await self.put(jobs)
        async with self.workers():
            rate, _ = await self.rate([job.id for job in jobs])
        return Run(rate, TINY / put_s, (self.postgres.cpu_s() - spent_s) / TINY)

    async def get_in_the_way(self) -> None:
        """Half of them blocked by a job that nobody runs, half waiting for tomorrow."""
        never = tiny(queue="nobodys")
        blocked = [tiny(after=(never.id,)) for _ in range(IN_THE_WAY // 2)]
        await self.put([never, *blocked])
        waiting = [tiny() for _ in range(IN_THE_WAY // 2)]
        await self.put(waiting)
        await self.db.execute(
            "update job set state = 'waiting', wake_at = due_at + interval '1 day',"
            " due_at = due_at + interval '1 day' where id = any($1)",
            [job.id for job in waiting],
        )

    async def graph(self) -> tuple[float, float, int, int]:
        chance = random.Random(7)
        jobs: list[QueuedJob] = []
        for n in range(GRAPH):
            preds = {jobs[chance.randrange(n)].id for _ in range(EDGES_EACH)} if n else set[UUID]()
            while len(preds) < min(EDGES_EACH, n):
                preds.add(jobs[chance.randrange(n)].id)
            jobs.append(tiny(after=tuple(preds)))
        put_s = await self.put(jobs)
        async with self.workers():
            rate, _ = await self.rate([job.id for job in jobs])
        edges = sum(len(job.after) for job in jobs)
        return rate, put_s, edges, await self.violations(jobs)

    async def violations(self, jobs: Sequence[QueuedJob]) -> int:
        rows = await self.db.fetch(RAN, [job.id for job in jobs])
        assert len(rows) == len(jobs)
        ran = {row["job"]: row for row in rows}
        return sum(
            ran[job.id]["at"] < ran[pred]["finished_at"] for job in jobs for pred in job.after
        )

    async def chain(self) -> float:
        jobs = [tiny()]
        while len(jobs) < CHAIN:
            jobs.append(tiny(after=(jobs[-1].id,)))
        await self.put(jobs)
        async with self.workers():
            _, took_s = await self.rate([job.id for job in jobs])
        return took_s

    async def reserving(self) -> float:
        """Exclusive ones on a few resources: short queues, many of them."""
        jobs = [tiny(exclusive=(f"repo-{n % RESOURCES}",)) for n in range(RESERVING)]
        await self.put(jobs)
        async with self.workers():
            rate, _ = await self.rate([job.id for job in jobs])
        return rate

    async def pings(self) -> tuple[float, float]:
        """From before the request to enqueue until the handler runs, in ms: median and p99."""
        took: list[float] = []
        async with self.workers():
            await self.up()
            for _ in range(PINGS):
                await asyncio.sleep(0.03)
                job, asked_at = tiny(), time.time()
                await self.store.enqueue([job])
                while await self.db.fetchval(LEFT, [job.id]):
                    await asyncio.sleep(0.005)
                row = await self.db.fetchrow(RAN, [job.id])
                assert row is not None
                took.append((row["at"] - asked_at) * 1e3)
        return statistics.median(took), sorted(took)[int(PINGS * 0.99)]


def started(argv: Sequence[str], **options: Any) -> subprocess.Popen[bytes]:
    """A process beside this one, which is polled and never waited for while it runs."""
    return subprocess.Popen(argv, **options)


def tiny(**fields: Any) -> QueuedJob:
    return QueuedJob(**{"id": uuid4(), "kind": Tiny.kind, "queue": "work", **fields})


async def measured() -> list[tuple[str, str, str]]:
    async with (
        server() as postgres,
        await Database.open(postgres.alone) as alone_db,
        await Database.open(postgres.crowded) as crowded_db,
    ):
        alone, crowded = Bench(postgres, alone_db), Bench(postgres, crowded_db)
        median, p99 = await alone.pings()
        await crowded.get_in_the_way()
        rounds = [(await alone.tiny(), await crowded.tiny()) for _ in range(RUNS)]
        among_none, among_many = zip(*rounds, strict=True)
        chain_s = await alone.chain()
        reserving = await alone.reserving()
        rate, put_s, edges, violations = await crowded.graph()
    put = statistics.median(run.put for run in among_none)
    return [
        (
            f"tiny jobs through two workers (median of {RUNS} runs of {TINY:,})",
            "≥ 2,000/s",
            shown(among_none),
        ),
        (
            f"… with {IN_THE_WAY:,} waiting and blocked jobs in the table (run in turn with those)",
            "no slower",
            shown(among_many),
        ),
        (
            f"a graph of {GRAPH:,} jobs and {edges:,} edges, beside those",
            "≥ 2,000/s, in order",
            f"{rate:,.0f}/s, {violations} violations",
        ),
        ("… enqueued in one transaction", "", f"{put_s * 1e3:,.0f} ms"),
        (f"a chain of {CHAIN:,}", "≤ 10 s", f"{chain_s:.1f} s"),
        (
            f"{RESERVING:,} jobs that reserve one of {RESOURCES} resources each",
            "",
            f"{reserving:,.0f}/s",
        ),
        (
            "enqueued in batches of 5,000",
            "",
            f"{put:,.0f}/s",
        ),
        (
            "from the request to enqueue to the handler, idle",
            "p50 < 10 ms",
            f"p50 {median:.1f} ms, p99 {p99:.1f} ms",
        ),
    ]


def measure() -> list[tuple[str, str, str]]:
    """Rows of (what, aim, measured)."""
    return uvloop.run(measured())


if __name__ == "__main__":
    uvloop.run(work(sys.argv[1], sys.argv[2]))
