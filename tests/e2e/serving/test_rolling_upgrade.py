"""``holdfast apinode upgrade --rolling``: three nodes under load, and not one query is lost.

Behind HAProxy, and behind our client; each is seen to lose queries when what keeps them is broken
on purpose. Then what goes wrong: the command is killed, a package is bad, a node is down.
"""

from __future__ import annotations

import contextlib
import http.client
import http.server
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path

import msgspec
import pytest
from tests.serving.loads import Load, answers, balancer, over_client, over_http
from tests.serving.nodes import NodeProcess, adder, function, make, until

from holdfast.client import Settings
from holdfast.serving.operating.progress import Progress, Step

ADMIN_KEY = "an-admin-key-for-all-three"
NOTICE = "[workers]\nlibraries = []\n[http]\ndrain_notice_s = 0.7\n"
PROBING = Settings(probe_s=0.2, probe_timeout_s=0.5)
UNTRIED = Settings(probe_s=0.0, attempts_max=1, hedging=0.0)


class Nodes:
    """Three nodes, and a port that restarts the one that is asked for, as an operator would."""

    def __init__(self, folder: Path, zones: Sequence[str]) -> None:
        self.folder = folder
        self.restarts: list[int] = []
        self.abrupt = False
        self._lock = threading.Lock()
        nodes = self
        self.all = [
            NodeProcess(folder / f"n{number}", f'{NOTICE}[node]\nzone = "{zone}"\n')
            for number, zone in enumerate(zones)
        ]

        class Restart(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                nodes.restart(int(self.path[1:]))
                self.send_response(200)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Restart)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def restart(self, port: int) -> None:
        one = next(one for one in self.all if one.port == port)
        with self._lock:  # the command that was killed may have asked just now
            assert one.process is not None
            if one.process.poll() is None:
                self.restarts.append(port)
                (one.process.kill if self.abrupt else one.process.terminate)()
            one.wait()
            one.start(port)

    def command(self, package: Path | str, *more: str) -> list[str]:
        url = f"http://127.0.0.1:{self._server.server_port}"
        code = f"from urllib.request import urlopen; urlopen('{url}/{{port}}').close()"
        return [
            *(sys.executable, "-m", "holdfast.cli.main", "-o", "json", "apinode", "upgrade"),
            *("--rolling", "--nodes", ",".join(one.url for one in self.all)),
            *("--run", f'{sys.executable} -c "{code}"', "--package", str(package)),
            *("--watch", "0.5", "--state", str(self.state), *more),
        ]

    @property
    def state(self) -> Path:
        return self.folder / "upgrade.json"

    def upgrade(self, package: Path | str, *more: str) -> subprocess.CompletedProcess[str]:
        argv = self.command(package, *more)
        return subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)

    def generations(self) -> list[str]:
        return [
            one.ask("sums", "add/run", {"a": 1}).body["apiContext"]["serviceGeneration"]
            for one in self.all
        ]

    def alive(self) -> list[bool]:
        return [answers(one.port) for one in self.all]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        for one in self.all:
            one.stop()


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    """Three nodes that serve v0; the zones are not in the order of the nodes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOLDFAST_APINODE_KEY", ADMIN_KEY)
        folder = tmp_path_factory.mktemp("rolling")
        made = Nodes(folder, ["a", "b", "a"])
        package = adder(folder, "v0")
        for one in made.all:
            one.start()
            one.put(package)
        yield made
        made.close()


def test_no_query_is_lost_behind_haproxy_though_the_command_is_killed(nodes: Nodes, tmp_path: Path):
    """D14, D16 to D20; the second run goes on where the first was killed."""
    package = adder(tmp_path, "v1", plus=1).path
    first, second, third = (one.port for one in nodes.all)
    with balancer(tmp_path, nodes.all) as port, over_http(port) as load:
        broken_off = subprocess.Popen(nodes.command(package), stderr=subprocess.DEVNULL)
        until(lambda: step_of(nodes.state, 1) >= Step.OUT, "the second to be out")
        broken_off.kill()
        broken_off.wait()
        assert nodes.alive().count(False) == 1
        done = nodes.upgrade(package)
        assert done.returncode == 0, done.stderr
        load.more(100)
    assert load.failures == []
    assert load.generations[-1] == "v1"
    assert {one["state"] for one in json.loads(done.stdout)["nodes"]} == {"done"}
    assert list(dict.fromkeys(nodes.restarts)) == [first, third, second]  # zone by zone
    assert nodes.restarts.count(first) == 1
    assert (nodes.generations(), nodes.alive()) == (["v1"] * 3, [True] * 3)
    assert not nodes.state.exists()


def step_of(state: Path, number: int) -> Step:
    if not state.exists():
        return Step.WAITING
    return msgspec.json.decode(state.read_bytes(), type=Progress).nodes[number].step


def test_no_query_is_lost_behind_our_client(nodes: Nodes, tmp_path: Path):
    with over_client(nodes.all, PROBING) as load:
        done = nodes.upgrade(adder(tmp_path, "v2", plus=1).path)
        assert done.returncode == 0, done.stderr
        load.more(100)
    assert load.failures == []
    assert load.generations[-1] == "v2"
    assert nodes.generations() == ["v2"] * 3


@pytest.mark.parametrize("where", ["haproxy", "client"])
def test_without_the_drain_queries_are_lost_and_this_harness_sees_it(
    nodes: Nodes, tmp_path: Path, where: str
):
    """Broken on purpose: no notice, and a node is killed; and a client that does not try again."""
    package = adder(tmp_path, f"broken-{where}").path

    def run(loads: AbstractContextManager[Load]) -> list[str]:
        with loads as load:
            more = ("--notice", "0", "--force", "--nodes", nodes.all[0].url)
            assert nodes.upgrade(package, *more).returncode == 0
        return load.failures

    nodes.abrupt = True
    try:
        if where == "haproxy":
            with balancer(tmp_path, nodes.all, inter_ms=2000) as port:
                assert run(over_http(port))
        else:
            assert run(over_client(nodes.all, UNTRIED))
    finally:
        nodes.abrupt = False


def test_a_package_that_answers_with_errors_is_taken_back_everywhere(nodes: Nodes, tmp_path: Path):
    """Its test query is answered, clients' queries are not: the watch finds out."""
    before = nodes.generations()
    code = "def add(a, b=1):\n    assert a == 0, 'a bad package'\n    return b\n"
    endpoint = function("add", tests=[{"query": {"a": 0}}])
    bad = make(tmp_path, "sums", {"f.py": code}, [endpoint], generation="bad").path
    with over_client(nodes.all, PROBING):
        done = nodes.upgrade(bad)
    assert done.returncode != 0
    assert "queries were answered with errors" in done.stderr
    assert (nodes.generations(), nodes.alive()) == (before, [True] * 3)
    assert not nodes.state.exists()


