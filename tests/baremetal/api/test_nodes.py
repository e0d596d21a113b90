from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from tests.baremetal.people import REDFISH, BaremetalFixture

from holdfast.baremetal.fields import NODE

VERSION = "X-OpenStack-Ironic-API-Version"
NEW = {"driver": "redfish", "driver_info": REDFISH}


def at(minor: int) -> dict[str, str]:
    return {VERSION: f"1.{minor}"}


def fault(response: httpx.Response) -> str:
    """The sentence in an error of this API's shape (compat.md, "Errors")."""
    inner = json.loads(response.json()["error_message"])
    assert set(inner) == {"faultcode", "faultstring", "debuginfo"}
    return inner["faultstring"]


async def create(client: httpx.AsyncClient, **fields: Any) -> dict[str, Any]:
    response = await client.post("/v1/nodes", json={**NEW, **fields})
    assert response.status_code == 201, response.text
    return response.json()


async def test_a_node_is_created_shown_and_deleted(client: httpx.AsyncClient):
    response = await client.post("/v1/nodes", json={**NEW, "name": "n1"})
    node = response.json()
    self_link = f"http://hf:8080/baremetal/v1/nodes/{node['uuid']}"
    assert (response.status_code, response.headers["Location"]) == (201, self_link)
    assert node["links"][0] == {"href": self_link, "rel": "self"}
    assert node["states"][0]["href"] == f"{self_link}/states"
    assert set(node) == set(NODE)
    assert (node["provision_state"], node["power_state"]) == ("enroll", None)
    for ident in ("n1", node["uuid"]):
        assert (await client.get(f"/v1/nodes/{ident}")).json() == node
    gone = await client.delete("/v1/nodes/n1")
    assert (gone.status_code, gone.content) == (204, b"")
    missing = await client.get("/v1/nodes/n1")
    assert (missing.status_code, fault(missing)) == (404, "Node n1 could not be found.")


async def test_before_1_11_a_new_node_is_available_and_before_1_2_that_is_no_state(
    client: httpx.AsyncClient,
):
    for minor, state in ((1, None), (2, "available"), (10, "available"), (11, "enroll")):
        response = await client.post("/v1/nodes", json=NEW, headers=at(minor))
        assert response.json()["provision_state"] == state, minor


async def test_a_list_is_brief_detailed_or_just_what_is_asked(client: httpx.AsyncClient):
    await create(client, name="n1")
    (brief,) = (await client.get("/v1/nodes")).json()["nodes"]
    assert set(brief) == {
        "instance_uuid",
        "links",
        "maintenance",
        "name",
        "power_state",
        "provision_state",
        "uuid",
    }
    for path in ("/v1/nodes/detail", "/v1/nodes?detail=True"):
        (whole,) = (await client.get(path)).json()["nodes"]
        assert set(whole) == set(NODE)
    (asked,) = (await client.get("/v1/nodes?fields=name,extra")).json()["nodes"]
    assert set(asked) == {"name", "extra", "links"}
    one = (await client.get("/v1/nodes/n1?fields=driver")).json()
    assert set(one) == {"driver", "links"}


async def test_pages_are_linked(client: httpx.AsyncClient):
    for n in range(5):
        await create(client, name=f"n{n}")
    path = "/v1/nodes/detail?limit=2&sort_key=name&sort_dir=desc&maintenance=False"
    seen: list[str] = []
    for _ in range(3):
        page = (await client.get(path)).json()
        seen += [node["name"] for node in page["nodes"]]
        path = page.get("next", "").replace("http://hf:8080/baremetal", "")
        assert "limit=2" in path or len(page["nodes"]) < 2
    assert seen == ["n4", "n3", "n2", "n1", "n0"]
    assert path == ""


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("wings=2", 400),
        ("limit=-1", 400),
        ("limit=many", 400),
        ("marker=n1", 400),
        ("marker=7fcf0a32-a661-4ab3-823e-83a3ae10b979", 404),
        ("sort_key=extra", 400),
        ("sort_dir=up", 400),
        ("maintenance=perhaps", 400),
        ("fields=wings", 400),
        ("fields=name&detail=True", 400),
        ("provision_state=flying", 400),
        ("instance_uuid=x", 400),
    ],
)
async def test_a_bad_query_is_refused(client: httpx.AsyncClient, query: str, status: int):
    response = await client.get(f"/v1/nodes?{query}")
    assert response.status_code == status
    assert fault(response)


