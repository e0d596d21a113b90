"""What is wanted of API nodes, and what they say of themselves."""

from __future__ import annotations

from uuid import UUID

import msgspec

from holdfast.serving.operating.baseline import Counts


class Generation(msgspec.Struct, frozen=True, kw_only=True):
    """A package, by address and digest (SHA-256 of the archive, in hex)."""

    id: UUID
    project: str
    url: str
    sha256: str
    deleted_at: float | None = None


class Service(msgspec.Struct, frozen=True, kw_only=True):
    """A service as it shall be. While ``next`` is there, only nodes in ``moved`` have that.

    ``keys``: digest of a query key -> its name. ``zones``: where it is served; none: everywhere.
    """

    id: UUID
    project: str
    name: str
    generation: UUID
    next: UUID | None = None
    moved: tuple[UUID, ...] = ()
    rollout: str = ""
    failure: str | None = None
    zones: tuple[str, ...] = ()
    keys: dict[str, str] = {}
    deleted_at: float | None = None

    def wanted_on(self, node: UUID) -> UUID:
        """The generation that this node shall have."""
        return self.next if self.next is not None and node in self.moved else self.generation

    def is_in(self, zone: str) -> bool:
        return not self.zones or zone in self.zones


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """All that is wanted of everybody, and what was deleted lately."""

    generations: tuple[Generation, ...] = ()
    services: tuple[Service, ...] = ()


class Pulled(msgspec.Struct, frozen=True, kw_only=True):
    """A package on a node's disk, by the names in its manifest; or why it is not there."""

    service: str = ""
    generation: str = ""
    error: str = ""


class Served(msgspec.Struct, frozen=True, kw_only=True):
    """A service on a node. ``wanted``: what the node knows that it shall have.

    ``error``: why it has not got that. ``serving_s``: for how long ``generation`` has had the
    queries; ``answers`` and ``errors`` (status 500 or more) are what it gave since it was loaded.
    ``recent``: what of these it gave in the last minute; ``before``: what the generation that was
    there before gave in its last one.
    """

    wanted: UUID
    generation: UUID | None = None
    ready: bool = False
    error: str = ""
    serving_s: float = 0.0
    answers: int = 0
    errors: int = 0
    recent: Counts = Counts()
    before: Counts = Counts()


class Actual(msgspec.Struct, frozen=True, kw_only=True):
    """What a node says of itself, by the ids of what is wanted."""

    generations: dict[UUID, Pulled] = {}
    services: dict[UUID, Served] = {}


class NodeView(msgspec.Struct, frozen=True, kw_only=True):
    """A living node as the control plane sees it; ``actual`` None: it has said nothing yet."""

    id: UUID
    slot: str
    host: str
    zone: str
    actual: Actual | None = None

    def served(self, service: UUID) -> Served | None:
        return None if self.actual is None else self.actual.services.get(service)

    def pulled(self, generation: UUID) -> Pulled | None:
        return None if self.actual is None else self.actual.generations.get(generation)

    @property
    def label(self) -> str:
        return f"{self.slot} on {self.host}"