def test_a_user_whose_queries_fail_anyway_stops_no_upgrade(nodes: Nodes, tmp_path: Path):
    """The author's code raises for what one client sends, before as after."""
    code = "def add(a, b=1):\n    assert a >= 0, 'no such thing'\n    return a + b\n"
    for one in nodes.all:
        one.put(make(tmp_path, "sums", {"f.py": code}, [function("add")], generation="picky"))
    more = make(tmp_path, "sums", {"f.py": code}, [function("add")], generation="picky2")
    over = threading.Event()

    def ask_badly() -> None:
        while not over.is_set():
            for one in nodes.all:
                with contextlib.suppress(OSError, http.client.HTTPException):
                    one.ask("sums", "add/run", {"a": -1})

    with ThreadPoolExecutor(1) as threads:
        asking = threads.submit(ask_badly)
        with over_client(nodes.all, PROBING) as load:
            try:
                done = nodes.upgrade(more.path)
            finally:
                over.set()
        asking.result()
    assert done.returncode == 0, done.stderr
    assert load.failures == []
    assert nodes.generations() == ["picky2"] * 3


def test_a_node_that_cannot_replace_itself_is_told_with_its_reason(nodes: Nodes):
    before, file = nodes.generations(), nodes.all[0].data / "apinode.toml"
    settings = file.read_text()
    file.write_text("nonsense")
    try:
        argv = [word for word in nodes.command("unused", "--in-place") if word != "unused"]
        for option in ("--run", "--package"):
            at = argv.index(option)
            del argv[at : at + (2 if option == "--run" else 1)]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)
    finally:
        file.write_text(settings)
    assert done.returncode != 0
    assert "It goes on as it was. It ended while it was starting" in done.stderr
    assert "is back in the pool" in done.stderr
    assert (nodes.generations(), nodes.alive()) == (before, [True] * 3)


def test_a_package_that_cannot_be_loaded_stops_at_the_first_node(nodes: Nodes, tmp_path: Path):
    before, nodes.restarts[:] = nodes.generations(), []
    bad = make(tmp_path, "sums", {"f.py": "import nothing_so"}, [function("add")], generation="b")
    done = nodes.upgrade(bad.path, "--notice", "0")
    assert done.returncode != 0
    assert "nothing_so" in done.stderr
    assert len(nodes.restarts) == 1
    assert (nodes.generations(), nodes.alive()) == (before, [True] * 3)


def test_nobody_is_taken_out_while_another_is(nodes: Nodes, tmp_path: Path):
    """D16: one at a time."""
    package = adder(tmp_path, "v9").path
    for one in nodes.all[1:]:
        assert one.admin("POST", "node/out?force=1").status == 200
    try:
        done = nodes.upgrade(package)
        assert done.returncode != 0
        assert "At most one may be" in done.stderr
        assert nodes.alive() == [True, False, False]
    finally:
        for one in nodes.all[1:]:
            one.admin("POST", "node/back")


def test_what_cannot_be_meant_is_refused(nodes: Nodes, tmp_path: Path):
    package = adder(tmp_path, "v9").path
    told = nodes.command(package)
    told.remove("--rolling")
    for argv, text in [
        (told, "say --rolling"),
        ([*nodes.command(package), "--in-place"], "not both"),
        ([*told[:6], "upgrade", "--nodes", nodes.all[0].url], "Say what to do"),
    ]:
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        assert done.returncode != 0
        assert text in done.stderr
    assert os.environ["HOLDFAST_APINODE_KEY"] == ADMIN_KEY