@pytest.mark.parametrize(
    ("query", "since"),
    [
        ("fields=uuid", 8),
        ("provision_state=enroll", 9),
        ("driver=redfish", 16),
        ("resource_class=x", 21),
        ("fault=none", 42),
        ("conductor_group=x", 46),
        ("conductor=x", 49),
        ("owner=x", 50),
        ("description_contains=x", 51),
        ("retired=True", 61),
        ("lessee=x", 65),
        ("shard=x", 82),
        ("include_children=True", 83),
        ("fields=lessee", 65),
    ],
)
async def test_a_newer_query_is_not_acceptable_in_an_older_version(
    client: httpx.AsyncClient, query: str, since: int
):
    older = await client.get(f"/v1/nodes?{query}", headers=at(since - 1))
    assert older.status_code == 406
    assert f"1.{since}" in fault(older)
    assert (await client.get(f"/v1/nodes?{query}", headers=at(since))).status_code == 200


async def test_a_newer_field_is_not_acceptable_in_an_older_version(client: httpx.AsyncClient):
    document = {**NEW, "resource_class": "gold"}
    assert (await client.post("/v1/nodes", json=document, headers=at(20))).status_code == 406
    assert (await client.post("/v1/nodes", json=document, headers=at(21))).status_code == 201
    node = await create(client)
    operations = [{"op": "add", "path": "/resource_class", "value": "gold"}]
    path = f"/v1/nodes/{node['uuid']}"
    assert (await client.patch(path, json=operations, headers=at(20))).status_code == 406
    patched = await client.patch(path, json=operations, headers=at(21))
    assert (patched.status_code, patched.json()["resource_class"]) == (200, "gold")


@pytest.mark.parametrize(
    ("body", "named"),
    [
        (b"{", "JSON"),
        (b"[]", "object"),
        (b"", "object"),
        (b'"text"', "object"),
        (b"\xff\xfe", "JSON"),
        (b'{"driver": "redfish", "wings": 2}', "wings"),
        (b'{"driver": "toaster"}', "redfish"),
        (b'{"driver": "ipmi"}', "not supported yet"),
        (b'{"driver": 7}', "driver"),
        (b'{"driver": "redfish", "extra": 7}', "extra"),
        (b'{"driver_info": {}}', "driver"),
    ],
)
async def test_a_bad_body_is_refused_by_what_is_wrong(
    client: httpx.AsyncClient, body: bytes, named: str
):
    response = await client.post(
        "/v1/nodes", content=body, headers={"Content-Type": "application/json"}
    )
    assert response.status_code == 400
    assert named in fault(response)


async def test_a_secret_is_never_shown(client: httpx.AsyncClient):
    node = await create(client, driver_info={**REDFISH, "redfish_password": "sesame"})
    assert node["driver_info"]["redfish_password"] == "******"
    operations = [{"op": "add", "path": "/driver_info/redfish_password", "value": "changed"}]
    answers = [
        await client.patch(f"/v1/nodes/{node['uuid']}", json=operations),
        await client.get("/v1/nodes/detail"),
        await client.get(f"/v1/nodes/{node['uuid']}?fields=driver_info"),
    ]
    assert not any("sesame" in answer.text or "changed" in answer.text for answer in answers)


