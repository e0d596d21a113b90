"""``store.port.Store`` in memory, with PostgreSQL's outcomes and a clock of its own.

Each method runs without giving way to another, so each is one transaction and
every history is serialisable. What PostgreSQL's rules forbid is refused here
with the same errors: one suite holds both to that (``tests/store/test_conformance.py``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from types import MappingProxyType
from uuid import UUID

from holdfast.errors import ConflictError, InvalidInputError
from holdfast.sim.memcensus import MemCensus
from holdfast.sim.memevents import MemEvents
from holdfast.sim.memqueue import MemQueue
from holdfast.sim.memtables import MEMBERS, Document, MemberRow, RouteRow, Tables, copied, stored
from holdfast.store.events import Watch, told
from holdfast.store.model import (
    Claim,
    Fence,
    JobState,
    Json,
    Member,
    MemberSpec,
    MemberState,
    ObjectRef,
    Renewal,
    RouteGrant,
)


class MemMembers:
    """Members, their leases, and the shards they claim."""

    def __init__(self, tables: Tables) -> None:
        self._t = tables

    async def register(self, spec: MemberSpec, lease_s: float) -> Member:
        known = self._t.members.get(spec.id)
        if known is not None and not known.gone:
            raise ConflictError(
                f"member {spec.id} is still registered under epoch {known.epoch}; "
                "it can come back once that lease is over"
            )
        now = self._t.clock()
        row = MemberRow(
            spec=spec,
            epoch=self._t.next_epoch(),
            state=MemberState.UP,
            lease_s=lease_s,
            lease_until=now + lease_s,
            registered_at=now,
        )
        self._t.members[spec.id] = row
        self._tell(row, "member.registered")
        return row.value()

    def _tell(self, row: MemberRow, kind: str) -> None:
        """Tell that something became of a member."""
        spec = row.spec
        data = {"role": spec.role, "host": spec.host, "zone": spec.zone, "group": spec.group}
        self._t.tell(
            told(
                kind,
                ("member", spec.id),
                name=spec.slot,
                result=row.gone_reason,
                member=(spec.id, row.epoch),
                data={**data, "version": spec.version},
            )
        )
        self._t.hint(MEMBERS)

    async def renew(self, member: UUID, epoch: int, lease_s: float) -> Renewal | None:
        row = self._t.living(member, epoch)
        if row is None:
            return None
        row.lease_s = lease_s
        row.lease_until = self._t.clock() + lease_s
        return Renewal(state=row.state, drain_requested=row.drain_requested)

    async def reap(self, still: Collection[tuple[UUID, int, float]] | None = None) -> list[Member]:
        now = self._t.clock()
        life = self._t.life
        seen = (life.started_at, life.timeline)
        if life.noticed != seen:
            life.noticed, life.noticed_at = seen, now
        reaped: list[Member] = []
        for key, row in self._t.members.items():
            if row.gone or row.lease_until >= now or life.noticed_at + row.lease_s >= now:
                continue
            if still is not None and (key, row.epoch, row.lease_until) not in still:
                continue
            row.state, row.gone_reason = MemberState.GONE, "lease expired"
            self._tell(row, "member.gone")
            reaped.append(row.value())
        return reaped

    async def end_lease(self, member: UUID, epoch: int, reason: str) -> bool:
        row = self._t.living(member, epoch)
        if row is None:
            return False
        row.state, row.gone_reason = MemberState.GONE, reason
        self._tell(row, "member.gone")
        return True

    async def purge_members(self, keep_s: float, limit: int) -> int:
        until = self._t.clock() - keep_s
        claims = [claim for shards in self._t.shards.values() for claim in shards]
        named = {claim.owner for claim in claims} | {claim.previous for claim in claims}
        named |= {job.owner for job in self._t.jobs.values() if job.state is JobState.RUNNING}
        old = [
            key
            for key, row in sorted(self._t.members.items(), key=lambda item: item[1].lease_until)
            if row.gone and row.lease_until < until and key not in named
        ][:limit]
        for key in old:
            del self._t.members[key]
        return len(old)

    async def request_drain(self, member: UUID, *, spare_last: bool = False) -> bool:
        row = self._t.members.get(member)
        if row is None or row.gone:
            return False
        now, which = self._t.clock(), (row.spec.role, row.spec.group)
        staying = [
            key
            for key, one in self._t.members.items()
            if (one.spec.role, one.spec.group) == which
            and (one.state is MemberState.UP and not one.drain_requested)
            and one.lease_until > now
        ]
        if spare_last and staying == [member]:
            return False
        row.drain_requested = True
        self._tell(row, "member.drain_requested")
        return True

    async def mark_draining(self, member: UUID, epoch: int) -> bool:
        row = self._t.living(member, epoch)
        if row is None:
            return False
        if row.state is not MemberState.DRAINING:
            row.state = MemberState.DRAINING
            self._tell(row, "member.draining")
        return True

    async def members(self, role: str | None = None, *, gone: bool = False) -> list[Member]:
        rows = [
            row
            for row in self._t.members.values()
            if (role is None or row.spec.role == role) and (gone or not row.gone)
        ]
        return [row.value() for row in sorted(rows, key=lambda r: (r.spec.slot, r.spec.id))]

    async def ensure_shards(self, group: str, count: int) -> int:
        now = self._t.clock()
        claims = self._t.shards.setdefault(group, [])
        if not claims:
            claims.extend(
                Claim(
                    group=group, shard=n, owner=None, incarnation=0, epoch=0, objects=0, since=now
                )
                for n in range(count)
            )
        return len(claims)

    async def groups(self) -> list[str]:
        return sorted(self._t.shards)

    async def claims(self, group: str) -> list[Claim]:
        return list(self._t.shards.get(group, []))

    async def take(
        self, group: str, shards: Sequence[int], member: UUID, member_epoch: int
    ) -> list[Claim]:
        if not self._t.is_up(member, member_epoch):
            return []
        free = [
            claim
            for shard in sorted(set(shards))
            if (claim := self._t.claim(group, shard)) is not None
            and self._t.living(claim.owner, claim.incarnation) is None
        ]
        return self._pass("taken", free, member, member_epoch)

    def _pass(self, how: str, claims: Sequence[Claim], to: UUID, to_epoch: int) -> list[Claim]:
        """Give claims to an owner, and tell of all of them in one line."""
        passed = [self._t.pass_claim(claim, to, to_epoch) for claim in claims]
        losers = Counter(
            self._t.members[claim.owner].spec.slot if claim.owner else "nobody" for claim in claims
        )
        if passed:
            data = {
                "shards": len(passed),
                "objects": sum(claim.objects for claim in passed),
                "from": dict(losers),
            }
            group = passed[0].group
            event = told(
                "claims.moved",
                ("group", group),
                name=group or "default",
                result=how,
                data=data,
                member=(to, to_epoch),
            )
            self._t.tell(event)
        return passed

    async def hand_over(self, fences: Sequence[Fence], to: UUID, to_epoch: int) -> list[Claim]:
        if not self._t.is_up(to, to_epoch):
            return []
        held = sorted(
            {fence for fence in fences if self._t.holds(fence)}, key=lambda f: (f.group, f.shard)
        )
        claims = [self._t.shards[fence.group][fence.shard] for fence in held]
        return self._pass("handed over", claims, to, to_epoch)


class MemObjects:
    """Owned objects as documents, and the routes to their BMCs."""

    def __init__(self, tables: Tables) -> None:
        self._t = tables

    async def get_object(self, obj: ObjectRef) -> Document | None:
        found = self._t.rows(obj.kind).get(obj.id)
        return None if found is None else copied(found)

    async def owned_objects(
        self,
        kind: str,
        member: UUID,
        member_epoch: int,
        fields: Sequence[str],
        *,
        only: Sequence[UUID] | None = None,
        idle: bool = False,
    ) -> list[tuple[ObjectRef, Fence, Document]]:
        rows = self._t.rows(kind)
        self._t.check_fields(kind, fields)
        found: list[tuple[ObjectRef, Fence, Document]] = []
        for key in sorted(rows if only is None else rows.keys() & set(only)):
            if idle and key in self._t.active:
                continue
            document = rows[key]
            fence = self._fence(document, member, member_epoch)
            if fence is not None:
                part = {name: copied(document.get(name)) for name in fields}
                found.append((ObjectRef(kind, key), fence, part))
        return found

    async def patch_object(self, fence: Fence, obj: ObjectRef, patch: Mapping[str, Json]) -> None:
        self._t.rows(obj.kind)
        self._t.check_fields(obj.kind, patch)
        self._t.check(fence)
        document = self._t.document(obj)
        if (document["grp"], document["shard"]) != (fence.group, fence.shard):
            raise self._t.lost(fence)
        self._t.patch(obj, patch, member=(fence.owner, fence.epoch))

    async def patch_idle(
        self,
        fence: Fence,
        obj: ObjectRef,
        patch: Mapping[str, Json],
        seen: Mapping[str, Json],
    ) -> bool:
        self._t.check_fields(obj.kind, seen)
        document = self._t.rows(obj.kind).get(obj.id, {})
        same = all(document.get(name) == value for name, value in seen.items())
        written = same and obj.id not in self._t.active and bool(patch)
        await self.patch_object(fence, obj, patch if written else {})
        return written

    async def fence_for(self, obj: ObjectRef, member: UUID, member_epoch: int) -> Fence | None:
        document = self._t.rows(obj.kind).get(obj.id)
        return None if document is None else self._fence(document, member, member_epoch)

    def _fence(self, document: Document, member: UUID, member_epoch: int) -> Fence | None:
        claim = self._t.claim(document["grp"], document["shard"])
        if claim is None or claim.owner != member or claim.incarnation != member_epoch:
            return None
        if self._t.living(member, member_epoch) is None:
            return None
        return Fence(claim.group, claim.shard, member, claim.epoch)

    async def grant_route(self, obj: ObjectRef, gateway: UUID, incarnation: UUID) -> RouteGrant:
        document = self._t.document(obj)
        route = self._t.routes.get(obj)
        if route is not None and route.gateway != gateway:
            raise ConflictError(
                f"the BMC belongs to gateway {route.gateway}, not to {gateway}", kind="gateway"
            )
        if route is None or route.incarnation != incarnation:
            route = RouteRow(gateway, incarnation, self._t.next_epoch())
            self._t.routes[obj] = route
        claim = self._t.claim(document["grp"], document["shard"])
        floor = max(claim.epoch if claim is not None else 0, document["entered_epoch"])
        return RouteGrant(term=route.term, floor=floor)


class MemStore(MemMembers, MemQueue, MemObjects, MemEvents, MemCensus):
    """The store in memory.

    ``clock`` is the database's own: seconds since the epoch, read at each
    statement. ``kinds`` names the kinds of objects with their columns, ``watches``
    what of them the event log tells about, ``products`` the kinds of rows that unbound
    jobs write.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        kinds: Mapping[str, Collection[str] | None],
        watches: Mapping[str, Watch] = MappingProxyType({}),
        products: Mapping[str, Collection[str]] = MappingProxyType({}),
    ) -> None:
        tables = Tables(clock, kinds, watches, products)
        MemMembers.__init__(self, tables)
        MemQueue.__init__(self, tables)
        MemObjects.__init__(self, tables)
        MemEvents.__init__(self, tables)
        MemCensus.__init__(self, tables)
        self.tables = tables

    def add_object(self, kind: str, document: Mapping[str, Json]) -> ObjectRef:
        """Insert an object (needs ``uuid``, may name ``grp``): placed in the emptiest shard."""
        self._t.check_fields(kind, document)
        if "shard" in document:
            raise InvalidInputError("an object's shard is chosen here, not given")
        key = document["uuid"]
        rows = self._t.rows(kind)
        if key in rows:
            raise ConflictError(f"{kind} {key} exists already")
        names = self._t.kinds[kind] or ()
        row: Document = dict.fromkeys(sorted(names))
        row |= {name: stored(value) for name, value in document.items()}
        row["grp"] = row.get("grp") or ""
        row["shard"] = self._t.place(row["grp"], key)
        row["entered_epoch"] = self._t.next_epoch()
        rows[key] = row
        return ObjectRef(kind, key)

    def remove_object(self, obj: ObjectRef) -> None:
        """Delete an object and take it out of its shard."""
        row = self._t.document(obj)
        del self._t.objects[obj.kind][obj.id]
        claim = self._t.claim(row["grp"], row["shard"])
        if claim is not None:
            self._t.count_object(claim, -1)

    def restart(self) -> None:
        """The database has come back: committed rows are all there, it began anew."""
        self._t.life.started_at = self._t.clock()

    def failover(self) -> None:
        """A synchronous replica was promoted: all rows, another timeline, epochs jump ahead."""
        self._t.life.timeline += 1
        self._t.life.started_at = self._t.clock()
        self._t.skip_epochs(1_000)
