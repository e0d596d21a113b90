"""The rows behind ``sim.memstore``, and the few rules every transaction there shares."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from types import MappingProxyType
from typing import cast
from uuid import UUID, uuid5

import msgspec

from holdfast.errors import FenceLostError, InvalidInputError, NotFoundError
from holdfast.store.events import Event, NewEvent, Position, Watch, changes, described
from holdfast.store.graph import EVERYBODY, EdgeKind, Place, Tail
from holdfast.store.model import (
    Claim,
    Fence,
    Hold,
    Job,
    Json,
    Member,
    MemberSpec,
    MemberState,
    ObjectRef,
    StepRecord,
    Write,
)

Document = dict[str, Json]
JOBS, MEMBERS, CLAIMS, EVENTS = "jobs", "members", "claims", "events"  # topics of hints


class MemberRow(msgspec.Struct, kw_only=True):
    """A row of ``member``."""

    spec: MemberSpec
    epoch: int
    state: MemberState
    lease_s: float
    lease_until: float
    registered_at: float
    drain_requested: bool = False
    gone_reason: str | None = None

    @property
    def gone(self) -> bool:
        return self.state is MemberState.GONE

    def value(self) -> Member:
        spec = self.spec
        return Member(
            id=spec.id,
            role=spec.role,
            slot=spec.slot,
            host=spec.host,
            zone=spec.zone,
            group=spec.group,
            version=spec.version,
            address=spec.address,
            epoch=self.epoch,
            state=self.state,
            drain_requested=self.drain_requested,
            lease_until=self.lease_until,
            registered_at=self.registered_at,
            gone_reason=self.gone_reason,
        )


class RouteRow(msgspec.Struct):
    """A row of ``bmc_route``."""

    gateway: UUID
    incarnation: UUID
    term: int


class Node(msgspec.Struct, kw_only=True):
    """What ``job`` has besides of a job that others may wait for."""

    holder: UUID = EVERYBODY
    line: tuple[float, int] = (0.0, 0)  # its place in line: when it is due, then as they came
    reserving: bool = False
    passed: bool = False


class Life(msgspec.Struct):
    """The database's own life, and what the reapers have noticed of it (``database_life``)."""

    started_at: float
    timeline: int = 1
    noticed: tuple[float, int] | None = None
    noticed_at: float = 0.0