async def test_another_projects_node_is_not_found(client: httpx.AsyncClient):
    node = await create(client)
    theirs = {"X-Auth-Token": "bob"}
    path = f"/v1/nodes/{node['uuid']}"
    answers = [
        await client.get(path, headers=theirs),
        await client.patch(path, json=[], headers=theirs),
        await client.delete(path, headers=theirs),
        await client.put(f"{path}/states/power", json={"target": "power on"}, headers=theirs),
    ]
    assert [answer.status_code for answer in answers] == [404] * 4
    assert (await client.get("/v1/nodes", headers=theirs)).json() == {"nodes": []}
    assert (await client.get("/v1/conductors", headers=theirs)).status_code == 403


async def test_a_reader_reads_and_changes_nothing(client: httpx.AsyncClient):
    reader = {"X-Auth-Token": "reader"}
    assert (await client.get("/v1/nodes", headers=reader)).status_code == 200
    assert (await client.post("/v1/nodes", json=NEW, headers=reader)).status_code == 403
    assert (await client.get("/v1/nodes", headers={"X-Auth-Token": "x"})).status_code == 401


async def test_states_maintenance_and_validation(client: httpx.AsyncClient):
    path = f"/v1/nodes/{(await create(client))['uuid']}"
    states = (await client.get(f"{path}/states")).json()
    assert (states["provision_state"], states["target_power_state"]) == ("enroll", None)
    entered = await client.put(f"{path}/maintenance", json={"reason": "a new fan"})
    assert (entered.status_code, entered.content) == (202, b"")
    node = (await client.get(path)).json()
    assert (node["maintenance"], node["maintenance_reason"]) == (True, "a new fan")
    assert (await client.put(f"{path}/maintenance")).status_code == 202
    assert (await client.delete(f"{path}/maintenance")).status_code == 202
    assert (await client.get(path)).json()["maintenance"] is False
    verdict = (await client.get(f"{path}/validate")).json()
    assert verdict["power"] == {"result": True}


async def test_a_verb_answers_202_with_an_empty_body_and_its_target_set(
    client: httpx.AsyncClient, fixture: BaremetalFixture
):
    node = await create(client, name="n1")
    path = f"/v1/nodes/{node['uuid']}"
    taken = await client.put(f"{path}/states/provision", json={"target": "manage"})
    assert (taken.status_code, taken.content) == (202, b"")
    assert "content-type" not in taken.headers
    seen = (await client.get(path)).json()
    assert (seen["provision_state"], seen["target_provision_state"]) == ("verifying", "manageable")
    assert seen["reservation"] == "queued"
    busy = await client.put(f"{path}/states/power", json={"target": "power on"})
    assert busy.status_code == 409
    assert fault(busy).startswith("Node n1 is locked by a job")


async def test_an_invalid_transition_is_409_and_names_the_allowed_verbs(
    client: httpx.AsyncClient,
):
    path = f"/v1/nodes/{(await create(client))['uuid']}/states/provision"
    refused = await client.put(path, json={"target": "active"})
    assert refused.status_code == 409
    assert "allowed there: manage" in fault(refused)


@pytest.mark.parametrize(
    ("body", "minor", "status"),
    [
        ({"target": "rescue"}, 95, 400),
        ({"target": "fly"}, 95, 400),
        ({"target": 7}, 95, 400),
        ({}, 95, 400),
        ({"target": "manage", "wings": 2}, 95, 400),
        ({"target": "manage"}, 3, 406),
        ({"target": "abort"}, 12, 406),
        ({"target": "deploy"}, 72, 406),
        ({"target": "active", "configdrive": {}}, 55, 406),
        ({"target": "rebuild", "configdrive": "x"}, 34, 406),
    ],
)
async def test_a_bad_verb_is_refused(
    client: httpx.AsyncClient, body: dict[str, Any], minor: int, status: int
):
    path = f"/v1/nodes/{(await create(client))['uuid']}/states/provision"
    response = await client.put(path, json=body, headers=at(minor))
    assert (response.status_code, bool(fault(response))) == (status, True)


