"""Services by template on API nodes: rolled out, rolled back, and gone on with alone.

One system, as a user starts it, with three API nodes in two zones; the unmodified clients of
stacks and of queries. Each test begins with what the one before has left.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
import signal
import subprocess
import threading
import urllib.request
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.compat.clients import BIN, Client
from tests.compat.programs import until
from tests.e2e.running import Running, free_ports
from tests.serving.nodes import adder, function, make

from holdfast.serving.packages.build import Built

pytestmark = pytest.mark.e2e

LOAD = Path(__file__).with_name("dataiku_load.py")
KEY = "a-key-from-the-template"
ZONES = ("east", "east", "west")
SETTINGS = (
    '[workers]\nlibraries = []\n[http]\ndrain_notice_s = 0.3\n[node]\nzone = "{zone}"\n'
    '[packages.fetch]\nschemes = ["http"]\nprivate_networks = ["127.0.0.0/8"]\n'
)
QUICK = ("--wait", "--poll", "1")


class Place:
    """The system, a web server with packages, and the nodes' addresses."""

    def __init__(self) -> None:
        first = free_ports(1)[0]
        self.ports = [first, first + 1, first + 2]
        self.up = Running(
            HOLDFAST_APINODE__PROCESSES="3",
            HOLDFAST_APINODE__PORT=str(first),
            HOLDFAST_APINODE__LOOK_S="0.5",
            HOLDFAST_CONDUCTOR__PROCESSES="1",
            HOLDFAST_API__PROCESSES="1",
            HOLDFAST_ENGINE__PROCESSES="1",
            HOLDFAST_LOGS__FORMAT="json",
        )
        self._loads: list[subprocess.Popen[str]] = []
        self.packages = self.up.folder / "packages"
        self.packages.mkdir()
        for number, zone in enumerate(ZONES, 1):
            folder = self.up.folder / "data" / "apinodes" / f"apinode-{number}"
            folder.mkdir(parents=True)
            (folder / "apinode.toml").write_text(SETTINGS.format(zone=zone))
        handler = functools.partial(SimpleHTTPRequestHandler, directory=str(self.packages))
        self.web = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=self.web.serve_forever, daemon=True).start()

    @property
    def client(self) -> Client:
        return Client(self.up.folder / "data" / "clouds.yaml")

    @property
    def urls(self) -> list[str]:
        return [f"http://127.0.0.1:{port}" for port in self.ports]

    def template(self, built: Built, **more: Any) -> str:
        """A generation of that package, and the service that serves it."""
        url = f"http://127.0.0.1:{self.web.server_port}/{Path(built.path).name}"
        document = {
            "heat_template_version": "2021-04-16",
            "resources": {
                "package": {
                    "type": "Holdfast::Serving::Generation",
                    "properties": {"url": url, "digest": built.sha256},
                },
                "sums": {
                    "type": "Holdfast::Serving::Service",
                    "properties": {
                        "name": "sums",
                        "generation": {"get_resource": "package"},
                        "keys": {"web": KEY},
                        "watch": 1,
                        **more,
                    },
                },
            },
            "outputs": {
                "generation": {"value": {"get_attr": ["sums", "generation"]}},
                "nodes": {"value": {"get_attr": ["sums", "nodes"]}},
            },
        }
        path = self.up.folder / f"{built.generation}.yaml"
        path.write_text(yaml.safe_dump(document))
        return str(path)

    def output(self, name: str) -> Any:
        found = self.client.json("stack", "output", "show", "app", name)
        return found["output_value"]

    def load(self, nodes: int = len(ZONES)) -> subprocess.Popen[str]:
        """Queries for the first so many nodes."""
        load = subprocess.Popen(
            [BIN / "python", LOAD, KEY, *self.urls[:nodes]],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._loads.append(load)
        return load

    def living(self) -> list[dict[str, Any]]:
        """The API nodes among the members."""
        found = self.up.ask("members")["members"]
        return [one for one in found if one["role"] == "apinode" and one["state"] == "up"]

    def listed(self, url: str) -> list[str]:
        """What a node says which nodes there are."""
        with urllib.request.urlopen(f"{url}/nodes", timeout=5) as answer:
            return json.loads(answer.read())["nodes"]

    def is_served(self, node: int) -> bool:
        url = f"{self.urls[node - 1]}/public/api/v1/sums/isReady"
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return answer.status == 200
        except OSError:
            return False

    def close(self) -> None:
        for load in self._loads:
            load.kill()
        if self.up.process is not None and self.up.process.poll() is None:
            self.up.signal(signal.SIGTERM)
            self.up.wait()
        self.web.shutdown()
        shutil.rmtree(self.up.folder, ignore_errors=True)


def said(load: subprocess.Popen[str]) -> dict[str, Any]:
    """What the load came to, once it has ended."""
    out, _ = load.communicate("", timeout=60)
    return json.loads(out)


@pytest.fixture(scope="module")
def made() -> Iterator[Place]:
    place = Place()
    yield place
    place.close()


@pytest.fixture
async def place(made: Place) -> Place:
    """Started by whichever test comes first."""
    if made.up.process is None:
        made.up.start()
        await made.up.until("Ctrl-C drains and stops")
    return made


async def test_api_nodes_are_members_of_their_zones(place: Place):
    found = place.living()
    assert [(one["slot"], one["zone"], one["state"]) for one in found] == [
        (f"apinode-{number}", zone, "up") for number, zone in enumerate(ZONES, 1)
    ]
    assert [one["address"] for one in found] == place.urls


async def test_a_client_that_knows_one_node_learns_of_all_and_one_may_be_taken_out(place: Place):
    """D10, D11, D17: though no node was told of another."""
    until(lambda: all(place.listed(url) == place.urls for url in place.urls), "each names all", 60)
    data = place.up.folder / "data" / "apinodes" / "apinode-1"
    for command in ("out", "back"):
        done = place.up.run("apinode", command, "--node", place.urls[0], "--data", str(data))
        assert done.returncode == 0, done.stderr


async def test_a_stack_serves_a_service_on_every_node(place: Place):
    template = place.template(adder(place.packages, "v1"))
    place.client.done("stack", "create", "-t", template, *QUICK, "app")
    assert place.output("generation") == "v1"
    assert place.output("nodes") == ["apinode-1", "apinode-2", "apinode-3"]


async def test_an_update_rolls_a_new_generation_through_and_loses_no_query(place: Place):
    template = place.template(adder(place.packages, "v2", plus=10))
    load = place.load()
    place.client.done("stack", "update", "-t", template, "--wait", "app")
    told = said(load)
    assert told["failures"] == []
    assert told["results"] == {url: [2, 12] for url in place.urls}
    assert min(told["answers"].values()) > 100
    assert place.output("generation") == "v2"


async def test_a_generation_that_fails_is_rolled_back_and_loses_no_query(place: Place):
    """It fails on the second node only, so that the first one has to go back."""
    code = (
        'bad = 1 if "/apinode-2/" in __file__ else 0\n'
        "def add(a, b=1):\n    return 1 // (1 - bad) + a + b + 99\n"
    )
    tests = [{"query": {"a": 1}}]
    bad = make(
        place.packages, "sums", {"f.py": code}, [function("add", tests=tests)], generation="v3"
    )
    load = place.load()
    place.client.refused("stack", "update", "-t", place.template(bad), "--wait", "app")
    told = said(load)
    assert told["failures"] == []
    first, *others = place.urls
    assert told["results"] == {first: [12, 102, 12], **{url: [12] for url in others}}
    shown = place.client.json("stack", "resource", "show", "app", "sums")
    assert shown["resource_status"] == "UPDATE_FAILED"
    for word in ("apinode-2", "add"):
        assert word in shown["resource_status_reason"]


async def test_without_the_database_queries_go_on_even_of_a_node_that_starts_anew(place: Place):
    database = [
        pid for pid in place.up.processes() if "postgres" in Path(f"/proc/{pid}/comm").read_text()
    ]
    load = place.load(nodes=2)
    for pid in database:
        os.kill(pid, signal.SIGSTOP)
    try:
        os.kill(place.up.pid("apinode-3"), signal.SIGKILL)
        until(lambda: not place.is_served(3), "the third node is gone", 60)
        until(lambda: place.is_served(3), "it is there again, and serves", 60)
        told = said(load)
    finally:
        for pid in database:
            os.kill(pid, signal.SIGCONT)
    assert told["failures"] == []
    assert told["results"] == {url: [12] for url in place.urls[:2]}
    until(lambda: len(place.living()) == 3, "the nodes are members again", 60)


async def test_a_node_that_is_asked_to_drain_leaves_and_the_others_answer(place: Place):
    load = place.load(nodes=2)
    done = place.up.run("drain", "apinode-3")
    assert done.returncode == 0, done.stderr
    await place.up.until("apinode-3: drained")
    assert len(place.living()) == 2
    until(lambda: place.listed(place.urls[0]) == place.urls[:2], "it is listed no more", 40)
    assert said(load)["failures"] == []
    place.up.signal(signal.SIGHUP)  # starts what has drained
    until(lambda: place.is_served(3) and len(place.living()) == 3, "it is there again", 60)


async def test_a_deleted_stack_leaves_nothing_served(place: Place):
    place.client.done("stack", "delete", "--yes", "--wait", "app")
    kept = place.up.folder / "data" / "apinodes"
    assert [*kept.glob("*/services/*.json")] == []
    assert [*kept.glob("*/packages/" + "?" * 64)] == []
