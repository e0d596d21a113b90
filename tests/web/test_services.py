"""/cluster/v1/services: processes by what they do (X21)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from tests.identity.people import project_user, user_token

from holdfast.identity.service import Identity
from holdfast.sim.memstore import MemStore
from holdfast.store.model import Member, MemberSpec, MemberState
from holdfast.web.app import AppParts
from holdfast.web.services import Posts, documents

POSTS = Posts(ports={8004: "orchestration", 6385: "baremetal"}, lease_s=5.0)


def member(role: str, slot: str, **given: Any) -> Member:
    first: dict[str, Any] = {
        "id": UUID(int=1),
        "role": role,
        "slot": slot,
        "host": "h",
        "zone": "z",
        "group": "",
        "version": "0",
        "address": "http://127.0.0.1:8080" if role == "api" else "",
        "epoch": 1,
        "state": MemberState.UP,
        "drain_requested": False,
        "lease_until": 105.0,
        "registered_at": 50.0,
    }
    return Member(**{**first, **given})


def test_x21_a_row_for_each_engine_at_port_0_and_for_each_api_at_its_own_port():
    found = documents([member("engine", "engine-1"), member("api", "api-1")], POSTS)
    shown = [(one["hostname"], one["binary"], one["port"], one["status"]) for one in found]
    assert shown == [
        ("api-1.h", "heat-api", 8004, "up"),
        ("api-1.h", "ironic-api", 6385, "up"),
        ("engine-1.h", "heat-eng", 0, "up"),
    ]


def test_an_api_without_a_port_of_its_own_is_at_the_common_one():
    found = documents([member("api", "api-1")], Posts(lease_s=5.0))
    assert {one["port"] for one in found} == {8080}


def test_updated_at_is_the_last_renewal_and_at_first_the_registration():
    [renewed] = documents([member("engine", "e")], POSTS)
    [new] = documents([member("engine", "e", registered_at=101.0)], POSTS)
    assert (renewed["updated_at"], new["updated_at"]) == (100.0, 101.0)


def test_a_dead_process_is_down_until_its_slot_is_filled_again():
    dead = member("engine", "engine-1", state=MemberState.GONE, registered_at=60.0)
    older = member("engine", "engine-1", state=MemberState.GONE, id=UUID(int=2))
    [row] = documents([dead, older], POSTS)
    assert (row["status"], row["id"]) == ("down", str(dead.id))
    again = member("engine", "engine-1", id=UUID(int=3), registered_at=59.0)
    [row] = documents([dead, again, older], POSTS)
    assert (row["status"], row["id"]) == ("up", str(again.id))


def test_a_draining_process_and_a_role_of_no_other_name_are_shown_as_such():
    asked = member("conductor", "c", drain_requested=True)
    found = documents([asked, member("gateway", "g", address="http://h:9000")], POSTS)
    assert [(one["binary"], one["status"], one["port"]) for one in found] == [
        ("ironic-conductor", "draining", 0),
        ("holdfast-gateway", "up", 9000),
    ]


@pytest.fixture
def parts(parts: AppParts) -> AppParts:
    return replace(parts, ports={8004: "identity"}, lease_s=60.0)


async def test_operators_are_told_and_nobody_else(
    admin: httpx.AsyncClient, client: httpx.AsyncClient, store: MemStore, identity: Identity
):
    await store.register(MemberSpec(id=uuid4(), role="engine", slot="engine-1", host="h"), 60.0)
    listed = (await admin.get("/cluster/v1/services")).json()["services"]
    assert [(one["hostname"], one["binary"]) for one in listed] == [("engine-1.h", "heat-eng")]
    user, _ = await project_user(identity, role="admin")
    token = await user_token(identity, user)
    refused = await client.get("/cluster/v1/services", headers={"X-Auth-Token": token})
    assert refused.status_code == 403
