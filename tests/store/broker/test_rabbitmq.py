"""A real RabbitMQ and real workers on a real database: whatever befalls it, no job is lost."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from uuid import UUID, uuid4

import aio_pika
import pytest
from structlog.testing import capture_logs
from tests.core.queues import Kind
from tests.database import create_database, drop_database
from tests.rabbitmq import RabbitMq, fresh_queue

from holdfast.core.clock import SystemClock
from holdfast.core.jobs import Done, Outcome, StepContext
from holdfast.core.members import Membership
from holdfast.core.queue_worker import QueueWorker
from holdfast.core.settings import CoreSettings
from holdfast.errors import StoreUnavailableError
from holdfast.store.broker.broker import Broker
from holdfast.store.broker.link import PREFIX, declare, probe
from holdfast.store.model import MemberSpec, QueuedJob
from holdfast.store.pg.database import Database
from holdfast.store.pg.notify import MEMBERS, PgWaker, queue_topic
from holdfast.store.pg.store import PgStore

JOBS = 500
LONG_S = 20.0  # a tick that no test waits for
QUICK = CoreSettings()
DEAF = CoreSettings(tick_s=LONG_S)


class Works:
    """Some workers, each on connections of its own, and one process that enqueues."""

    db: Database
    store: PgStore
    broker: Broker  # of the process that enqueues

    def __init__(self, dsn: str, url: str) -> None:
        self.dsn, self.url, self.queue = dsn, url, fresh_queue()
        self.ran: Counter[UUID] = Counter()
        self.at: dict[UUID, float] = {}
        self.brokers: list[Broker] = []
        self._stack = AsyncExitStack()

    @classmethod
    @asynccontextmanager
    async def open(
        cls, url: str, settings: CoreSettings = QUICK, workers: int = 3, room: int = 50
    ) -> AsyncGenerator[Works]:
        dsn = await create_database()
        works = cls(dsn, url)
        async with works._stack:
            works.db = await works._stack.enter_async_context(await Database.open(dsn))
            works.store = PgStore(works.db, {})
            works.broker = await works._stack.enter_async_context(Broker(url, works.db.hints))
            works.brokers.append(works.broker)
            for number in range(workers):
                await works._start(number, settings, room)
            yield works
        await drop_database(dsn)

    async def _start(self, number: int, settings: CoreSettings, room: int) -> None:
        enter = self._stack.enter_async_context
        db = await enter(await Database.open(self.dsn, max=3))
        waker = await enter(PgWaker(self.dsn, (queue_topic(self.queue), MEMBERS)))
        broker = await enter(Broker(self.url, db.hints, queues={self.queue}, hear=waker.hear))
        self.brokers.append(broker)
        spec = MemberSpec(id=uuid4(), role="worker", slot=f"w{number}", host="h")
        clock = SystemClock()
        store = PgStore(db, {})
        worker = QueueWorker(
            store,
            Membership(store, spec, settings, clock),
            lambda: {"tiny": Kind("tiny", self._run)},
            {self.queue: room},
            settings,
            clock,
            waker,
            lookout=broker.lookout,
        )
        task = asyncio.create_task(worker.run())
        self._stack.push_async_callback(lambda: asyncio.gather(task, return_exceptions=True))
        self._stack.callback(task.cancel)
        await until(lambda: worker.ready and waker.listening.is_set())

    async def _run(self, ctx: StepContext) -> Outcome:
        self.at.setdefault(ctx.job.id, asyncio.get_running_loop().time())
        self.ran[ctx.job.id] += 1
        return Done()

    async def connected(self) -> None:
        await until(lambda: all(broker.state.connected for broker in self.brokers))
        async with (
            asyncio.timeout(20),
            await aio_pika.connect(self.url) as connection,
            connection.channel() as channel,
        ):
            while True:
                queue = await declare(channel, self.queue)
                if queue.declaration_result.consumer_count == len(self.brokers) - 1:
                    break
                await asyncio.sleep(0.02)
        await asyncio.sleep(0.1)  # the look that every new connection brings is over

    async def put(self, count: int) -> list[UUID]:
        jobs = [QueuedJob(id=uuid4(), kind="tiny", queue=self.queue) for _ in range(count)]
        await self.store.enqueue(jobs)
        return [job.id for job in jobs]

    async def put_slowly(self, seconds: float) -> list[UUID]:
        """All the jobs, a few at a time."""
        jobs: list[UUID] = []
        while len(jobs) < JOBS:
            jobs += await self.put(10)
            await asyncio.sleep(seconds * 10 / JOBS)
        return jobs

    async def end(self, jobs: Sequence[UUID]) -> None:
        """Each has ended, and each was run once."""
        async with asyncio.timeout(15):
            while await self.store.jobs(queue=self.queue, active=True, limit=1):
                await asyncio.sleep(0.05)
        assert self.ran == Counter(jobs)
        ended = await self.store.jobs(queue=self.queue, limit=2 * JOBS)
        assert {job.state.value for job in ended} == {"succeeded"}

    @property
    def sent(self) -> int:
        return sum(broker.counts.sent for broker in self.brokers)


async def until(holds: Callable[[], bool], seconds: float = 20.0) -> None:
    async with asyncio.timeout(seconds):
        while not holds():
            await asyncio.sleep(0.02)


async def test_a_worker_is_woken_by_the_broker_alone_x4(rabbitmq: RabbitMq):
    async with Works.open(rabbitmq.url(), DEAF) as works:
        await works.connected()
        heard: list[str] = []

        def hear(*said: str) -> None:
            heard.append(said[3])

        async with works.db.connection() as conn:
            await conn.raw.add_listener("holdfast", hear)
            for _ in range(5):
                [job] = await works.put(1)
                asked = asyncio.get_running_loop().time()
                await until(lambda job=job: job in works.at)
                assert works.at[job] - asked < 5, "far less than a tick"
            await conn.fetchval("select 1")
            await conn.raw.remove_listener("holdfast", hear)
        assert works.broker.counts.sent >= 5
        assert not any(queue_topic(works.queue) in said for said in heard), "not by NOTIFY"


async def test_a_full_worker_hands_the_hint_on_to_the_others(rabbitmq: RabbitMq):
    async with Works.open(rabbitmq.url(), DEAF, room=5) as works:
        await works.connected()
        jobs = await works.put(200)
        await works.end(jobs)


@pytest.mark.parametrize("no_ack", [True, False], ids=["lost", "with a paused consumer"])
async def test_every_message_gone_astray_costs_no_job(rabbitmq: RabbitMq, no_ack: bool):
    async with Works.open(rabbitmq.url()) as works:
        await works.connected()
        stolen = 0

        async def steal(_message: object) -> None:
            nonlocal stolen
            stolen += 1  # and never a word about it

        async with await aio_pika.connect(works.url) as connection:
            channel = await connection.channel()
            queue = await channel.get_queue(f"{PREFIX}{works.queue}")
            await queue.consume(steal, no_ack=no_ack, arguments={"x-priority": 10})
            before = works.sent
            jobs = await works.put_slowly(1.5)
            await works.end(jobs)
            assert works.sent - before > 20
            await until(lambda: stolen >= works.sent - before)


async def test_a_broker_killed_and_started_again_costs_no_job(rabbitmq: RabbitMq):
    async with Works.open(rabbitmq.url()) as works:
        await works.connected()
        putting = asyncio.create_task(works.put_slowly(4.0))
        # RabbitMQ 3.10 loses what a quorum queue is, if killed in the queue's first second.
        await until(lambda: len(works.ran) > 250)
        assert works.sent > 0
        rabbitmq.kill()
        await until(lambda: not any(broker.state.connected for broker in works.brokers))
        rabbitmq.start()
        await works.end(await putting)
        await asyncio.to_thread(rabbitmq.ready)
        await works.connected()
        before = works.sent
        await works.put(1)
        await until(lambda: works.sent > before)
        assert works.broker.counts.dropped > 0


async def test_a_broker_that_is_away_at_the_start_is_done_without():
    async with Works.open("amqp://u:calvin@127.0.0.1:1/", DEAF, workers=2) as works:
        began = asyncio.get_running_loop().time()
        jobs = await works.put(100)
        assert asyncio.get_running_loop().time() - began < 1
        await works.end(jobs)
        assert works.sent == 0
        assert works.broker.counts.dropped == 1
        assert not works.broker.state.connected


class Hole:
    """A way to the broker that swallows everything, once told to."""

    def __init__(self, port: int) -> None:
        self._to = port
        self.swallows = False

    async def open(self) -> asyncio.Server:
        return await asyncio.start_server(self._pass, "127.0.0.1", 0)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._to)
        await asyncio.gather(
            self._copy(reader, far_writer), self._copy(far_reader, writer), return_exceptions=True
        )

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            if not self.swallows:
                writer.write(data)
        writer.close()


async def test_behind_a_partition_hints_go_by_notify_and_nobody_waits(rabbitmq: RabbitMq):
    hole = Hole(rabbitmq.port)
    async with await hole.open() as server:
        port = server.sockets[0].getsockname()[1]
        url = rabbitmq.url().replace(str(rabbitmq.port), str(port))
        async with Works.open(url, DEAF, workers=2) as works:
            await works.connected()
            hole.swallows = True
            began = asyncio.get_running_loop().time()
            jobs = await works.put(1)
            assert asyncio.get_running_loop().time() - began < 0.5
            await works.end(jobs)  # after the confirm did not come
            assert works.broker.counts.dropped > 0
            await until(lambda: not works.broker.state.connected)
            hole.swallows = False


async def test_a_queue_deleted_under_them_is_made_again(rabbitmq: RabbitMq):
    async with Works.open(rabbitmq.url(), DEAF, workers=1) as works:
        await works.connected()
        async with await aio_pika.connect(works.url) as connection:
            channel = await connection.channel()
            since = works.brokers[-1].state.since
            await channel.queue_delete(f"{PREFIX}{works.queue}")
            await until(lambda: works.brokers[-1].state.since > since)
        await works.connected()
        [job] = await works.put(1)
        await until(lambda: job in works.at, 5)


async def test_a_password_is_never_logged(rabbitmq: RabbitMq, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.DEBUG)
    url = rabbitmq.url(password="calvin")
    dsn = await create_database()
    with capture_logs() as said:
        async with await Database.open(dsn) as db, Broker(url, db.hints) as broker:
            await until(lambda: any(line["event"] == "broker.unavailable" for line in said))
            assert not broker.state.connected
    [line] = [line for line in said if line["event"] == "broker.unavailable"]
    assert "refuses the user" in line["fault"]
    assert "calvin" not in f"{said} {caplog.text}"
    await drop_database(dsn)
    with pytest.raises(StoreUnavailableError, match="refuses the user") as caught:
        await probe(url)
    assert "calvin" not in str(caught.value)
    assert await probe(rabbitmq.url()) == f"127.0.0.1:{rabbitmq.port}/%2F"
