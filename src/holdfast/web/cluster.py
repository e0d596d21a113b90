"""Our own API, /cluster/v1: members, ring, claims and jobs, and the verbs on them.

All of it but the events is the operators': readers of the system (or of the admin
project) see, its administrators act. The documents are those of ``core.status``.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, TypeAlias
from uuid import UUID

from litestar import Litestar, Router, get, post
from litestar.di import NamedDependency, Provide
from litestar.openapi import OpenAPIConfig
from litestar.params import FromPath, FromQuery, SkipValidation

from holdfast.core.places import places_ahead
from holdfast.core.status import (
    Concerns,
    explain,
    job_document,
    member_document,
    ring_document,
    status_document,
)
from holdfast.errors import ConflictError, InvalidInputError, NotFoundError
from holdfast.identity.policy import Policy, Role
from holdfast.store.model import Claim, Job, Member, MemberState, ObjectRef, StepRecord
from holdfast.store.port import Store
from holdfast.web import events, services
from holdfast.web.apis import Api
from holdfast.web.auth import provide_caller
from holdfast.web.events import EventDesk
from holdfast.web.services import Posts

POLICIES = (
    Policy("cluster:read", Role.READER, everywhere=True),
    Policy("cluster:drain", Role.ADMIN, everywhere=True),
    Policy("cluster:cancel", Role.ADMIN, everywhere=True),
    events.READ,
)
FindNode = Callable[[str], Awaitable[UUID | None]]
"""A node's name or UUID -> its UUID, or None."""

Remarks = Callable[[UUID], Awaitable[list[str]]]
"""What a product has to say about a node with a job, as sentences."""

BrokerView = Callable[[], dict[str, Any] | None]
"""What is to be shown of the broker, if there is one."""


@dataclass(frozen=True)
class Said:
    """What others have to say, for the documents shown here."""

    remarks: Remarks
    concerns: Concerns
    broker: BrokerView


TheStore: TypeAlias = NamedDependency[SkipValidation[Store]]
TheFinder: TypeAlias = NamedDependency[SkipValidation[FindNode]]
TheSaid: TypeAlias = NamedDependency[SkipValidation[Said]]

Document = dict[str, Any]
_READ = {"policy": "cluster:read"}
_JOBS_MAX = 1_000
_LAST: Final = {
    "apinode": "queries would find nobody",
    "conductor": "nobody would manage its nodes",
    "engine": "stacks would stand still",
    "api": "nobody would answer, nor this API either",
}
"""Role -> what it means if the last member of it goes. Rolling upgrades are not in its way: they
drain one while another is up."""


@get("/v1", opt=_READ)
async def index() -> Document:
    """What there is."""
    return {
        "resources": [
            *("status", "members", "services", "ring", "claims", "jobs", "why/{node}", "events"),
        ],
    }


@get("/v1/status", opt=_READ)
async def show_status(store: TheStore, said: TheSaid) -> Document:
    """Everything at once, with what is wrong (I7, P17)."""
    return await status_document(store, said.broker(), said.concerns)


@get("/v1/members", opt=_READ)
async def list_members(
    store: TheStore, role: FromQuery[str | None] = None, gone: FromQuery[bool] = False
) -> Document:
    """Members by slot; ``gone=true`` shows past ones too."""
    return {"members": [member_document(m) for m in await store.members(role, gone=gone)]}


@post("/v1/members/{member_id:uuid}/drain", opt={"policy": "cluster:drain"}, status_code=202)
async def drain_member(
    store: TheStore, member_id: FromPath[UUID], force: FromQuery[bool] = False
) -> Document:
    """Ask a member to drain: it hands over step by step and leaves. The last does if forced."""
    if not await store.request_drain(member_id, spare_last=not force):
        known = {m.id: m for m in await store.members(gone=True)}
        raise _cannot_drain(known.get(member_id), member_id)
    return await _member(store, member_id)


def _cannot_drain(member: Member | None, member_id: UUID) -> Exception:
    if member is None:
        return NotFoundError(f"there is no member {member_id}")
    if member.state is MemberState.GONE:
        return ConflictError(f"{member.slot} is gone: only a living member can drain")
    group = f" of group {member.group!r}" if member.group else ""
    return ConflictError(
        f"{member.slot} is the last {member.role}{group} that is up and does not drain: "
        f"{_LAST.get(member.role, 'nobody would do its work')}, so nothing was changed. Start "
        "another one first, or force it (`holdfast drain --force`; in the API, ?force=true)."
    )


async def _member(store: Store, member_id: UUID) -> Document:
    for member in await store.members(gone=True):
        if member.id == member_id:
            return {"member": member_document(member)}
    raise NotFoundError(f"there is no member {member_id}")


@get("/v1/members/{member_id:uuid}", opt=_READ)
async def show_member(store: TheStore, member_id: FromPath[UUID]) -> Document:
    """One member, living or gone."""
    return await _member(store, member_id)


@get("/v1/ring", opt=_READ)
async def show_ring(store: TheStore, group: FromQuery[str | None] = None) -> Document:
    """Each group's ring, or one group's: shares held and wished, and how even they are (I5)."""
    groups = await _groups(store, group)
    return {"rings": [await ring_document(store, name) for name in groups]}


