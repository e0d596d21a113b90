from __future__ import annotations

from typing import Any

import httpx
import pytest
from tests.baremetal.api.test_nodes import at, create, fault

from holdfast.baremetal.fields import PORT

MAC = "52:54:00:00:00:01"


async def port(client: httpx.AsyncClient, **fields: Any) -> dict[str, Any]:
    node = await create(client)
    document = {"address": MAC, "node_uuid": node["uuid"], **fields}
    response = await client.post("/v1/ports", json=document)
    assert response.status_code == 201, response.text
    return response.json()


async def test_a_port_is_created_changed_and_deleted(client: httpx.AsyncClient):
    made = await port(client, name="eth0")
    assert set(made) == set(PORT)
    path = f"/v1/ports/{made['uuid']}"
    assert made["links"][0]["href"] == f"http://hf:8080/baremetal{path}"
    operations = [{"op": "add", "path": "/extra/a", "value": 1}]
    assert (await client.patch(path, json=operations)).json()["extra"] == {"a": 1}
    assert (await client.get("/v1/ports/eth0")).json()["uuid"] == made["uuid"]
    assert (await client.delete(path)).status_code == 204
    assert (await client.get(path)).status_code == 404


async def test_ports_are_listed_by_node_and_address(client: httpx.AsyncClient):
    made = await port(client)
    node = made["node_uuid"]
    for path in (
        "/v1/ports",
        f"/v1/ports?address={MAC.upper()}",
        f"/v1/ports?node={node}",
        f"/v1/nodes/{node}/ports",
    ):
        (brief,) = (await client.get(path)).json()["ports"]
        assert set(brief) == {"uuid", "address", "links"}
    for path in ("/v1/ports/detail", f"/v1/nodes/{node}/ports/detail"):
        (whole,) = (await client.get(path)).json()["ports"]
        assert set(whole) == set(PORT)
    (asked,) = (await client.get("/v1/ports?fields=node_uuid")).json()["ports"]
    assert set(asked) == {"node_uuid", "links"}


async def test_bad_ports_are_refused(client: httpx.AsyncClient):
    made = await port(client)
    for document, status in (
        ({"address": MAC, "node_uuid": made["node_uuid"]}, 409),
        ({"address": "x", "node_uuid": made["node_uuid"]}, 400),
        ({"address": "52:54:00:00:00:02"}, 400),
    ):
        response = await client.post("/v1/ports", json=document)
        assert (response.status_code, bool(fault(response))) == (status, True)
    older = {"address": "52:54:00:00:00:02", "node_uuid": made["node_uuid"], "name": "x"}
    assert (await client.post("/v1/ports", json=older, headers=at(87))).status_code == 406
    assert (await client.get("/v1/ports?wings=2")).status_code == 400


@pytest.mark.parametrize("minor", [1, 18, 23, 95])
async def test_a_port_shows_what_its_version_has(client: httpx.AsyncClient, minor: int):
    made = await port(client)
    seen = (await client.get(f"/v1/ports/{made['uuid']}", headers=at(minor))).json()
    assert set(seen) == {name for name, field in PORT.items() if field.since <= minor}
