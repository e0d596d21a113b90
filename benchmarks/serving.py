"""Queries served by one node, with keys, audit and metrics on: the peers' models, ours alone.

The load comes from a process of its own, over 32 connections (kept alive, one query at a time on
each), on the same machine: its cost is in the figures, as it was in the peers'.
"""

from __future__ import annotations

import asyncio
import base64
import multiprocessing
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
import skops.io
import uvloop
from skl2onnx import to_onnx
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression

from holdfast.serving.generations.mapping import Entry
from holdfast.serving.node import Node
from holdfast.serving.packages.build import build
from holdfast.serving.settings import HttpSettings, NodeSettings

TITLE = "Serving: one API node (iris; key checked, audit and metrics on)"
CONNECTIONS = 32
SECONDS = 4.0
KEY = "a-key-for-the-benchmark"
FEATURES = ["sepal_length", "sepal_width", "petal_length", "petal_width"]
CASES = (
    ("logistic regression, scikit-learn", "lr", "20k", 1),
    ("forest of 100 trees, scikit-learn", "forest", "5k", 2),
    ("forest of 100 trees, ONNX", "onnx", "25k", 1),
    ("Python function that adds", "add", "", 1),
)


def write_models(folder: Path) -> None:
    """A folder to build the benchmark's package from."""
    data, target = load_iris(return_X_y=True)
    lr = LogisticRegression(max_iter=500).fit(data, target)
    forest = RandomForestClassifier(n_estimators=100, random_state=0).fit(data, target)
    skops.io.dump(lr, folder / "lr.skops")
    skops.io.dump(forest, folder / "forest.skops")
    graph: Any = to_onnx(forest, data[:1].astype("float32"), options={"zipmap": False})
    (folder / "forest.onnx").write_bytes(graph.SerializeToString())
    (folder / "f.py").write_text("def add(a, b):\n    return a + b\n")


def service(case: str, floor: int) -> str:
    models = {"lr": ("lr.skops", "skops"), "forest": ("forest.skops", "skops")}
    head = (
        f'id = "{case}"\n[auth]\nkeys = [{{id = "bench", key = "{KEY}"}}]\n'
        f"[pool]\nfloor = {floor}\ncruise = {floor}\nceil = {floor}\nqueue = 256\n"
    )
    if case == "add":
        return head + '[[endpoints]]\nid="e"\nkind="function"\nfile="f.py"\nfunction="add"\n'
    model, flavour = models.get(case, ("forest.onnx", "onnx"))
    return (
        f'{head}[[endpoints]]\nid = "e"\nkind = "prediction"\nmodel = "{model}"\n'
        f'flavour = "{flavour}"\nfeatures = {FEATURES}\n'
    )


