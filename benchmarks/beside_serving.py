"""The table "Serving": MLServer, BentoML and LitServe beside ours, in rounds that take turns.

One client for all: a process of its own, 32 connections, kept alive, one query at a time on each.
All servers are up, and one is asked while the others have nothing to do. Rates are wall time, so
they know what else the machine did; CPU is that of all of a server's processes, from /proc.

Scale-out: a function of about a millisecond, so that the client's own CPU is small beside it. One
node pinned to one core, then two nodes pinned to one core each, in turn.
"""

from __future__ import annotations

import http.client
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psutil

from benchmarks import serving
from benchmarks.peers.serving import PEERS, Server, installed, version
from holdfast.cli.demo.stage import free_ports
from holdfast.serving.packages.build import build

TITLE = "Serving, beside MLServer, BentoML and LitServe (iris, two cores, 32 connections)"
CASES = (
    ("lr", "logistic regression", "≥ 10 × the best peer"),
    ("forest", "forest of 100 trees", ""),
)
ROUNDS = 3
SECONDS = 3.0
WARM_S = 1.0
START_S = 60.0
SPIN = "def spin(n=15000):\n    return sum(i * i for i in range(n))\n"
Row = tuple[str, str, str]


class Ours:
    """``holdfast apinode run``, with keys, audit and metrics on; ``cores`` pins it."""

    def __init__(self, folder: Path, cores: set[int] | None = None) -> None:
        self.data = folder / "data"
        self.data.mkdir(parents=True)
        [self.port] = free_ports(1)
        self.case = ""
        self._log = (folder / "log").open("wb")
        self.root = subprocess.Popen(
            [
                *(sys.executable, "-m", "holdfast.cli.main", "apinode", "run"),
                *("--data", str(self.data), "--port", str(self.port)),
            ],
            stdout=self._log,
            stderr=self._log,
        )
        if cores:  # what it starts later inherits it
            os.sched_setaffinity(self.root.pid, cores)

    def deploy(self, package: str, service: str, generation: str) -> None:
        wait_for(self.port, "GET", "/isAlive/")
        key = (self.data / "admin.key").read_text().strip()
        base = f"/admin/api/services/{service}"
        for path, body in (
            ("/admin/api/services/", f'{{"serviceId":"{service}"}}'),
            (f"{base}/generations/actions/importFromArchive?filePath={package}", ""),
            (f"{base}/actions/switchTo/{generation}", ""),
        ):
            status, told = ask(self.port, "POST", path, body.encode(), key)
            if status != 200:
                raise SystemExit(f"{path}: {status} {told!r}")

    def request(self) -> bytes:
        return serving.request(self.case)

    def stop(self) -> None:
        self.root.terminate()
        self.root.terminate()  # at once
        try:
            self.root.wait(20)
        except subprocess.TimeoutExpired:
            self.root.kill()
            self.root.wait()
        self._log.close()


def ask(port: int, method: str, path: str, body: bytes = b"", key: str = "") -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    headers = {"Content-Type": "application/json"}
    if key:
        headers["Authorization"] = f"Bearer {key}"
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    found = answer.status, answer.read()
    connection.close()
    return found


def wait_for(port: int, method: str, path: str, body: bytes = b"") -> None:
    end = time.monotonic() + START_S
    while True:
        try:
            if ask(port, method, path, body)[0] == 200:
                return
        except OSError:
            pass
        if time.monotonic() > end:
            raise SystemExit(f"Nobody answers {path} on port {port}.")
        time.sleep(0.2)


def cpu_s(root: subprocess.Popen[Any]) -> float:
    top = psutil.Process(root.pid)
    total = 0.0
    for process in (top, *top.children(recursive=True)):
        try:
            spent = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += spent.user + spent.system
    return total


class Sample:
    """One round of one server. Rates in queries a second, times in ms, CPU in µs a query."""

    def __init__(self, times: list[float], errors: int, spent_s: float, seconds: float) -> None:
        self.rate = len(times) / seconds
        self.p50, self.p99 = (1e3 * value for value in serving.percentiles(times))
        self.cpu = spent_s / len(times) * 1e6
        self.errors = errors


def one_round(pipe: Any, server: Any, seconds: float) -> Sample:
    before = cpu_s(server.root)
    pipe.send((server.port, server.request(), seconds, 0.0))
    times, errors = pipe.recv()
    return Sample(times, errors, cpu_s(server.root) - before, seconds)


def median(samples: list[Sample]) -> dict[str, float]:
    names = ("rate", "p50", "p99", "cpu")
    return {name: statistics.median(getattr(one, name) for one in samples) for name in names}


def shown(found: dict[str, float], errors: int) -> str:
    return (
        f"{found['rate']:,.0f}/s; p50 {found['p50']:.1f}, p99 {found['p99']:.1f} ms; "
        f"{found['cpu']:,.0f} µs CPU a query" + (f"; {errors} errors" if errors else "")
    )


