from __future__ import annotations

import httpx
import pytest
from tests.baremetal.api.test_nodes import VERSION, at, fault

from holdfast.baremetal.api.versions import asked_minor
from holdfast.baremetal.errors import NotAcceptableError

RANGE = {
    "X-OpenStack-Ironic-API-Minimum-Version": "1.1",
    "X-OpenStack-Ironic-API-Maximum-Version": "1.95",
}


@pytest.mark.parametrize(
    ("headers", "minor"),
    [
        ({}, 1),
        ({b"x-openstack-ironic-api-version": b"1.38"}, 38),
        ({b"x-openstack-ironic-api-version": b"latest"}, 95),
        ({b"openstack-api-version": b"baremetal 1.50"}, 50),
        ({b"openstack-api-version": b"compute 2.1"}, 1),
        ({b"openstack-api-version": b"compute 2.1, baremetal latest"}, 95),
        (
            {
                b"openstack-api-version": b"baremetal 1.50",
                b"x-openstack-ironic-api-version": b"1.9",
            },
            9,
        ),
    ],
)
def test_the_version_a_request_asks_for(headers: dict[bytes, bytes], minor: int):
    assert asked_minor(headers) == minor


@pytest.mark.parametrize("asked", [b"1.0", b"1.96", b"1.115", b"2.1", b"one", b"", b"1.-1"])
def test_what_is_outside_the_range_is_not_acceptable(asked: bytes):
    with pytest.raises(NotAcceptableError, match=r"\[1.1, 1.95\]"):
        asked_minor({b"x-openstack-ironic-api-version": asked})


async def test_a_client_that_asks_for_too_much_learns_the_range(client: httpx.AsyncClient):
    """ironicclient asks for 1.115 and goes down to what the headers say."""
    response = await client.get("/v1/nodes", headers=at(115))
    assert response.status_code == 406
    assert RANGE.items() <= {k: response.headers.get(k) for k in RANGE}.items()
    assert "1.115" in fault(response)


async def test_every_answer_says_which_version_it_speaks(client: httpx.AsyncClient):
    for path, status in (("/v1/nodes", 200), ("/v1/nodes/none", 404), ("/v1/wings", 404)):
        response = await client.get(path, headers=at(38))
        assert response.status_code == status
        assert response.headers[VERSION] == "1.38"
        assert RANGE.items() <= {k: response.headers.get(k) for k in RANGE}.items()


@pytest.mark.parametrize("path", ["/", "/v1", "/v1/"])
async def test_discovery_needs_no_token(client: httpx.AsyncClient, path: str):
    del client.headers["X-Auth-Token"]
    document = (await client.get(path)).json()
    version = document["default_version"] if path == "/" else document["version"]
    assert version == {
        "id": "v1",
        "links": [{"href": "http://hf:8080/baremetal/v1/", "rel": "self"}],
        "status": "CURRENT",
        "min_version": "1.1",
        "version": "1.95",
    }


async def test_resources_appear_with_their_version(client: httpx.AsyncClient):
    assert "conductors" not in (await client.get("/v1", headers=at(48))).json()
    assert "conductors" in (await client.get("/v1", headers=at(49))).json()


@pytest.mark.parametrize("path", ["/nodes", "/v1/nodes.json", "/nodes.json", "/v1/nodes/"])
async def test_older_spellings_of_paths_are_understood(client: httpx.AsyncClient, path: str):
    assert (await client.get(path, headers=at(90))).json() == {"nodes": []}


async def test_until_1_90_a_uuid_may_have_the_suffix_json(client: httpx.AsyncClient):
    node = (await client.post("/v1/nodes", json={"driver": "redfish"})).json()
    path = f"/v1/nodes/{node['uuid']}.json"
    assert (await client.get(path, headers=at(90))).json()["uuid"] == node["uuid"]
    assert (await client.get(path, headers=at(91))).status_code == 404
    assert (await client.get(f"/nodes/{node['uuid']}")).json()["uuid"] == node["uuid"]


LATER = [
    ("GET", "/v1/portgroups", 23, 404),
    ("GET", "/v1/nodes/n1/portgroups", 24, 404),
    ("GET", "/v1/nodes/n1/vifs", 28, 404),
    ("PUT", "/v1/nodes/n1/traits", 37, 405),
    ("DELETE", "/v1/nodes/n1/traits", 37, 404),
    ("GET", "/v1/nodes/n1/bios", 40, 404),
    ("GET", "/v1/conductors", 49, 404),
    ("GET", "/v1/allocations", 52, 404),
    ("POST", "/v1/allocations", 52, 405),
    ("DELETE", "/v1/allocations/a", 52, 405),
    ("PATCH", "/v1/allocations/a", 57, 405),
    ("GET", "/v1/deploy_templates", 55, 404),
    ("POST", "/v1/deploy_templates", 55, 405),
    ("PUT", "/v1/nodes/n1/states/boot_mode", 76, 404),
    ("GET", "/v1/nodes/n1/inventory", 81, 404),
    ("GET", "/v1/shards", 82, 404),
    ("GET", "/v1/nodes/n1/firmware", 86, 404),
    ("GET", "/v1/runbooks", 92, 404),
    ("POST", "/v1/runbooks", 92, 405),
]


@pytest.mark.parametrize(("method", "path", "since", "status"), LATER)
async def test_what_came_later_is_not_there_before(
    client: httpx.AsyncClient, method: str, path: str, since: int, status: int
):
    before = await client.request(method, path, headers=at(since - 1), json={})
    assert (before.status_code, f"1.{since}" in fault(before)) == (status, True)
    after = await client.request(method, path, headers=at(since), json={})
    assert after.status_code in (200, 400) or "came with" not in fault(after)


@pytest.mark.parametrize(
    ("method", "path", "said"),
    [
        ("GET", "/v1/volume/connectors", "Volume connectors: not supported yet"),
        ("GET", "/v1/wings", "There is nothing at"),
        ("GET", "/v1/nodes/n1/wings", "There is nothing at"),
    ],
)
async def test_what_is_absent_says_so_in_this_apis_shape(
    client: httpx.AsyncClient, method: str, path: str, said: str
):
    response = await client.request(method, path)
    assert response.status_code == 404
    assert said in fault(response)