def request(case: str) -> bytes:
    action = "run" if case == "add" else "predict"
    body = (
        b'{"a":1,"b":2}'
        if case == "add"
        else b'{"features": {"sepal_length": 5.1, "sepal_width": 3.5, "petal_length": 1.4, '
        b'"petal_width": 0.2}, "explanations": {"enabled": null}}'
    )
    basic = base64.b64encode(f"{KEY}:".encode()).decode()
    head = (
        f"POST /public/api/v1/{case}/e/{action} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        "User-Agent: python-requests/2.32\r\nAccept-Encoding: gzip, deflate\r\nAccept: */*\r\n"
        f"Connection: keep-alive\r\nContent-Length: {len(body)}\r\n"
        f"Authorization: Basic {basic}\r\n\r\n"
    )
    return head.encode() + body


class Client(asyncio.Protocol):
    """Asks again as soon as it is answered; or at a pace, for latency below capacity."""

    def __init__(self, query: bytes, until: float, pause_s: float, times: list[float]) -> None:
        self.query, self.until, self.pause_s, self.times = query, until, pause_s, times
        self.done = asyncio.get_running_loop().create_future()
        self.errors = 0
        self.size = 0

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.ask()

    def ask(self) -> None:
        self.began = time.perf_counter()
        self.transport.write(self.query)

    def data_received(self, data: bytes) -> None:
        if self.size == 0:
            end = data.index(b"\r\n\r\n")
            at = data.find(b"Content-Length: ", 0, end)
            at = 16 + (at if at >= 0 else data.index(b"content-length: ", 0, end))
            self.size = int(data[at : data.index(b"\r", at)]) + end + 4
            self.errors += not data.startswith(b"HTTP/1.1 200")
        self.size -= len(data)
        if self.size > 0:
            return
        now = time.perf_counter()
        self.times.append(now - self.began)
        if now > self.until:
            self.done.set_result(None)
        elif self.pause_s:
            asyncio.get_running_loop().call_later(self.pause_s, self.ask)
        else:
            self.ask()


def load(pipe: Any) -> None:
    """The load's process: (port, query, seconds, pause) in, (times, errors) out."""

    async def run(port: int, query: bytes, seconds: float, pause_s: float) -> Any:
        loop = asyncio.get_running_loop()
        times: list[float] = []
        until = time.perf_counter() + seconds
        clients = [Client(query, until, pause_s, times) for _ in range(CONNECTIONS)]
        for client in clients:
            await loop.create_connection(lambda c=client: c, "127.0.0.1", port)
        await asyncio.gather(*[client.done for client in clients])
        for client in clients:
            client.transport.close()
        return times, sum(client.errors for client in clients)

    while (told := pipe.recv()) is not None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            pipe.send(runner.run(run(*told)))


async def measure_case(node: Node, pipe: Any, case: str) -> tuple[float, str]:
    loop = asyncio.get_running_loop()

    async def ask(seconds: float, pause_s: float) -> tuple[list[float], int]:
        pipe.send((node.port, request(case), seconds, pause_s))
        return await loop.run_in_executor(None, pipe.recv)

    await ask(0.5, 0)
    before = cpu_s()
    times, errors = await ask(SECONDS, 0)
    spent = cpu_s() - before
    rate = len(times) / SECONDS
    half, more = await ask(SECONDS / 2, CONNECTIONS / (rate / 2))
    quick, slow = (value * 1e3 for value in percentiles(times))
    _, p99 = percentiles(half)
    text = (
        f"{rate / 1e3:.1f}k/s; p50 {quick:.2f}, p99 {slow:.2f} ms; {spent / len(times) * 1e6:.0f} "
        f"µs CPU a query; p99 {p99 * 1e3:.2f} ms at {len(half) / (SECONDS / 2) / 1e3:.1f}k/s; "
        f"{errors + more} errors"
    )
    return rate, text


def percentiles(times: list[float]) -> tuple[float, float]:
    cuts = statistics.quantiles(times, n=100)
    return cuts[49], cuts[98]


def cpu_s() -> float:
    """Of the node: its front and all below it but the load."""
    total = sum(os.times()[:2])
    for process in psutil.Process().children(recursive=True):
        if process.pid not in LOADS:
            times = process.cpu_times()
            total += times.user + times.system
    return total


LOADS: set[int] = set()


async def run(pipe: Any) -> list[tuple[str, str, str]]:
    rows: list[tuple[str, str, str]] = []
    with tempfile.TemporaryDirectory(prefix="hf-bench-") as name:
        folder = Path(name)
        models = folder / "models"
        models.mkdir()
        write_models(models)
        node = Node(folder / "data", NodeSettings(http=HttpSettings(port=0, drain_notice_s=0)))
        await node.start()
        for title, case, aim, floor in CASES:
            (models / "service.toml").write_text(service(case, floor))
            built = build(models, folder / f"{case}.hfpkg")
            await node.registry.create(case)
            await node.registry.import_archive(case, Path(built.path))
            await node.registry.switch(case, (Entry(built.generation, 1.0),))
            while len(node.registry.get(case).mounted[built.generation].pool._idle) < floor:
                await asyncio.sleep(0.05)
            _, text = await measure_case(node, pipe, case)
            rows.append((f"{title}, {floor} worker(s)", f"{aim}/s" if aim else "-", text))
            await node.registry.disable(case)
        await node.stop()
    return rows


def measure() -> list[tuple[str, str, str]]:
    """(what, aim, measured) of each case."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(target=load, args=(theirs,), daemon=True)
    process.start()
    LOADS.add(process.pid or 0)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(run(ours))
    finally:
        ours.send(None)
        process.join()
