"""Chassis, port groups, templates, runbooks, allocations and virtual interfaces, on the wire."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import httpx
import pytest
from tests.baremetal.api.test_nodes import at, create, fault
from tests.baremetal.people import BaremetalFixture

from holdfast.baremetal.resources import (
    ALLOCATIONS,
    CHASSIS,
    DEPLOY_TEMPLATES,
    PORTGROUPS,
    RUNBOOKS,
    Resource,
)

STEP = {"interface": "deploy", "step": "wipe", "args": {}}
NEW: dict[Resource, dict[str, Any]] = {
    CHASSIS: {"description": "row 7"},
    PORTGROUPS: {"name": "bond", "address": "52-54-00-00-00-AA"},
    ALLOCATIONS: {"name": "a", "resource_class": "gold"},
    DEPLOY_TEMPLATES: {"name": "CUSTOM_A", "steps": [{**STEP, "priority": 1}]},
    RUNBOOKS: {"name": "CUSTOM_A", "steps": [{**STEP, "order": 1}]},
}
EVERY = pytest.mark.parametrize("resource", NEW, ids=lambda resource: resource.plural)


async def make(client: httpx.AsyncClient, resource: Resource, **fields: Any) -> dict[str, Any]:
    document = {**NEW[resource], **fields}
    if resource is PORTGROUPS and "node_uuid" not in document:
        document["node_uuid"] = (await create(client))["uuid"]
    response = await client.post(f"/v1/{resource.plural}", json=document)
    assert response.status_code == 201, response.text
    return response.json()


@EVERY
async def test_it_is_created_listed_changed_and_deleted(
    client: httpx.AsyncClient, resource: Resource
):
    made = await make(client, resource)
    path = f"/v1/{resource.plural}/{made['uuid']}"
    assert set(made) == set(resource.fields)
    assert made["links"][0]["href"] == f"http://hf:8080/baremetal{path}"
    assert (await client.get(path)).json() == made
    (listed,) = (await client.get(f"/v1/{resource.plural}")).json()[resource.plural]
    assert set(listed) == set(resource.brief)
    asked = (await client.get(f"/v1/{resource.plural}?fields=uuid,extra")).json()
    assert set(asked[resource.plural][0]) == {"uuid", "extra", "links"}
    operations = [{"op": "add", "path": "/extra/rack", "value": 7}]
    changed = await client.patch(path, json=operations)
    assert (changed.status_code, changed.json()["extra"]) == (200, {"rack": 7})
    assert (await client.delete(path)).status_code == 204
    missing = await client.get(path)
    assert (missing.status_code, "could not be found" in fault(missing)) == (404, True)


@EVERY
async def test_a_uuid_is_taken_once(client: httpx.AsyncClient, resource: Resource):
    made = await make(client, resource)
    again = {**NEW[resource], "uuid": made["uuid"], "name": "CUSTOM_B", "address": None}
    document = {name: value for name, value in again.items() if name in resource.fields}
    if resource is PORTGROUPS:
        document["node_uuid"] = made["node_uuid"]
    response = await client.post(f"/v1/{resource.plural}", json=document)
    assert (response.status_code, made["uuid"] in fault(response)) == (409, True)


@pytest.mark.parametrize("resource", [r for r in NEW if r.named], ids=lambda r: r.plural)
async def test_a_name_is_taken_once_and_finds_it(client: httpx.AsyncClient, resource: Resource):
    made = await make(client, resource)
    assert (await client.get(f"/v1/{resource.plural}/{made['name']}")).json() == made
    document = {**NEW[resource], "uuid": str(uuid4())}
    if resource is PORTGROUPS:
        document |= {"node_uuid": made["node_uuid"], "address": None}
    response = await client.post(f"/v1/{resource.plural}", json=document)
    assert response.status_code == 409
    assert f"name {made['name']} already exists" in fault(response)


@EVERY
@pytest.mark.parametrize("given", [{"wings": 2}, {"extra": []}, {"uuid": "x"}, {"created_at": "x"}])
async def test_bad_input_is_refused_by_its_name(
    client: httpx.AsyncClient, resource: Resource, given: dict[str, Any]
):
    document = {**NEW[resource], **given}
    if resource is PORTGROUPS:
        document["node_uuid"] = (await create(client))["uuid"]
    response = await client.post(f"/v1/{resource.plural}", json=document)
    assert (response.status_code, next(iter(given)) in fault(response)) == (400, True)


@EVERY
async def test_what_is_neither_a_name_nor_a_uuid_is_no_identifier(
    client: httpx.AsyncClient, resource: Resource
):
    assert (await client.get(f"/v1/{resource.plural}/a:b")).status_code == 400


async def test_a_chassis_with_nodes_stays(client: httpx.AsyncClient):
    chassis = (await make(client, CHASSIS))["uuid"]
    node = await create(client, chassis_uuid=chassis)
    for path in (f"/v1/chassis/{chassis}/nodes", f"/v1/nodes?chassis_uuid={chassis}"):
        (listed,) = (await client.get(path)).json()["nodes"]
        assert listed["uuid"] == node["uuid"]
    refused = await client.delete(f"/v1/chassis/{chassis}")
    assert (refused.status_code, "has nodes" in fault(refused)) == (400, True)
    operations = [{"op": "remove", "path": "/chassis_uuid"}]
    await client.patch(f"/v1/nodes/{node['uuid']}", json=operations)
    assert (await client.delete(f"/v1/chassis/{chassis}")).status_code == 204
    document = {"driver": "redfish", "chassis_uuid": chassis}
    refused = await client.post("/v1/nodes", json=document)
    assert (refused.status_code, f"Chassis {chassis}" in fault(refused)) == (400, True)


async def test_a_port_fits_into_its_group(client: httpx.AsyncClient):
    node, other = (await create(client))["uuid"], (await create(client))["uuid"]
    group = await make(client, PORTGROUPS, node_uuid=node)
    assert group["address"] == "52:54:00:00:00:aa"

    async def port(number: int, **fields: Any) -> httpx.Response:
        document = {"address": f"52:54:00:00:00:0{number}", "node_uuid": node}
        return await client.post("/v1/ports", json=document | fields)

    inside = {"portgroup_uuid": group["uuid"], "physical_network": "a"}
    assert (await port(1, **inside)).status_code == 201
    assert (await port(2, **inside | {"physical_network": "b"})).status_code == 409
    assert (await port(3, **inside | {"node_uuid": other})).status_code == 409
    missing = await port(4, portgroup_uuid=str(uuid4()))
    assert missing.status_code == 400
    for path in ("/v1/portgroups/bond/ports", "/v1/ports?portgroup=bond"):
        (listed,) = (await client.get(path)).json()["ports"]
        assert listed["address"] == "52:54:00:00:00:01"
    assert (await client.delete("/v1/portgroups/bond")).status_code == 400
    operations = [{"op": "remove", "path": "/portgroup_uuid"}]
    await client.patch(f"/v1/ports/{listed['uuid']}", json=operations)
    assert (await client.delete("/v1/portgroups/bond")).status_code == 204


async def test_a_vif_is_attached_to_a_free_port_once(client: httpx.AsyncClient):
    node = (await create(client, name="n1"))["uuid"]
    path = "/v1/nodes/n1/vifs"
    refused = await client.post(path, json={"id": "v1"})
    assert (refused.status_code, "No physical port" in fault(refused)) == (400, True)
    for number in (1, 2):
        document = {"address": f"52:54:00:00:00:0{number}", "node_uuid": node}
        await client.post("/v1/ports", json=document)
    answers = [await client.post(path, json={"id": f"v{n}"}) for n in (1, 1, 2, 3)]
    assert [answer.status_code for answer in answers] == [204, 409, 204, 400]
    assert (await client.get(path)).json() == {"vifs": [{"id": "v1"}, {"id": "v2"}]}
    ports = (await client.get("/v1/nodes/n1/ports/detail")).json()["ports"]
    assert [port["internal_info"]["tenant_vif_port_id"] for port in ports] == ["v1", "v2"]
    assert (await client.delete(f"{path}/v1")).status_code == 204
    assert (await client.delete(f"{path}/v1")).status_code == 400
    assert (await client.get(path)).json() == {"vifs": [{"id": "v2"}]}


async def test_a_runbook_is_its_projects_unless_it_is_public(client: httpx.AsyncClient):
    alice, bob = ({"X-Auth-Token": who} for who in ("alice", "bob"))

    async def new(name: str, headers: dict[str, str], **fields: Any) -> httpx.Response:
        document = {**NEW[RUNBOOKS], "name": name, **fields}
        return await client.post("/v1/runbooks", json=document, headers=headers)

    assert (await new("CUSTOM_A", alice)).json()["owner"] == "alice"
    assert (await new("CUSTOM_B", bob, public=True)).status_code == 403
    assert (await new("CUSTOM_C", {}, public=True)).json()["owner"] is None

    async def seen(headers: dict[str, str]) -> list[str]:
        found = (await client.get("/v1/runbooks", headers=headers)).json()["runbooks"]
        return [runbook["name"] for runbook in found]

    assert await seen(alice) == ["CUSTOM_A", "CUSTOM_C"]
    assert await seen(bob) == ["CUSTOM_C"]
    make_public = [{"op": "replace", "path": "/public", "value": True}]
    path = "/v1/runbooks/CUSTOM_A"
    statuses = [
        (await client.patch(path, json=make_public, headers=bob)).status_code,
        (await client.patch(path, json=make_public, headers=alice)).status_code,
        (await client.patch("/v1/runbooks/CUSTOM_C", json=[], headers=alice)).status_code,
        (await client.delete("/v1/runbooks/CUSTOM_C", headers=bob)).status_code,
    ]
    assert statuses == [404, 403, 403, 403]
    assert (await client.patch(path, json=make_public)).json()["owner"] is None


@pytest.mark.parametrize(
    "steps",
    [
        {},
        [],
        [{"wings": 2}],
        [{**STEP, "interface": "wings", "priority": 1}],
        [{**STEP, "priority": -1}],
        [{**STEP, "priority": 1}, {**STEP, "priority": 2}],
    ],
    ids=str,
)
async def test_wrong_steps_are_refused(client: httpx.AsyncClient, steps: Any):
    document = {"name": "CUSTOM_A", "steps": steps}
    assert (await client.post("/v1/deploy_templates", json=document)).status_code == 400


async def test_what_a_reader_may_not_do_is_403_and_what_it_may_not_see_404(
    client: httpx.AsyncClient, fixture: BaremetalFixture
):
    """As in Ironic: who may not know of a node does not learn that it is there."""
    seen = f"/v1/nodes/{await fixture.node(owner='alice')}"
    unseen = f"/v1/nodes/{await fixture.node(owner='bob')}"
    reader = {"X-Auth-Token": "reader"}
    for method, below in (
        ("PATCH", ""),
        ("DELETE", ""),
        ("PUT", "/states/power"),
        ("PUT", "/states/provision"),
        ("GET", "/validate"),
        ("GET", "/states/console"),
        ("PUT", "/traits"),
        ("POST", "/vifs"),
        ("POST", "/vmedia"),
    ):
        answers = [
            await client.request(method, path + below, json={}, headers=reader)
            for path in (seen, unseen)
        ]
        assert [answer.status_code for answer in answers] == [403, 404], (method, below)
    assert (await client.get("/v1/chassis", headers=reader)).status_code == 403


async def test_media_and_nmi_are_jobs(client: httpx.AsyncClient, fixture: BaremetalFixture):
    uuid = await fixture.node(name="n1")
    media = {"device_type": "cdrom", "image_url": "http://x/rescue.iso"}
    for method, path, body, kind, args in (
        ("POST", "vmedia", media, "node.media", {"url": "http://x/rescue.iso"}),
        ("DELETE", "vmedia", None, "node.media", {"url": None}),
        ("PUT", "management/inject_nmi", {}, "node.inject_nmi", {}),
    ):
        answer = await client.request(method, f"/v1/nodes/n1/{path}", json=body)
        assert (answer.status_code, answer.content) == (204, b"")
        job = await fixture.active(uuid)
        assert (job.kind, job.args) == (kind, args)
        await fixture.end(job.id)
    bad = [
        await client.post("/v1/nodes/n1/vmedia", json=media | {"image_url": "file:///etc/passwd"}),
        await client.post("/v1/nodes/n1/vmedia", json=media | {"device_type": "tape"}),
        await client.put("/v1/nodes/n1/management/inject_nmi", json={"hard": True}),
        await client.put("/v1/nodes/n1/states/boot_mode", json={"target": "uefi"}),
    ]
    assert [answer.status_code for answer in bad] == [400] * 4
    older = await client.put("/v1/nodes/n1/vmedia", json=media, headers=at(88))
    newer = await client.put("/v1/nodes/n1/vmedia", json=media)
    assert (older.status_code, newer.status_code) == (404, 405)
    older = await client.get("/v1/nodes/n1/vmedia", headers=at(92))
    newer = await client.get("/v1/nodes/n1/vmedia")
    assert (older.status_code, newer.status_code) == (404, 400)
    assert "not supported yet" in newer.text


async def test_marks_go_where_they_belong_with_their_reasons(
    client: httpx.AsyncClient, fixture: BaremetalFixture
):
    path = f"/v1/nodes/{await fixture.node(state='available')}"

    async def patch(**values: Any) -> httpx.Response:
        operations = [{"op": "replace", "path": f"/{k}", "value": v} for k, v in values.items()]
        return await client.patch(path, json=operations)

    assert (await patch(protected=True)).status_code == 409
    assert (await patch(retired=True)).status_code == 409
    assert (await patch(retired_reason="old")).status_code == 400
    await fixture.set((await client.get(path)).json()["uuid"], provision_state="active")
    node = (await patch(protected=True, protected_reason="mine", retired=True)).json()
    assert (node["protected"], node["protected_reason"], node["retired"]) == (True, "mine", True)
    assert (await client.delete(path)).status_code == 403
    node = (await patch(protected=False, maintenance=True)).json()
    assert (node["protected"], node["protected_reason"]) == (False, None)
    await client.put(f"{path}/maintenance", json={"reason": "a new fan"})
    assert (await patch(maintenance=False)).json()["maintenance_reason"] is None


async def test_inventories_and_shards_are_shown(
    client: httpx.AsyncClient, fixture: BaremetalFixture
):
    uuid = await fixture.node(name="n1", shard="a")
    await fixture.node(shard="a")
    await fixture.node()
    missing = await client.get("/v1/nodes/n1/inventory")
    assert (missing.status_code, "inspect it first" in fault(missing)) == (404, True)
    await fixture.db.execute(
        "insert into node_inventory (node_uuid, inventory) values ($1, $2)", uuid, {"cpu": {}}
    )
    found = (await client.get("/v1/nodes/n1/inventory")).json()
    assert found == {"inventory": {"cpu": {}}, "plugin_data": {}}
    shards = (await client.get("/v1/shards")).json()["shards"]
    assert shards == [{"name": None, "count": 1}, {"name": "a", "count": 2}]