@get("/v1/claims", opt=_READ)
async def list_claims(store: TheStore, group: FromQuery[str] = "") -> Document:
    """Every shard of a group with its owner."""
    await _groups(store, group)
    return {"group": group, "claims": [_claim_document(c) for c in await store.claims(group)]}


async def _groups(store: Store, group: str | None) -> list[str]:
    groups = await store.groups()
    if group is None:
        return groups
    if group not in groups:
        raise NotFoundError(f"there is no conductor group {group!r}; there are: {groups}")
    return [group]


def _claim_document(claim: Claim) -> Document:
    return {
        "shard": claim.shard,
        "owner": None if claim.owner is None else str(claim.owner),
        "incarnation": claim.incarnation,
        "epoch": claim.epoch,
        "objects": claim.objects,
        "since": claim.since,
        "previous": None if claim.previous is None else str(claim.previous),
    }


@get("/v1/jobs", opt=_READ)
async def list_jobs(
    store: TheStore,
    find_node: TheFinder,
    node: FromQuery[str | None] = None,
    queue: FromQuery[str | None] = None,
    active: FromQuery[bool] = False,
    limit: FromQuery[int] = 100,
) -> Document:
    """Jobs, newest first; of one node or queue, or only those that have not ended."""
    if not 1 <= limit <= _JOBS_MAX:
        raise InvalidInputError(f"limit: 1 to {_JOBS_MAX}")
    obj = None if node is None else await _node(find_node, node)
    found = await store.jobs(obj=obj, queue=queue, active=active, limit=limit)
    ahead = await places_ahead(store, found)
    return {"jobs": [job_document(job, ahead.get(job.id)) for job in found]}


@get("/v1/jobs/{job_id:uuid}", opt=_READ)
async def show_job(store: TheStore, job_id: FromPath[UUID]) -> Document:
    """One job with its journal, and the jobs it waits for."""
    job = await _job(store, job_id)
    before = [str(one) for one in await store.waits_for(job_id)]
    steps = [_step_document(step) for step in await store.journal(job_id)]
    ahead = (await places_ahead(store, [job])).get(job_id)
    return {"job": {**job_document(job, ahead), "waits_for": before, "journal": steps}}


@post("/v1/jobs/{job_id:uuid}/cancel", opt={"policy": "cluster:cancel"}, status_code=202)
async def cancel_job(store: TheStore, job_id: FromPath[UUID]) -> Document:
    """Ask for cancellation; the job ends once its handler has stopped."""
    if not await store.cancel(job_id):
        job = await _job(store, job_id)
        raise ConflictError(f"the job has ended ({job.state.value}): nothing to cancel")
    return {"job": job_document(await _job(store, job_id))}


async def _job(store: Store, job_id: UUID) -> Job:
    job = await store.job(job_id)
    if job is None:
        raise NotFoundError(f"there is no job {job_id}")
    return job


def _step_document(step: StepRecord) -> Document:
    return {
        "ordinal": step.ordinal,
        "step": step.step,
        "attempt": step.attempt,
        "member": str(step.member),
        "epoch": step.epoch,
        "output": step.output,
        "finished_at": step.finished_at,
    }


@get("/v1/why/{node:str}", opt=_READ)
async def why(
    store: TheStore, find_node: TheFinder, said: TheSaid, node: FromPath[str]
) -> Document:
    """Why a node is where it is: owner, claim, wish, job, in sentences."""
    found = await _node(find_node, node)
    document = await explain(store, found)
    if document is None:
        raise NotFoundError(f"there is no node {node}")
    if document["job"] is not None:
        document["sentences"] += await said.remarks(found.id)
    return document


async def _node(find_node: FindNode, node: str) -> ObjectRef:
    node_id = await find_node(node)
    if node_id is None:
        raise NotFoundError(f"there is no node {node}")
    return ObjectRef("node", node_id)


_ROUTES = [
    index,
    show_status,
    list_members,
    show_member,
    drain_member,
    show_ring,
    list_claims,
    list_jobs,
    show_job,
    cancel_job,
    why,
    services.list_services,
    *events.HANDLERS,
]


def api(store: Store, find_node: FindNode, desk: EventDesk, said: Said, posts: Posts) -> Api:
    """The cluster API over a store."""
    wired = {
        "store": Provide(lambda: store, sync_to_thread=False),
        "find_node": Provide(lambda: find_node, sync_to_thread=False),
        "said": Provide(lambda: said, sync_to_thread=False),
        "desk": Provide(lambda: desk, sync_to_thread=False),
        "posts": Provide(lambda: posts, sync_to_thread=False),
    }

    def routes(path: str) -> Router:
        return Router(path=path, route_handlers=list(_ROUTES), dependencies=wired)

    @functools.cache
    def described() -> Document:
        config = OpenAPIConfig(title="Holdfast cluster API", version="1", path="/unserved")
        caller = {"caller": Provide(provide_caller, sync_to_thread=False)}
        app = Litestar([routes("/cluster")], openapi_config=config, dependencies=caller)
        return app.openapi_schema.to_schema()

    @get("/schema", opt=_READ)
    async def schema() -> Document:
        """This API in OpenAPI 3.1; made at the first request."""
        return described()

    router = routes("/")
    router.register(schema)
    return Api(name="cluster", prefix="/cluster", router=router, policies=POLICIES)
