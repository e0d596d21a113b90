"""The status document: one picture of members, rings, claims and jobs, and of what is wrong.

The console, ``holdfast status``, the conductor list and the metrics are views of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

from holdfast.core.claims import view
from holdfast.core.places import places_ahead
from holdfast.core.ring import spread
from holdfast.store.model import Census, Claim, Job, JobState, Member, MemberState, ObjectRef
from holdfast.store.port import Store

Document = dict[str, Any]  # JSON
Concerns = Callable[[list[Member]], Awaitable[list[str]]]
"""What products find wrong with the living members, as sentences."""


def member_document(member: Member) -> Document:
    """One member, as JSON."""
    return {
        "id": str(member.id),
        "role": member.role,
        "slot": member.slot,
        "host": member.host,
        "zone": member.zone,
        "group": member.group,
        "version": member.version,
        "address": member.address,
        "epoch": member.epoch,
        "state": member.state.value,
        "drain_requested": member.drain_requested,
        "lease_until": member.lease_until,
        "registered_at": member.registered_at,
        "gone_reason": member.gone_reason,
    }


ABOUT = "about"
"""The argument in which an unbound job says to people what it is about."""


def job_document(job: Job, ahead: int | None = None) -> Document:
    """One job, as JSON, without its arguments and inbox (they may be large).

    ``ahead``: of one that a limit keeps back, how many go before it (``core.places``).
    """
    return {
        "id": str(job.id),
        "kind": job.kind,
        **_place(job),
        "state": job.state.value,
        "step": job.step,
        "attempt": job.attempt,
        "owners": job.attempts,
        "progress": {
            "done": job.progress_done,
            "total": job.progress_total,
            "message": job.progress_message,
        },
        "wake_at": None if job.kept_back else job.wake_at,
        "kept_back": job.kept_back,
        "ahead": ahead,
        "deadline": job.deadline,
        "cancel_requested": job.cancel_requested,
        "error": None
        if job.error is None
        else {"code": job.error.code, "message": job.error.message},
        "requested_by": job.requested_by,
        "created_at": job.created_at,
        "updated_at": job.updated_at,
        "finished_at": job.finished_at,
    }


def _place(job: Job) -> Document:
    """Where a job runs: at its object's owner, or at any worker of its queue."""
    bound = job.binding
    return {
        "object": None
        if bound is None
        else {"kind": bound.object.kind, "id": str(bound.object.id)},
        "group": None if bound is None else bound.group,
        "shard": None if bound is None else bound.shard,
        "queue": job.queue,
        "about": None if bound is not None else job.args.get(ABOUT),
        "parent": None if job.parent is None else str(job.parent),
        "remaining": job.remaining,
        "exclusive": job.exclusive,
        "shared": job.shared,
    }


def queue_documents(census: Census) -> list[Document]:
    """Unbound jobs that have not ended: of each queue how many, and how long the first is due."""
    queues: dict[str, Document] = {}
    for count in census.jobs:
        if count.queue is None:
            continue
        states = {state.value: 0 for state in JobState if not state.ended}
        queue = queues.setdefault(count.queue, {"queue": count.queue, **states, "oldest_s": 0.0})
        queue[count.state.value] += count.jobs
        if count.state is JobState.QUEUED:
            queue["oldest_s"] = max(queue["oldest_s"], count.oldest_s)
    return [queues[name] for name in sorted(queues)]


async def ring_document(store: Store, group: str, role: str = "conductor") -> Document:
    """One group's ring: who holds what, who should, and how even it is (I5)."""
    claims = await store.claims(group)
    members = [m for m in await store.members(role) if m.group == group]
    ring = view(members, claims)
    held = Counter((c.owner, c.incarnation) for c in claims)
    objects: Counter[tuple[object, int]] = Counter()
    for claim in claims:
        objects[(claim.owner, claim.incarnation)] += claim.objects
    wished = Counter(int(w) for w in ring.wished.tolist())
    position = {(m.id, m.epoch): i for i, m in enumerate(ring.members)}
    living = {(m.id, m.epoch) for m in members}
    return {
        "group": group,
        "shards": len(claims),
        "objects": sum(c.objects for c in claims),
        "unowned_shards": sum(n for who, n in held.items() if who not in living),
        "spread": spread(len(ring.members), ring.objects, ring.held),
        "members": [
            {
                **member_document(m),
                "shards": held[(m.id, m.epoch)],
                "objects": objects[(m.id, m.epoch)],
                "wished_shards": wished[position[(m.id, m.epoch)]]
                if (m.id, m.epoch) in position
                else 0,
            }
            for m in sorted(members, key=lambda m: m.slot)
        ],
    }


async def no_concerns(_members: list[Member]) -> list[str]:
    """Nobody finds anything wrong with the living members."""
    return []


async def status_document(
    store: Store, broker: Document | None = None, concerns: Concerns = no_concerns
) -> Document:
    """Everything, with a list of sentences about what is wrong.

    ``broker``: how the process that is asked sees the one that wakes workers, if any:
    ``connected``, ``address`` and ``since`` (Unix, s). ``concerns``: what products add.
    """
    members = await store.members()
    rings = [await ring_document(store, group) for group in await store.groups()]
    active = await store.jobs(bound=True, active=True, limit=10000)
    census = await store.census()
    states = Counter[str]()
    for count in census.jobs:
        states[count.state.value] += count.jobs
    return {
        "members": [member_document(m) for m in members],
        "rings": rings,
        "jobs": {state.value: states[state.value] for state in JobState if not state.ended},
        "queues": queue_documents(census),
        "broker": broker,
        "warnings": [
            *warnings(members, rings, active),
            *_broker_warnings(broker),
            *await concerns(members),
        ],
    }