class Tables:
    """All rows, the database's clock and its one epoch sequence.

    ``kinds`` maps a kind of object to its column names (None: any are accepted).
    ``products``: kinds of rows that unbound jobs write, with their column names.
    ``hints`` are called with a topic (``jobs``, ``members``, ``claims``) after a
    change that somebody may wait for: the simulator's NOTIFY. ``watches``: what of a
    kind of object the event log tells about.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        kinds: Mapping[str, Collection[str] | None],
        watches: Mapping[str, Watch] = MappingProxyType({}),
        products: Mapping[str, Collection[str]] = MappingProxyType({}),
    ) -> None:
        self.clock = clock
        self.product_columns = {kind: frozenset(names) for kind, names in products.items()}
        self.products: dict[str, dict[UUID, Document]] = {kind: {} for kind in products}
        self.watches = watches
        self.log: list[Event] = []
        self.next_event = 1
        self.kinds = {kind: None if names is None else set(names) for kind, names in kinds.items()}
        self.members: dict[UUID, MemberRow] = {}
        self.shards: dict[str, list[Claim]] = {}
        self.jobs: dict[UUID, Job] = {}
        self.active: dict[UUID, UUID] = {}  # object -> its job: the unique index job_one_active
        self.steps: dict[UUID, list[StepRecord]] = {}
        self.nodes: dict[UUID, Node] = {}  # of every unbound job, and of what others wait for
        self.edges: dict[UUID, dict[UUID, EdgeKind]] = {}  # pred -> succ -> kind
        self.tails: dict[Place, Tail] = {}
        self.objects: dict[str, dict[UUID, Document]] = {kind: {} for kind in kinds}
        self.routes: dict[ObjectRef, RouteRow] = {}
        self.life = Life(started_at=clock())
        self.hints: list[Callable[[str], None]] = []
        self._epoch = 0
        self._line = 0

    def next_line(self) -> int:
        self._line += 1
        return self._line

    def next_epoch(self) -> int:
        self._epoch += 1
        return self._epoch

    def skip_epochs(self, count: int) -> None:
        """Let the sequence jump ahead, as after a failover."""
        self._epoch += count

    def hint(self, topic: str) -> None:
        for call in self.hints:
            call(topic)

    # -- the event log --------------------------------------------------------

    def tell(self, *events: NewEvent) -> None:
        """Write to the event log."""
        for event in events:
            line = Event(
                position=Position(self.next_event, self.next_event),
                at=self.clock(),
                kind=event.kind,
                object_kind=event.object_kind,
                object_id=event.object_id,
                object_name=event.object_name,
                projects=event.projects,
                result=event.result,
                user_id=event.user_id,
                actor=event.actor,
                project=event.project,
                request=event.request,
                member=event.member,
                slot=None,
                epoch=event.epoch,
                data=as_json(event.data),
            )
            self.log.append(line)
            self.next_event += 1
        if events:
            self.hint(EVENTS)

    def tell_of(
        self,
        obj: ObjectRef,
        kind: str,
        data: dict[str, Json],
        *,
        member: tuple[UUID, int] | None = None,
        result: str | None = None,
        actor: str | None = None,
    ) -> None:
        """Write about an owned object."""
        watch, document = self.watches.get(obj.kind, Watch()), self.document(obj)
        event = described(watch, obj, document, kind, data, member, result)
        self.tell(event if actor is None else msgspec.structs.replace(event, actor=actor))

    # -- members and claims ---------------------------------------------------

    def living(self, member: UUID | None, epoch: int) -> MemberRow | None:
        """The member's row, if that incarnation is not gone."""
        row = self.members.get(member) if member is not None else None
        return row if row is not None and row.epoch == epoch and not row.gone else None

    def is_up(self, member: UUID, epoch: int) -> bool:
        row = self.living(member, epoch)
        return row is not None and row.state is MemberState.UP

    def claim(self, group: str, shard: int) -> Claim | None:
        claims = self.shards.get(group, [])
        return claims[shard] if 0 <= shard < len(claims) else None

    def pass_claim(self, claim: Claim, owner: UUID, incarnation: int) -> Claim:
        """Give a shard to an owner, under a fresh epoch."""
        passed = Claim(
            group=claim.group,
            shard=claim.shard,
            owner=owner,
            incarnation=incarnation,
            epoch=self.next_epoch(),
            objects=claim.objects,
            since=self.clock(),
            previous=claim.owner,
        )
        self.shards[claim.group][claim.shard] = passed
        self.hint(CLAIMS)
        return passed

    def holds(self, fence: Fence) -> bool:
        """Whether the claim is still the writer's, and the writer not marked gone."""
        claim = self.claim(fence.group, fence.shard)
        return (
            claim is not None
            and claim.owner == fence.owner
            and claim.epoch == fence.epoch
            and self.living(claim.owner, claim.incarnation) is not None
        )

    def check(self, fence: Fence) -> None:
        """Raise ``FenceLostError`` unless the fence holds; then nothing may be written."""
        if not self.holds(fence):
            raise self.lost(fence)

    def check_hold(self, hold: Hold, job: Job) -> None:
        """Raise ``FenceLostError`` unless the job runs, or ran last, under this hold."""
        mine = (job.owner, job.run_epoch) == (hold.owner, hold.epoch)
        if not mine or self.living(hold.owner, hold.epoch) is None:
            raise FenceLostError(
                f"job {job.id} is no longer run by member {hold.owner} under epoch {hold.epoch}; "
                "whoever has it now goes on",
                job=job.id,
                epoch=hold.epoch,
            )

    @staticmethod
    def lost(fence: Fence) -> FenceLostError:
        return FenceLostError(
            f"shard {fence.shard} of group {fence.group!r} is no longer owned under epoch "
            f"{fence.epoch}; its new owner goes on",
            group=fence.group,
            shard=fence.shard,
            epoch=fence.epoch,
        )

    # -- objects ----------------------------------------------------------------

    def rows(self, kind: str) -> dict[UUID, Document]:
        """All objects of a kind (not copies)."""
        rows = self.objects.get(kind)
        if rows is None:
            raise InvalidInputError(f"no kind of object is called {kind!r}")
        return rows

    def document(self, obj: ObjectRef) -> Document:
        """The stored document itself (not a copy), or ``NotFoundError``."""
        found = self.rows(obj.kind).get(obj.id)
        if found is None:
            raise NotFoundError(f"{obj.kind} {obj.id} does not exist", id=obj.id)
        return found

    def patch(
        self,
        obj: ObjectRef,
        patch: Mapping[str, Json],
        *,
        member: tuple[UUID, int] | None = None,
        job: Job | None = None,
    ) -> None:
        """Write fields of an object's document, on behalf of a member or job."""
        if not patch:
            return
        document = self.document(obj)
        self.check_fields(obj.kind, patch)
        if (watch := self.watches.get(obj.kind)) is not None:
            found = changes(watch, obj, document, dict(patch), data=said(job), member=member)
            by = job.requested_by or None if job is not None and member is not None else None
            self.tell(*(msgspec.structs.replace(one, actor=one.actor or by) for one in found))
        document.update({name: stored(value) for name, value in patch.items()})
        if "updated_at" in document and "updated_at" not in patch:
            document["updated_at"] = self.clock()

    def check_writes(self, writes: Iterable[Write]) -> None:
        """``InvalidInputError`` unless all of them could be written."""
        for write in writes:
            known = self.product_columns.get(write.kind)
            if known is None:
                raise InvalidInputError(f"no kind of rows is called {write.kind!r}")
            if unknown := sorted((write.values.keys() | write.expect.keys()) - known):
                raise InvalidInputError(f"{write.kind} has no column {', '.join(unknown)}")

    def write(self, writes: Iterable[Write]) -> None:
        """Write products' rows (``store.model.Write``), in the order given."""
        for write in writes:
            rows = self.products[write.kind]
            values = {name: stored(value) for name, value in write.values.items()}
            if write.verb == "delete":
                rows.pop(write.id, None)
            elif write.verb == "update" and write.id in rows:
                row = rows[write.id]
                if all(row[name] == stored(value) for name, value in write.expect.items()):
                    row.update(values)
            elif write.verb == "insert" and write.id not in rows:
                empty: Document = dict.fromkeys(sorted(self.product_columns[write.kind]))
                rows[write.id] = {**empty, "id": write.id, **values}

    def check_fields(self, kind: str, names: Collection[str]) -> None:
        """``InvalidInputError`` unless every name is a column of that kind."""
        known = self.kinds.get(kind)
        unknown = sorted(set(names) - known) if known is not None else []
        if unknown:
            raise InvalidInputError(f"{kind} has no field {', '.join(unknown)}")

    def place(self, group: str, key: UUID) -> int:
        """Choose the shard for a new object: the emptiest, ties broken by the UUID."""
        claims = self.shards.get(group)
        if not claims:
            raise NotFoundError(f"group {group!r} has no shards yet; no conductor was ever there")
        least = min(claim.objects for claim in claims)
        tied = [claim for claim in claims if claim.objects == least]
        chosen = tied[uuid5(key, group).int % len(tied)]
        self.count_object(chosen, 1)
        return chosen.shard

    def count_object(self, claim: Claim, by: int) -> None:
        counted = msgspec.structs.replace(claim, objects=claim.objects + by)
        self.shards[claim.group][claim.shard] = counted


