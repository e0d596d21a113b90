"""What the client of API nodes costs its caller, and what its choices save (simulated).

The calls go to three servers that answer a constant, in a process of their own; counted is the
processor time of the asking process alone. The simulation is that of ``tests/client``.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import multiprocessing
import random
import time
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import requests
from tests.client.simulation import Client, Server, World

from holdfast.client import ApiNodes, AsyncApiNodes, Settings, session
from holdfast.client.addresses import Address
from holdfast.client.course import Attempt, Course, Dispatch

TITLE = "The client of API nodes"
CALLS = 4000
SERVERS = 3
PATH = "/public/api/v1/s/e/predict"
FEATURES = {"sepal_length": 5.1, "sepal_width": 3.5, "petal_length": 1.4, "petal_width": 0.2}
DOCUMENT = b'{"result":{"prediction":"setosa","probas":{"setosa":0.98,"virginica":0.02}}}'
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (
    len(DOCUMENT),
    DOCUMENT,
)


class Constant(asyncio.Protocol):
    """Answers whatever comes; a query fits into one segment."""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(ANSWER)


def serve(pipe: Any) -> None:
    async def run() -> None:
        loop = asyncio.get_running_loop()
        servers = [await loop.create_server(Constant, "127.0.0.1", 0) for _ in range(SERVERS)]
        pipe.send([one.sockets[0].getsockname()[1] for one in servers])
        await loop.run_in_executor(None, pipe.recv)

    asyncio.run(run())


def cpu_us(call: Callable[[], object], calls: int = CALLS) -> float:
    for _ in range(200):
        call()
    before = time.process_time()
    for _ in range(calls):
        call()
    return (time.process_time() - before) / calls * 1e6


async def cpu_us_async(call: Callable[[], Awaitable[object]], together: int = 1) -> float:
    async def some(count: int) -> None:
        for _ in range(count):
            await call()

    await some(200)
    before = time.process_time()
    await asyncio.gather(*[some(CALLS // together) for _ in range(together)])
    return (time.process_time() - before) / CALLS * 1e6


def decisions_us() -> float:
    """Of one query: begun, one attempt chosen, waited for, answered, ended."""
    dispatch = Dispatch(Settings(), random.Random(1))
    dispatch.instances.replace(Address(False, f"n{n}", 80) for n in range(SERVERS))

    def call() -> None:
        now = time.monotonic()
        course = Course(dispatch, "e/predict", now, now + 10.0, hedged=True)
        attempt = course.next(now)
        assert isinstance(attempt, Attempt)
        course.next(now)
        course.answered(attempt, 200, now + 0.001, retry_after_s=0.0, leaving=False)
        course.close(now + 0.001)

    return cpu_us(call, 50_000)


def blocking_rows(urls: list[str]) -> list[tuple[str, str, str]]:
    plain = http.client.HTTPConnection(urls[0].removeprefix("http://"))

    def bare() -> Any:
        plain.request("POST", PATH, json.dumps({"features": FEATURES}))
        return json.loads(plain.getresponse().read())

    def by(one: requests.Session) -> Callable[[], Any]:
        return lambda: one.post(urls[0] + PATH, data=json.dumps({"features": FEATURES})).json()

    with ApiNodes(urls, "s") as nodes, requests.Session() as old, session(urls) as new:
        return [
            row("one call, threads: ApiNodes", cpu_us(lambda: nodes.predict_record("e", FEATURES))),
            row("… http.client, one server, nothing else", cpu_us(bare)),
            row("… requests, one server (what dataikuapi does)", cpu_us(by(old))),
            row("… requests over our session", cpu_us(by(new))),
        ]


async def loop_rows(urls: list[str]) -> list[tuple[str, str, str]]:
    async with AsyncApiNodes(urls, "s") as nodes, aiohttp.ClientSession() as plain:

        async def bare() -> Any:
            data = json.dumps({"features": FEATURES})
            async with plain.post(urls[0] + PATH, data=data) as answer:
                return await answer.json()

        def ours() -> Any:
            return nodes.predict_record("e", FEATURES)

        return [
            row("one call, asyncio: AsyncApiNodes", await cpu_us_async(ours)),
            row("… with 32 at once", await cpu_us_async(ours, 32)),
            row("… aiohttp, one server, nothing else", await cpu_us_async(bare)),
            row("… with 32 at once", await cpu_us_async(bare, 32)),
        ]


def row(what: str, spent_us: float) -> tuple[str, str, str]:
    return what, "-", f"{spent_us:.0f} µs CPU"


def simulated(what: str, aim: str, **told: Any) -> tuple[str, str, str]:
    """Five instances of 5 ms, one of them 20 × slower; 800 queries a second for 30 s."""
    world = World(7)
    servers = [Server(world, 0.005) for _ in range(4)] + [Server(world, 0.1)]
    client = Client(world, servers, Settings(deadline_s=1000.0), **told)
    count = client.load(rate=800.0, seconds=30.0)
    world.run(until=900.0)
    extra = sum(one.asked for one in servers) / count - 1
    p99, p999 = client.quantile(0.99) * 1e3, client.quantile(0.999) * 1e3
    text = f"p99 {p99:,.0f} ms, p99.9 {p999:,.0f} ms, extra load {extra * 100:.1f} %"
    return f"five instances, one 20 × slow, simulated: {what}", aim, text


def measure() -> list[tuple[str, str, str]]:
    """(what, aim, measured)."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(target=serve, args=(theirs,), daemon=True)
    process.start()
    try:
        urls = [f"http://127.0.0.1:{port}" for port in ours.recv()]
        rows = [row("the decisions of a query, without I/O", decisions_us())]
        rows += blocking_rows(urls)
        rows += asyncio.run(loop_rows(urls))
    finally:
        ours.send(None)
        process.join()
    rows.append(simulated("round robin", "-", round_robin=True, hedged=False))
    rows.append(simulated("power of two choices", "p99 26 ms", hedged=False))
    rows.append(simulated("and hedges", "p99 24 ms, 6 %", hedged=True))
    return rows
