"""/cluster/v1/events: the list, the stream on a real socket, and who may see what."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from tests.identity.people import admin_token, project_user, user_token
from tests.web.conftest import assembled

from holdfast.identity.models import Scope
from holdfast.identity.service import Identity
from holdfast.sim.memstore import MemStore
from holdfast.store.events import EventFilter, told
from holdfast.store.model import MemberSpec, NewJob, Submission
from holdfast.web.app import AppParts
from holdfast.web.server import ApiServer, listen
from holdfast.web.settings import WebSettings

URL = "/cluster/v1/events"
NODE = UUID(int=7)
SETTINGS = WebSettings(drain_s=0, finish_s=1, access_log=False, streams_max=2, stream_beat_s=0.001)


class Hinted:
    """A waker that every write hints at."""

    def __init__(self, store: MemStore) -> None:
        self.hinted = asyncio.Event()
        store.tables.hints.append(lambda _topic: self.hinted.set())

    async def wait(self, timeout_s: float) -> frozenset[str]:
        await self.hinted.wait()
        self.hinted.clear()
        return frozenset()


@pytest.fixture
def parts(parts: AppParts, store: MemStore) -> AppParts:
    async def find_node(ident: str) -> UUID | None:
        return NODE if ident in ("n7", str(NODE)) else None

    return replace(parts, find_node=find_node, waker=Hinted(store))


async def write(store: MemStore, *kinds: str, project: str | None = None) -> None:
    await store.record([told(kind, ("node", NODE), projects=[project]) for kind in kinds])


async def kinds(client: httpx.AsyncClient, **query: Any) -> list[str]:
    answer = await client.get(URL, params=query)
    assert answer.status_code == 200, answer.text
    return [event["kind"] for event in answer.json()["events"]]


async def test_the_newest_come_first_and_pages_go_on(admin: httpx.AsyncClient, store: MemStore):
    await write(store, "a.one", "a.two", "a.three")
    page = (await admin.get(URL, params={"limit": 2})).json()
    assert [event["kind"] for event in page["events"]] == ["a.three", "a.two"]
    assert page["more"] is True
    assert await kinds(admin, before=page["position"]) == ["a.one"]
    assert await kinds(admin, after=page["position"]) == ["a.three"]


async def test_an_event_says_who_did_what_to_which_object_and_for_whom(
    admin: httpx.AsyncClient, store: MemStore
):
    member = await store.register(
        MemberSpec(id=uuid4(), role="conductor", slot="conductor-1", host="h1"), 60.0
    )
    answer = await admin.post(f"/cluster/v1/members/{member.id}/drain?force=true")
    (event, first) = (await admin.get(URL)).json()["events"]
    assert first["kind"] == "member.registered"
    assert first["actor"] is None
    assert event["kind"] == "member.drain_requested"
    assert event["object"] == {"kind": "member", "id": str(member.id), "name": "conductor-1"}
    assert event["actor"]["name"] == "admin@admin"
    assert event["request_id"] == answer.headers["x-openstack-request-id"]
    assert event["member"] == {"slot": "conductor-1", "id": str(member.id), "epoch": member.epoch}


async def test_cancelling_a_job_names_who_asked(admin: httpx.AsyncClient, store: MemStore):
    await store.ensure_shards("", 1)
    ref = store.add_object("node", {"uuid": NODE, "name": "n7"})
    job = await store.submit(Submission(job=NewJob(id=uuid4(), kind="node.verify", object=ref)))
    await admin.post(f"/cluster/v1/jobs/{job.id}/cancel")
    page = await store.events(None, 10, EventFilter(kinds=("job.cancel_requested",)))
    assert [event.actor for event in page.events] == ["admin@admin"]


async def test_filters(admin: httpx.AsyncClient, store: MemStore):
    await write(store, "job.ended", "node.error")
    await store.record([told("audit.user.create", ("user", "u1"))])
    assert await kinds(admin, kind="job.*,node.error") == ["node.error", "job.ended"]
    assert await kinds(admin, node="n7") == ["node.error", "job.ended"]
    assert await kinds(admin, node=str(uuid4())) == []
    assert await kinds(admin, object="user/u1") == ["audit.user.create"]
    assert (await admin.get(URL, params={"node": "nobody"})).status_code == 404


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=1001", "limit=x", "after=x", "before=1", "after=1-1&before=2-2",
     "kind=%25", "object=user", "object=/x", "node=n7&object=user/x",
     "after=99999999999999999999-1"],
)  # fmt: skip
async def test_wrong_queries_are_400(admin: httpx.AsyncClient, query: str):
    assert (await admin.get(f"{URL}?{query}")).status_code == 400
    if "limit" not in query and "before" not in query:
        assert (await admin.get(f"{URL}/stream?{query}")).status_code == 400


async def test_members_see_what_happens_to_their_projects_objects_and_nothing_else(
    client: httpx.AsyncClient, identity: Identity, store: MemStore
):
    user, project = await project_user(identity, role="reader")
    client.headers["X-Auth-Token"] = await user_token(identity, user)
    await write(store, "node.power_state", project=project.id)
    await write(store, "node.error", project="another")
    await write(store, "member.gone")
    assert await kinds(client) == ["node.power_state"]
    assert await kinds(client, node="n7") == ["node.power_state"]
    assert await kinds(client, node="unknown") == []


async def test_a_token_without_scope_or_role_sees_nothing(
    client: httpx.AsyncClient, identity: Identity
):
    assert (await client.get(URL)).status_code == 401
    user, _ = await project_user(identity)
    client.headers["X-Auth-Token"] = await user_token(identity, user, Scope(unscoped=True))
    assert (await client.get(URL)).status_code == 403


class Streams:
    """A server, and streams opened on it."""

    def __init__(self, parts: AppParts) -> None:
        self.sock = listen("127.0.0.1", 0)
        self.application = assembled(parts, settings=SETTINGS)
        self.server = ApiServer(self.application, [self.sock], SETTINGS)
        self.token = ""

    @asynccontextmanager
    async def open(self, query: str = "", **headers: str) -> AsyncGenerator[httpx.Response]:
        port = self.sock.getsockname()[1]
        headers = {"X-Auth-Token": self.token, **headers}
        async with (
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=10) as client,
            client.stream("GET", f"{URL}/stream{query}", headers=headers) as answer,
        ):
            yield answer


@pytest.fixture
async def streams(parts: AppParts, identity: Identity) -> AsyncGenerator[Streams]:
    streams = Streams(parts)
    streams.token = await admin_token(identity)
    task = asyncio.create_task(streams.server.run())
    while not streams.server.started:
        await asyncio.sleep(0)
    yield streams
    streams.server.stop()
    await task


async def first_events(answer: httpx.Response, count: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    async for line in answer.aiter_lines():
        if line.startswith("data: "):
            found.append(json.loads(line[6:]))
            if len(found) == count:
                break
    return found


async def test_the_stream_shows_what_happens_and_resumes_after_the_last_id(
    streams: Streams, store: MemStore
):
    await write(store, "a.past")
    async with streams.open() as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        await write(store, "a.one")
        (event,) = await first_events(answer, 1)
    assert event["kind"] == "a.one"
    await write(store, "a.two", "b.three", "a.four")
    async with streams.open("?kind=a.*", **{"Last-Event-ID": event["position"]}) as answer:
        seen = await first_events(answer, 2)
    assert [event["kind"] for event in seen] == ["a.two", "a.four"]
    async with streams.open("?after=0-0") as answer:
        seen = await first_events(answer, 5)
    assert [event["kind"] for event in seen] == ["a.past", "a.one", "a.two", "b.three", "a.four"]


async def test_a_quiet_stream_shows_that_it_lives_and_how_far_it_is(
    streams: Streams, monkeypatch: pytest.MonkeyPatch, store: MemStore
):
    monkeypatch.setattr("holdfast.web.events._LOOK_S", 0.001)
    await write(store, "a.one")
    ids: list[str] = []
    async with streams.open("?kind=b.*") as answer:
        async for line in answer.aiter_lines():
            if line.startswith("id: "):
                ids.append(line[4:])
            if len(ids) == 3:
                break
    assert ids[-1] == "2-0"


async def test_there_is_a_limit_to_the_streams_of_a_process(streams: Streams):
    async with streams.open() as one, streams.open() as two, streams.open() as three:
        await anext(one.aiter_lines())
        await anext(two.aiter_lines())
        statuses = [answer.status_code for answer in (one, two, three)]
        assert statuses == [200, 200, 503]
        assert three.headers["Retry-After"] == "5"


async def test_a_stream_ends_with_its_token(
    streams: Streams, identity: Identity, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("holdfast.web.events._LOOK_S", 0.001)
    async with streams.open() as answer:
        lines = answer.aiter_lines()
        await anext(lines)
        await identity.revoke(streams.token)
        assert [line async for line in lines if line.startswith("data: ")] == []


async def test_a_stream_ends_when_its_process_drains(
    streams: Streams, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("holdfast.web.events._LOOK_S", 0.001)
    async with streams.open() as answer:
        lines = answer.aiter_lines()
        await anext(lines)
        await streams.server.drain()
        assert [line async for line in lines if line.startswith("data: ")] == []


async def test_a_guest_of_a_node_sees_what_happened_but_not_what_is_its_owners(
    client: httpx.AsyncClient, identity: Identity, store: MemStore
):
    """What the node's own API masks for a lessee is not told by the log either."""
    guest, home = await project_user(identity)
    project = home.id
    both = ["owner-of-it", project]
    data = {"error": "login of user admin failed", "step": "power"}
    await store.record([told("node.error", ("node", NODE), projects=both, data=data)])
    await store.record([told("audit.node.update", ("node", NODE), projects=both)])
    await store.record([told("node.error", ("node", NODE), projects=[project], data=data)])
    headers = {"X-Auth-Token": await user_token(identity, guest)}
    answer = await client.get(URL, headers=headers)
    found = [(one["kind"], one["data"], one["member"]) for one in answer.json()["events"]]
    assert found == [
        ("node.error", data, None),
        ("node.error", {"error": "******", "step": "power"}, None),
    ]
