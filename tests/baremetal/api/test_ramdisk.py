from __future__ import annotations

import httpx
from tests.baremetal.api.test_nodes import at, fault
from tests.baremetal.people import BaremetalFixture
from tests.baremetal.service.test_ramdisk import MAC, URL, booting


async def test_an_agent_needs_no_token_of_ours_but_its_own(
    client: httpx.AsyncClient, fixture: BaremetalFixture
):
    node, _, _ = await booting(fixture)
    del client.headers["X-Auth-Token"]
    found = await client.get(f"/v1/lookup?addresses={MAC}&node_uuid={node}", headers=at(62))
    body = found.json()
    assert found.headers["Cache-Control"] == "no-store"
    assert body["node"]["uuid"] == str(node)
    assert body["node"]["links"]
    token = body["config"]["agent_token"]
    beat = {"callback_url": URL, "agent_token": token, "agent_version": "13.0.0"}
    path = f"/v1/heartbeat/{node}"
    heard = await client.post(path, json=beat, headers=at(68))
    assert (heard.status_code, heard.content) == (202, b"")
    wrong = await client.post(path, json={**beat, "agent_token": "x"}, headers=at(68))
    assert (wrong.status_code, fault(wrong)) == (400, "Invalid agent token received.")
    newer = {**beat, "field_of_a_newer_agent": 1}
    assert (await client.post(path, json=newer, headers=at(68))).status_code == 202
    assert (await client.post(path, json={}, headers=at(68))).status_code == 400


async def test_a_stranger_learns_nothing(client: httpx.AsyncClient, fixture: BaremetalFixture):
    del client.headers["X-Auth-Token"]
    node = await fixture.node()
    refused = await client.get(f"/v1/lookup?node_uuid={node}")
    assert (refused.status_code, str(node) in refused.text) == (404, False)
    assert (await client.get("/v1/lookup")).status_code == 400
    assert (await client.get("/v1/lookup?wings=2")).status_code == 400