def said(job: Job | None) -> dict[str, Json]:
    """What an event says of the job it belongs to."""
    if job is None:
        return {}
    step = {} if job.step is None else {"step": job.step}
    return {"job": str(job.id), "job_kind": job.kind, **step}


def copied(value: Json) -> Json:
    """A copy of a document that shares nothing changeable with it."""
    if isinstance(value, dict):
        items = cast("dict[str, Json]", value)
        return {
            key: copied(inner) if isinstance(inner, dict | list) else inner
            for key, inner in items.items()
        }
    if isinstance(value, list):
        return [copied(inner) for inner in cast("list[Json]", value)]
    return value


def as_json(value: Json) -> Json:
    """The value as it comes back out of a jsonb column: tuples as lists, UUIDs as text, no NUL."""
    return without_nul(msgspec.json.decode(msgspec.json.encode(value)))


def stored(value: Json) -> Json:
    """The value as it comes back out of an object's column."""
    if isinstance(value, dict | list | tuple):
        return as_json(cast("Json", value))
    return without_nul(value)


def without_nul(value: Json) -> Json:
    """PostgreSQL's texts cannot hold a NUL; it is stored as U+FFFD."""
    if isinstance(value, str):
        return value.replace("\0", "\ufffd")
    if isinstance(value, dict):
        items = cast("dict[str, Json]", value)
        return {without_nul(key): without_nul(inner) for key, inner in items.items()}
    if isinstance(value, list):
        return [without_nul(inner) for inner in cast("list[Json]", value)]
    return value