@contextmanager
def loader() -> Iterator[Any]:
    """The client's process."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(
        target=serving.load, args=(theirs,), daemon=True
    )
    process.start()
    try:
        yield ours
    finally:
        ours.send(None)
        process.join()


def beside(folder: Path, pipe: Any) -> list[Row]:
    rows: list[Row] = []
    peers = [peer for peer in PEERS if installed(peer)]
    models = folder / "models"
    models.mkdir()
    serving.write_models(models)
    for case, title, aim in CASES:
        with ExitStack() as stack:
            servers: dict[str, Any] = {}
            for peer in peers:
                servers[peer] = Server(peer, case, folder, free_ports(3))
                stack.callback(servers[peer].stop)
            ours = servers["Holdfast"] = Ours(folder / f"ours-{case}")
            stack.callback(ours.stop)
            floor = 1 if case == "lr" else 2
            (models / "service.toml").write_text(serving.service(case, floor))
            built = build(models, folder / f"{case}.hfpkg")
            ours.deploy(built.path, case, built.generation)
            ours.case = case
            for peer in peers:
                server: Server = servers[peer]
                try:
                    wait_for(server.port, "POST", server.path(), server.body())
                except SystemExit as error:
                    del servers[peer]
                    rows.append((f"{title}: {peer}", "", f"does not start here: {error}"))
                    print(server.log())
            rows += _compared(servers, title, aim, pipe)
    missing = [peer for peer in PEERS if peer not in peers]
    told = ", ".join(f"{peer} {version(peer)}" for peer in peers)
    return [*rows, ("versions", "", told + (f"; not installed: {missing}" if missing else ""))]


def _compared(servers: dict[str, Any], title: str, aim: str, pipe: Any) -> list[Row]:
    samples: dict[str, list[Sample]] = {name: [] for name in servers}
    for server in servers.values():
        one_round(pipe, server, WARM_S)
    for _ in range(ROUNDS):
        for name, server in servers.items():
            samples[name].append(one_round(pipe, server, SECONDS))
    medians = {name: median(found) for name, found in samples.items()}
    rows = [
        (f"{title}: {name}", "", shown(medians[name], sum(one.errors for one in samples[name])))
        for name in servers
    ]
    others = [found for name, found in medians.items() if name != "Holdfast"]
    if others:
        ours = medians["Holdfast"]
        rate = ours["rate"] / max(one["rate"] for one in others)
        cpu = min(one["cpu"] for one in others) / ours["cpu"]
        text = f"{rate:.1f} × the rate of the best, at 1/{cpu:.0f} of the CPU of the thriftiest"
        rows.append((f"{title}: ours beside them", aim, text))
    return rows


def scale_out(folder: Path, pipes: list[Any]) -> list[Row]:
    """One node on core 0, or two on cores 0 and 1; half the connections' load each."""
    source = folder / "spin"
    source.mkdir()
    (source / "f.py").write_text(SPIN)
    (source / "service.toml").write_text(
        f'id = "add"\n[auth]\nkeys = [{{id = "bench", key = "{serving.KEY}"}}]\n[pool]\nceil = 1\n'
        'cruise = 1\nqueue = 256\n[[endpoints]]\nid="e"\nkind="function"\nfile="f.py"\n'
        'function="spin"\n'
    )
    built = build(source, folder / "spin.hfpkg")
    query = serving.request("add").replace(b'{"a":1,"b":2}', b'{"n": 15000 }')
    with ExitStack() as stack:
        nodes: list[Ours] = []
        for core in (0, 1):
            nodes.append(Ours(folder / f"pinned-{core}", {core}))
            stack.callback(nodes[-1].stop)
            nodes[-1].deploy(built.path, "add", built.generation)
        walls: dict[int, list[float]] = {1: [], 2: []}
        thrifts: dict[int, list[float]] = {1: [], 2: []}
        for _ in range(ROUNDS + 1):
            for count in (1, 2):
                used = nodes[:count]
                before = [cpu_s(node.root) for node in used]
                for pipe, node in zip(pipes, used, strict=False):
                    pipe.send((node.port, query, SECONDS, 0.0))
                answers = [len(pipe.recv()[0]) for pipe, _ in zip(pipes, used, strict=False)]
                spent = [cpu_s(node.root) - was for node, was in zip(used, before, strict=True)]
                walls[count].append(sum(answers) / SECONDS)
                per_core = [n / s for n, s in zip(answers, spent, strict=True)]
                thrifts[count].append(sum(per_core))
    wall = {count: statistics.median(found) for count, found in walls.items()}
    thrift = {count: statistics.median(found) for count, found in thrifts.items()}
    return [
        (
            "two nodes on two cores, beside one on one; a function of a millisecond",
            "≥ 1.8 ×",
            f"{wall[2]:,.0f}/s, one {wall[1]:,.0f}/s: {wall[2] / wall[1]:.2f} × by the clock",
        ),
        (
            "… queries for each second of CPU that the node got, both nodes' summed",
            "≥ 1.8 ×",
            f"{thrift[2]:,.0f}, one {thrift[1]:,.0f}: {thrift[2] / thrift[1]:.2f} ×",
        ),
    ]


def measure() -> list[Row]:
    """Rows of (what, aim, measured)."""
    before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="hf-bench-") as name, loader() as pipe:
        rows = beside(Path(name), pipe)
        with loader() as other:
            rows += scale_out(Path(name), [pipe, other])
    after = os.getloadavg()[0]
    load = f"{before:.1f} and {after:.1f} on {os.cpu_count()} cores"
    return [*rows, ("load average before and after, this benchmark included", "", load)]
