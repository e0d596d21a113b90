"""Requests that make no sense are refused in the API's shape: whatever is sent, no 500."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote, urlencode

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from litestar.routes import HTTPRoute
from tests.baremetal.people import BaremetalFixture

from holdfast.baremetal import api
from holdfast.baremetal.resources import RESOURCES
from holdfast.baremetal.service import Baremetal

NAMES = sorted({name for resource in RESOURCES for name in resource.fields})
PARAMETERS = [
    *("fields", "detail", "limit", "marker", "sort_key", "sort_dir", "associated", "fault"),
    *("maintenance", "provision_state", "driver", "node", "owner", "state", "portgroup"),
    *("address", "shard", "parent_node", "include_children", "chassis_uuid", "instance_uuid"),
    *("description_contains", "conductor", "conductor_group", "reset_interfaces", "type"),
    *("device_types", "driver_name", "addresses", "node_uuid", "resource_class", "wings"),
]
WORDS = st.one_of(
    st.sampled_from(["n1", "True", "-1", "0", "99999999999999999999", "1e400", "", "none", "%00"]),
    st.sampled_from(NAMES),
    st.uuids().map(str),
    st.text(max_size=12),
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    WORDS,
    st.sampled_from(["manage", "active", "clean", "power on", "02:00:00:00:00:01", "CUSTOM_A"]),
)
KEYS = st.one_of(
    st.sampled_from(
        [
            *NAMES,
            *("target", "clean_steps", "deploy_steps", "runbook", "configdrive", "traits", "id"),
            *("interface", "step", "args", "priority", "order", "boot_device", "persistent"),
            *("reason", "enabled", "image_url", "device_type", "node", "timeout", "callback_url"),
        ]
    ),
    st.text(max_size=6),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=10,
)


def operations(names: list[str]) -> st.SearchStrategy[Any]:
    """JSON patches of these fields, mostly."""
    field = st.sampled_from(names)
    paths = st.one_of(
        field.map("/{}".format),
        st.tuples(field, WORDS).map("/".join).map("/{}".format),
        WORDS,
    )
    named = st.sampled_from(["add", "replace", "remove", "add", "replace", "move", 7])
    operation = st.fixed_dictionaries({"op": named, "path": paths}, optional={"value": VALUES})
    return st.lists(operation, max_size=3)


def bodies(method: str, template: str) -> st.SearchStrategy[bytes]:
    """What might be sent there, and what might not."""
    collection = template.split("/")[2] if template.count("/") > 1 else ""
    found = [resource for resource in RESOURCES if resource.plural == collection]
    names = sorted(found[0].fields) if found else NAMES
    likely = operations(names)
    if method != "PATCH":
        keys = st.sampled_from(names) if method == "POST" else KEYS
        likely = st.dictionaries(st.one_of(keys, keys, KEYS), VALUES, max_size=5)
    written = likely.map(json.dumps).map(str.encode)
    nonsense = st.one_of(VALUES.map(json.dumps).map(str.encode), st.binary(max_size=40))
    return st.one_of(written, written, written, nonsense)


def templates() -> list[tuple[str, str]]:
    """Method and path of every route."""
    router = api.router(Baremetal.__new__(Baremetal))
    return sorted(
        (str(method), route.path)
        for route in router.routes
        if isinstance(route, HTTPRoute)
        for method in route.methods
        if method != "OPTIONS" and "{rest:path}" not in route.path
    )


def filled(template: str, words: list[str]) -> str:
    """The path with words in place of its parameters."""
    parts = [
        quote(words.pop() or "n1", safe="") if part.startswith("{") else part
        for part in template.split("/")
    ]
    return "/".join(parts)


ROUTES = templates()
THERE = "@"
"""In a path: the one of its collection that there is."""


def test_every_route_is_under_this_test():
    assert len(ROUTES) > 80


Populated = tuple[httpx.AsyncClient, dict[str, str]]


@pytest.fixture
async def populated(client: httpx.AsyncClient, fixture: BaremetalFixture) -> Populated:
    """One of everything, by its collection, so that what is sent has something to meet."""
    node = str(await fixture.node(name="n1", state="manageable", extra={"a": {"b": 1}}))
    step = {"interface": "deploy", "step": "s", "args": {}}
    there = {"nodes": node}
    for path, document in (
        ("ports", {"address": "02:00:00:00:00:09", "node_uuid": node, "name": "n1"}),
        ("portgroups", {"node_uuid": node, "name": "n1"}),
        ("chassis", {"description": "n1"}),
        ("allocations", {"name": "n1", "resource_class": "gold"}),
        ("deploy_templates", {"name": "CUSTOM_A", "steps": [{**step, "priority": 1}]}),
        ("runbooks", {"name": "CUSTOM_A", "steps": [{**step, "order": 1}]}),
    ):
        there[path] = (await client.post(f"/v1/{path}", json=document)).json()["uuid"]
    return client, there


@st.composite
def requests(draw: st.DrawFn) -> tuple[str, str, bytes, dict[str, str]]:
    """Method, URL, body and headers."""
    method, template = draw(st.sampled_from(ROUTES))
    gone = method == "DELETE" and template.count("/") == 3  # then nothing were left to meet
    there = st.sampled_from(["redfish", "CUSTOM_A", "cdrom"] if gone else [THERE, THERE, "redfish"])
    words = draw(st.lists(st.one_of(there, there, there, WORDS), min_size=4, max_size=4))
    few = draw(st.sampled_from([0, 0, 0, 1, 2]))
    parameters = st.dictionaries(st.sampled_from(PARAMETERS), WORDS, max_size=few)
    query = urlencode(draw(parameters), errors="surrogatepass")
    body = b"" if method in ("GET", "DELETE") else draw(bodies(method, template))
    minor = draw(st.one_of(st.just(95), st.just(95), st.integers(0, 97)))
    headers = {
        "X-OpenStack-Ironic-API-Version": f"1.{minor}",
        "X-Auth-Token": draw(st.sampled_from(["admin", "admin", "admin", "alice", "reader"])),
        "Content-Type": "application/json",
    }
    return method, f"{filled(template, words)}?{query}", body, headers


@settings(
    max_examples=1500,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(request=requests())
async def test_no_request_makes_a_500(
    populated: Populated, request: tuple[str, str, bytes, dict[str, str]]
):
    method, url, body, headers = request
    client, there = populated
    collection = url.removeprefix("/v1/").partition("/")[0]
    url = url.replace(quote(THERE, safe=""), there.get(collection, "n1"), 1)
    answer: Any = await client.request(method, url, content=body, headers=headers)
    assert answer.status_code < 500, (method, url, body, answer.text)
    if answer.status_code >= 400:
        assert json.loads(answer.json()["error_message"])["faultstring"]
