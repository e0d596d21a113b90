"""The API as a WSGI application (I2), by gunicorn and by Apache, as the examples in deploy/ say."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from tests.compat import containers
from tests.compat.clients import Client
from tests.compat.containers import Container
from tests.compat.programs import until
from tests.compat.system import System

pytestmark = pytest.mark.compat

NODE = ["baremetal", "node"]


@pytest.fixture(
    scope="module",
    params=[containers.gunicorn, containers.apache],
    ids=lambda start: start.__name__,
)
def container(request: pytest.FixtureRequest, system: System, folder: Path) -> Generator[Container]:
    container = Container(system, folder / request.param.__name__, request.param)
    yield container
    container.stop()


@pytest.fixture(scope="module")
def theirs(container: Container) -> Client:
    return Client(container.clouds)


def test_a_node_is_enrolled_changed_and_removed(theirs: Client, container: Container):
    name = f"behind-{container.folder.name}"
    node = theirs.json(*NODE, "create", "--driver", "fake-hardware", "--name", name)
    assert node["provision_state"] == "enroll"
    theirs.done(*NODE, "set", name, "--extra", "rack=7")
    theirs.done(*NODE, "manage", name, "--wait", "60")
    assert theirs.node(name)["extra"] == {"rack": 7}
    assert name in [row["name"] for row in theirs.json(*NODE, "list")]
    theirs.done(*NODE, "delete", name)
    assert "could not be found" in theirs.refused(*NODE, "show", name)


def test_a_refusal_has_the_apis_shape(theirs: Client):
    assert "no driver 'abacus'" in theirs.refused(*NODE, "create", "--driver", "abacus")


def test_its_processes_are_members(theirs: Client, container: Container):
    status, body = ask(container, theirs, "/cluster/v1/members")
    assert status == 200
    slots = {m["slot"] for m in body["members"] if m["slot"].startswith("api-wsgi-")}
    assert slots


def test_an_event_stream_is_refused_clearly(theirs: Client, container: Container):
    status, body = ask(container, theirs, "/cluster/v1/events/stream", "text/event-stream")
    assert status == 501
    assert "holdfast run api" in body["message"]


def test_it_is_ready_and_alive(container: Container):
    for probe in ("livez", "readyz"):
        with urllib.request.urlopen(f"{container.url}/{probe}", timeout=10) as response:
            assert response.status == 200


def ask(container: Container, client: Client, path: str, accept: str = "*/*") -> tuple[int, Any]:
    """Status and JSON of one request of the administrator's."""
    token = client.json("token", "issue")["id"]
    headers = {"X-Auth-Token": token, "Accept": accept}
    request = urllib.request.Request(container.url + path, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as refusal:
        return refusal.code, json.load(refusal)


def test_a_process_that_ends_leaves(system: System, folder: Path):
    """What a container's processes were is not found dead later, but says that it leaves."""
    container = Container(system, folder / "leaving", containers.gunicorn)
    client = Client(system.clouds)
    before = living(system, client)
    container.stop()
    until(lambda: living(system, client) < before, "its members were gone", 4)


def living(system: System, client: Client) -> int:
    token = client.json("token", "issue")["id"]
    url = f"{system.url}/cluster/v1/members"
    request = urllib.request.Request(url, headers={"X-Auth-Token": token})
    with urllib.request.urlopen(request, timeout=30) as response:
        members = json.load(response)["members"]
    return len([m for m in members if m["slot"].startswith("api-wsgi-")])