async def test_power_asks_for_its_version(client: httpx.AsyncClient):
    path = f"/v1/nodes/{(await create(client))['uuid']}/states/power"
    soft = {"target": "soft power off"}
    assert (await client.put(path, json=soft, headers=at(26))).status_code == 406
    assert (await client.put(path, json=soft, headers=at(27))).status_code == 202


async def test_traits_come_and_go(client: httpx.AsyncClient):
    path = f"/v1/nodes/{(await create(client))['uuid']}/traits"
    assert (await client.get(path)).json() == {"traits": []}
    answers = [
        await client.put(path, json={"traits": ["CUSTOM_A", "CUSTOM_B"]}),
        await client.put(f"{path}/CUSTOM_C"),
        await client.delete(f"{path}/CUSTOM_A"),
    ]
    assert [answer.status_code for answer in answers] == [204, 204, 204]
    assert (await client.get(path)).json() == {"traits": ["CUSTOM_B", "CUSTOM_C"]}
    assert (await client.delete(f"{path}/CUSTOM_A")).status_code == 404
    assert (await client.put(f"{path}/small")).status_code == 400
    assert (await client.delete(path)).status_code == 204
    assert (await client.get(path, headers=at(36))).status_code == 406


async def test_boot_devices_are_named_and_set(client: httpx.AsyncClient):
    path = f"/v1/nodes/{(await create(client))['uuid']}/management/boot_device"
    devices = (await client.get(f"{path}/supported")).json()
    assert devices == {"supported_boot_devices": ["pxe", "disk", "cdrom"]}
    assert (await client.get(path)).json() == {"boot_device": None, "persistent": None}
    assert (await client.put(path, json={"boot_device": "tape"})).status_code == 400
    assert (await client.put(path, json={"boot_device": "pxe"})).status_code == 204


@pytest.mark.parametrize("extra", [{"a": "x\0y"}, {"x\0y": 1}, {"a": [{"b": "\0"}]}])
async def test_a_nul_in_a_document_is_refused(client: httpx.AsyncClient, extra: dict[str, Any]):
    made = await client.post("/v1/nodes", json={**NEW, "extra": extra})
    assert (made.status_code, "NUL character" in fault(made)) == (400, True)
    node = await create(client, extra={"a": "a backslash: \\u0000"})
    operations = [{"op": "add", "path": "/extra", "value": extra}]
    changed = await client.patch(f"/v1/nodes/{node['uuid']}", json=operations)
    assert (changed.status_code, "NUL character" in fault(changed)) == (400, True)


@pytest.mark.parametrize("name", ["owner", "driver", "marker", "shard", "sort_key", "wings"])
async def test_a_nul_in_a_query_is_refused(client: httpx.AsyncClient, name: str):
    refused = await client.get(f"/v1/nodes?{name}=a%00b")
    assert refused.status_code == 400
    assert name in fault(refused)


@pytest.mark.parametrize("kind", ["ports", "portgroups", "chassis"])
async def test_documents_of_other_things_are_bounded_too(client: httpx.AsyncClient, kind: str):
    node = (await create(client))["uuid"]
    given: dict[str, Any] = {} if kind == "chassis" else {"node_uuid": node}
    given |= {"address": "52:54:00:00:00:01"} if kind == "ports" else {}
    big = "x" * 262_144
    refused = await client.post(f"/v1/{kind}", json={**given, "extra": {"a": big}})
    assert (refused.status_code, "extra is too large" in fault(refused)) == (400, True)
    made = (await client.post(f"/v1/{kind}", json=given)).json()["uuid"]
    operations = [{"op": "add", "path": "/extra/a", "value": big}]
    refused = await client.patch(f"/v1/{kind}/{made}", json=operations)
    assert (refused.status_code, "extra is too large" in fault(refused)) == (400, True)
