"""/cluster/v1 over a store with two conductors, a node and its job."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID, uuid4

import httpx
import pytest
from tests.identity.people import admin_token, project_user, user_token
from tests.web.conftest import assembled, client_of

from holdfast.identity.service import Identity
from holdfast.sim.memstore import MemStore
from holdfast.store.model import Job, Member, MemberSpec, NewJob, Submission
from holdfast.web.app import AppParts

NODE = UUID(int=7)


@pytest.fixture
def parts(parts: AppParts) -> AppParts:
    async def find_node(ident: str) -> UUID | None:
        return NODE if ident in ("n7", str(NODE)) else None

    async def remarks(node: UUID) -> list[str]:
        return [f"{node.int} has no ports."]

    return replace(parts, find_node=find_node, remarks=remarks)


@pytest.fixture
async def members(store: MemStore) -> list[Member]:
    found = [
        await store.register(
            MemberSpec(id=uuid4(), role="conductor", slot=f"conductor-{n}", host="h1"), 60.0
        )
        for n in (1, 2)
    ]
    await store.ensure_shards("", 4)
    await store.take("", [0, 1], found[0].id, found[0].epoch)
    return found


@pytest.fixture
async def job(store: MemStore, members: list[Member]) -> Job:
    ref = store.add_object("node", {"uuid": NODE, "name": "n7"})
    return await store.submit(Submission(job=NewJob(id=uuid4(), kind="node.verify", object=ref)))


async def test_status_warns_that_one_host_is_not_ha_i7(
    admin: httpx.AsyncClient, members: list[Member]
):
    document = (await admin.get("/cluster/v1/status")).json()
    assert [member["slot"] for member in document["members"]] == ["conductor-1", "conductor-2"]
    assert any("not HA" in warning for warning in document["warnings"])


async def test_members_ring_and_claims_are_shown(admin: httpx.AsyncClient, members: list[Member]):
    listed = (await admin.get("/cluster/v1/members", params={"role": "conductor"})).json()
    assert len(listed["members"]) == 2
    one = (await admin.get(f"/cluster/v1/members/{members[0].id}")).json()["member"]
    assert one["slot"] == "conductor-1"
    (ring,) = (await admin.get("/cluster/v1/ring")).json()["rings"]
    assert ring["shards"] == 4
    claims = (await admin.get("/cluster/v1/claims")).json()["claims"]
    assert [claim["owner"] for claim in claims] == [str(members[0].id)] * 2 + [None] * 2
    assert (await admin.get("/cluster/v1/claims?group=nope")).status_code == 404


async def test_drain_asks_a_living_member_and_no_other(
    admin: httpx.AsyncClient, store: MemStore, members: list[Member]
):
    answer = await admin.post(f"/cluster/v1/members/{members[0].id}/drain")
    assert answer.status_code == 202
    assert answer.json()["member"]["drain_requested"] is True
    assert (await admin.post(f"/cluster/v1/members/{uuid4()}/drain")).status_code == 404
    await store.end_lease(members[1].id, members[1].epoch, "killed")
    answer = await admin.post(f"/cluster/v1/members/{members[1].id}/drain")
    assert answer.status_code == 409


@pytest.mark.parametrize("role", ["apinode", "conductor"])
async def test_the_last_of_a_role_does_not_drain_unless_forced(
    admin: httpx.AsyncClient, store: MemStore, role: str
):
    first, second = [
        await store.register(MemberSpec(id=uuid4(), role=role, slot=f"{role}-{n}", host="h"), 60)
        for n in (1, 2)
    ]
    assert (await admin.post(f"/cluster/v1/members/{first.id}/drain")).status_code == 202
    answer = await admin.post(f"/cluster/v1/members/{second.id}/drain")
    assert answer.status_code == 409
    message = answer.json()["message"]
    assert f"{role}-2 is the last {role} that is up" in message
    assert "--force" in message
    listed = (await admin.get("/cluster/v1/members", params={"role": role})).json()["members"]
    assert [m["drain_requested"] for m in listed] == [True, False]
    answer = await admin.post(f"/cluster/v1/members/{second.id}/drain?force=true")
    assert answer.status_code == 202


async def test_status_tells_what_products_find_wrong(
    parts: AppParts, identity: Identity, members: list[Member]
):
    async def concerns(living: list[Member]) -> list[str]:
        return [f"nobody serves fraud, though {len(living)} live"]

    async with client_of(assembled(parts, concerns=concerns)) as client:
        client.headers["X-Auth-Token"] = await admin_token(identity)
        warnings = (await client.get("/cluster/v1/status")).json()["warnings"]
    assert "nobody serves fraud, though 2 live" in warnings


async def test_a_job_is_listed_shown_with_its_journal_and_cancelled(
    admin: httpx.AsyncClient, job: Job
):
    for query in ({}, {"node": "n7"}, {"active": "true"}):
        (listed,) = (await admin.get("/cluster/v1/jobs", params=query)).json()["jobs"]
        assert listed["id"] == str(job.id)
    shown = (await admin.get(f"/cluster/v1/jobs/{job.id}")).json()["job"]
    assert shown["journal"] == []
    answer = await admin.post(f"/cluster/v1/jobs/{job.id}/cancel")
    assert answer.status_code == 202
    assert answer.json()["job"]["cancel_requested"] is True
    assert (await admin.get(f"/cluster/v1/jobs/{uuid4()}")).status_code == 404
    assert (await admin.post(f"/cluster/v1/jobs/{uuid4()}/cancel")).status_code == 404
    assert (await admin.get("/cluster/v1/jobs?node=unknown")).status_code == 404


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "limit=x", "active=perhaps"])
async def test_wrong_queries_are_400(admin: httpx.AsyncClient, query: str):
    assert (await admin.get(f"/cluster/v1/jobs?{query}")).status_code == 400


async def test_why_explains_a_node_by_name_or_uuid(admin: httpx.AsyncClient, job: Job):
    for ident in ("n7", str(NODE)):
        document = (await admin.get(f"/cluster/v1/why/{ident}")).json()
        assert document["object"] == {"kind": "node", "id": str(NODE)}
        assert document["sentences"][-1] == "7 has no ports."  # what the product says
    answer = await admin.get("/cluster/v1/why/nobody")
    assert answer.status_code == 404
    assert answer.json() == {"code": "not_found", "message": "there is no node nobody"}


async def test_the_api_describes_itself(admin: httpx.AsyncClient):
    document = (await admin.get("/cluster/schema")).json()
    assert document["openapi"].startswith("3.")
    jobs = document["paths"]["/cluster/v1/jobs"]["get"]
    assert {parameter["name"] for parameter in jobs["parameters"]} == {
        "node",
        "queue",
        "active",
        "limit",
    }
    assert "/cluster/v1/members/{member_id}/drain" in document["paths"]


async def test_the_cluster_is_the_operators(
    client: httpx.AsyncClient, identity: Identity, members: list[Member]
):
    user, _ = await project_user(identity, role="admin")
    client.headers["X-Auth-Token"] = await user_token(identity, user)
    assert (await client.get("/cluster/v1/status")).status_code == 403
    answer = await client.post(f"/cluster/v1/members/{members[0].id}/drain")
    assert answer.status_code == 403
    assert answer.json()["code"] == "forbidden"