def warnings(members: list[Member], rings: list[Document], active: list[Job]) -> list[str]:
    """What an operator should know (I7, P17). Pure."""
    found: list[str] = []
    conductors = [m for m in members if m.role == "conductor" and m.state is MemberState.UP]
    hosts = {m.host for m in conductors}
    zones = {m.zone for m in conductors}
    if len(conductors) < 2:
        found.append(
            f"not HA: {len(conductors)} conductor is up; at least 2, on 2 hosts, are needed (I7)"
        )
    elif len(hosts) < 2:
        found.append(f"not HA: all conductors run on one host, {next(iter(hosts))} (I7)")
    elif len(zones) < 2:
        found.append(f"all conductors are in one zone, {next(iter(zones))}: spread them (P17)")
    for ring in rings:
        if ring["unowned_shards"]:
            group = ring["group"] or "default"
            found.append(
                f"{ring['unowned_shards']} shards of group {group!r} have no living owner; "
                "if this lasts, no conductor of that group is up"
            )
    retrying = sum(1 for job in active if job.progress_message.startswith("retrying"))
    if retrying:
        found.append(f"{retrying} jobs meet errors and are being tried again: see holdfast jobs")
    return found


def _broker_warnings(broker: Document | None) -> list[str]:
    if broker is None or broker["connected"]:
        return []
    return [
        f"the broker at {broker['address']} is not connected; nothing is lost, "
        "workers of queues are woken by the database meanwhile"
    ]


async def explain(store: Store, obj: ObjectRef) -> Document | None:
    """Why an object is where it is: owner, claim, ring's wish, job; None: no such object."""
    document = await store.get_object(obj)
    if document is None:
        return None
    group, shard = str(document["grp"]), int(document["shard"])
    claims = await store.claims(group)
    members = await store.members(gone=True)
    claim = claims[shard]
    ring = view([m for m in members if m.role == "conductor" and m.group == group], claims)
    wish = int(ring.wished[shard])
    owner = next((m for m in members if m.id == claim.owner), None)
    job = await store.active_job(obj)
    ahead = None if job is None else (await places_ahead(store, [job])).get(job.id)
    last = None if job else next(iter(await store.jobs(obj=obj, limit=1)), None)
    token = max(claim.epoch, int(document["entered_epoch"]))
    return {
        "object": {"kind": obj.kind, "id": str(obj.id)},
        "group": group,
        "shard": shard,
        "claim": {"epoch": claim.epoch, "since": claim.since, "incarnation": claim.incarnation},
        "owner": None if owner is None else member_document(owner),
        "wished": None if wish < 0 else member_document(ring.members[wish]),
        "token": token,
        "job": None if job is None else job_document(job, ahead),
        "last_job": None if last is None else job_document(last),
        "sentences": _sentences(obj, claim, owner, wish, ring.members, job, ahead, last),
    }


def _sentences(
    obj: ObjectRef,
    claim: Claim,
    owner: Member | None,
    wish: int,
    ring: tuple[Member, ...],
    job: Job | None,
    ahead: int | None,
    last: Job | None,
) -> list[str]:
    lines: list[str] = []
    if owner is None:
        lines.append(f"Nobody owns shard {claim.shard} yet: no conductor has claimed it.")
    elif owner.state is MemberState.GONE or owner.epoch != claim.incarnation:
        lines.append(
            f"Shard {claim.shard} belonged to {owner.slot}, which is gone "
            f"({owner.gone_reason or 'restarted'}); it is free to be taken."
        )
    else:
        lines.append(
            f"{owner.slot} on {owner.host} owns this {obj.kind}: it holds shard {claim.shard} "
            f"with claim epoch {claim.epoch}."
        )
    if wish >= 0 and owner is not None and ring[wish].id != owner.id:
        lines.append(f"The ring wants {ring[wish].slot} to own it; it passes at a step boundary.")
    if job is not None:
        lines.append(_job_sentence(job, ahead))
    elif last is not None:
        outcome = last.state.value
        why = f": {last.error.message}" if last.error else ""
        lines.append(f"No job runs. The last one, {last.kind}, {outcome}{why.removesuffix('.')}.")
    else:
        lines.append("No job has run on it yet.")
    return lines


def _job_sentence(job: Job, ahead: int | None) -> str:
    said = job.progress_message.removesuffix(".")
    owners = f", run by {job.attempts} owners in turn" if job.attempts > 1 else ""
    where = f"in step {job.step} ({job.progress_done} of {job.progress_total}{owners})"
    if job.kept_back:
        before = "" if ahead is None else f", {ahead} ahead of it"
        return f"Job {job.kind} {said}{before}."
    if job.cancel_requested:
        return f"Job {job.kind} is being aborted {where}."
    if job.state is JobState.WAITING:
        return f"Job {job.kind} waits {where}: {said}."
    return f"Job {job.kind} is {job.state.value} {where}."
