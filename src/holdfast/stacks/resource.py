"""What a resource type is: the plug-in interface of stacks.

A type is registered under its name by an entry point of the group
``holdfast.resource_types`` (a mapping name -> ``ResourceType`` instance, or a callable that
returns one), and by the products of this house in ``ops``. How to write one:
``docs/adding-a-resource-type.md``.

Every method may be called again after a crash, with the same ``ctx.key``: it must find
what it made before instead of making it twice. A method that cannot finish at once returns
``Wait`` and is called again later, maybe by another engine: what it must remember is in
``Wait.data``. It never sleeps itself. Whatever it raises fails the resource with that text
(``HoldfastError`` with ``transient`` set: is tried again).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol, TypeAlias

import msgspec

from holdfast.errors import HoldfastError
from holdfast.stacks.hot.properties import PropertySchema
from holdfast.stacks.model import Delegation, Resource, Stack
from holdfast.store.model import Json


class ResourceFailedError(HoldfastError):
    """A resource cannot become what it should be."""

    code = "resource_failed"
    status = 409


class Ready(msgspec.Struct, frozen=True, kw_only=True):
    """It is as it should be. ``None``: keep what is there."""

    physical_id: str | None = None
    attributes: dict[str, Json] | None = None
    data: dict[str, Json] | None = None


class Wait(msgspec.Struct, frozen=True, kw_only=True):
    """Not yet: ask again after ``seconds``, or at a signal to the resource."""

    seconds: float
    physical_id: str | None = None
    data: dict[str, Json] | None = None
    reason: str = ""  # shown meanwhile


class Replace(msgspec.Struct, frozen=True):
    """Of ``update`` only: this cannot be changed in place; make a new one, then drop this."""

    reason: str = ""


Progress: TypeAlias = Ready | Wait
Change: TypeAlias = Ready | Wait | Replace


class Attribute(msgspec.Struct, frozen=True, kw_only=True):
    """One attribute, as ``resource type show`` prints it."""

    description: str
    type: str = "string"  # string | number | boolean | map | list
    schema: dict[str, Json] = {}


class NestedStack(msgspec.Struct, frozen=True, kw_only=True):
    """How the body of a resource stands. ``outputs`` are resolved; ``rows`` its resources."""

    stack: Stack
    outputs: dict[str, Json] = {}
    rows: tuple[Resource, ...] = ()


class Peer(msgspec.Struct, frozen=True, kw_only=True):
    """Another resource of the same project, and what was signalled to it."""

    row: Resource
    signals: Sequence[Mapping[str, Json]] = ()


class Forward(msgspec.Struct, frozen=True, kw_only=True):
    """Of ``signal`` only: the signal is for the resource of this physical id, as ``payload``."""

    physical_id: str
    payload: Json = None


class Nesting(Protocol):
    """The stack that is the body of a resource."""

    async def converge(
        self,
        template: Json,
        *,
        parameters: Mapping[str, Json],
        files: Mapping[str, str] | None = None,
        environment: Mapping[str, Json] | None = None,
        timeout_s: float | None = None,
    ) -> Progress:
        """Make the body what this template says; ``Ready`` once it is, with its id.

        ``files`` and ``environment`` None: those of the stack around it. To be called again
        with the same arguments until it is ``Ready``; raises ``ResourceFailedError`` with the
        reason from within, however deep, when it fails.
        """
        ...

    async def act(self, action: str) -> Progress:
        """``DELETE``, ``CHECK``, ``SUSPEND`` or ``RESUME`` the body; ``Ready`` once it is done."""
        ...

    async def look(self) -> NestedStack | None:
        """The body as it stands; None if there is none."""
        ...

    async def attribute(self, name: str, path: Sequence[Json]) -> Json:
        """What ``get_attr`` of a resource in the body gives; raises ``LookupError``."""
        ...


class ResourceContext(msgspec.Struct, frozen=True, kw_only=True):
    """What one operation on one resource may know and use.

    ``key``: idempotency key, the same for every attempt at this version of the resource.
    ``properties``: resolved and validated. ``before``: those it has now (update). ``row``: the
    version in question, with ``physical_id`` and ``data`` as last written. ``data``: the notes
    of this operation (of the last ``Wait``, else of the row). ``now``: the database's clock.
    ``resumed``: begun before, end unknown. ``guard``: call right before every effect.
    ``signals``: of this resource (if it can have any), as ``signal`` kept them. ``peer``: the
    resource of this project with that physical id (of this stack, if several). ``call``: the outer
    world's ports by name, as ``ops`` wired them ("baremetal", ...; see ``stacks.types``).
    """

    key: str
    row: Resource
    stack: Stack
    properties: dict[str, Json]
    before: dict[str, Json]
    metadata: dict[str, Json]
    update_policy: dict[str, Json]
    data: dict[str, Json]
    now: float
    started_at: float  # of this operation
    resumed: bool
    delegation: Delegation
    guard: Callable[[], None]
    nested: Nesting
    signals: Sequence[Mapping[str, Json]]
    peer: Callable[[str], Awaitable[Peer | None]]
    call: Mapping[str, Json]

    @property
    def changed(self) -> set[str]:
        """The names of top-level properties that differ (update)."""
        names = self.properties.keys() | self.before.keys()
        return {name for name in names if self.properties.get(name) != self.before.get(name)}


class ResourceType(Protocol):
    """One type of resource, such as ``OS::Heat::RandomString``. Stateless."""

    @property
    def name(self) -> str: ...

    @property
    def description(self) -> str: ...

    @property
    def properties(self) -> Mapping[str, PropertySchema]: ...

    @property
    def attributes(self) -> Mapping[str, Attribute]: ...

    @property
    def interruptible(self) -> bool:
        """Whether a newer update may break an operation off that waits (its effects are cheap)."""
        ...

    @property
    def takes_signals(self) -> bool:
        """Whether it may be signalled, from outside or by way of another resource."""
        ...

    @property
    def acts_on_signals(self) -> bool:
        """Whether ``heed`` is called after a signal was kept for it."""
        ...

    @property
    def always_updates(self) -> bool:
        """Whether ``update`` is called in every update of the stack, whatever differs.

        For what has a stack as its body: files or environment may differ where no property does.
        """
        ...

    @property
    def mends(self) -> bool:
        """Whether ``update`` is called for one that failed, instead of its being replaced."""
        ...

    @property
    def keeps_secrets(self) -> bool:
        """Whether its attributes or notes are secrets: all it stores is sealed at rest."""
        ...

    @property
    def placeholder(self) -> bool:
        """Whether it takes any property and has any attribute (null): neither is checked."""
        ...

    @property
    def open_attributes(self) -> bool:
        """Whether it may have attributes beyond those it names, such as its members'."""
        ...

    def check(self, properties: Mapping[str, Json]) -> None:
        """Rules beyond the schema, of what is resolved; raises ``InvalidInputError``. Pure."""
        ...

    async def create(self, ctx: ResourceContext) -> Progress: ...

    async def update(self, ctx: ResourceContext) -> Change:
        """Called when some property or the metadata differ, and none that is immutable.

        Else only as ``always_updates`` says.
        """
        ...

    async def delete(self, ctx: ResourceContext) -> Progress:
        """Also of what failed half way: by ``physical_id`` if there is one, else by ``key``."""
        ...

    async def observe(self, ctx: ResourceContext) -> Progress:
        """Whether it still is there and well (CHECK); refreshes the attributes."""
        ...

    async def suspend(self, ctx: ResourceContext) -> Progress: ...

    async def resume(self, ctx: ResourceContext) -> Progress: ...

    def reference(self, row: Resource) -> Json:
        """What ``get_resource`` gives: the physical id, for most."""
        ...

    async def attribute(self, ctx: ResourceContext, path: Sequence[Json]) -> Json:
        """``get_attr`` of a path that is not in ``row.attributes``; raises ``LookupError``."""
        ...

    async def signal(self, ctx: ResourceContext, payload: Json) -> Json:
        """An external signal (``takes_signals``): returns what is kept of it, a map; None: nothing.

        Or a ``Forward`` to the resource whose type is asked instead. Raises if it is refused.
        """
        ...

    async def heed(self, ctx: ResourceContext) -> Progress:
        """What follows from the signals kept so far (``acts_on_signals``); an update by itself."""
        ...


class Base:
    """What most types do: nothing to check, observe, suspend or resume; updates in place."""

    name = ""
    description = ""
    interruptible = True
    takes_signals = False
    acts_on_signals = False
    always_updates = False
    keeps_secrets = False
    mends = False
    placeholder = False
    open_attributes = False

    @property
    def properties(self) -> Mapping[str, PropertySchema]:
        return {}

    @property
    def attributes(self) -> Mapping[str, Attribute]:
        return {}

    def check(self, properties: Mapping[str, Json]) -> None:
        return None

    async def create(self, ctx: ResourceContext) -> Progress:
        return Ready(physical_id=str(ctx.row.id))

    async def update(self, ctx: ResourceContext) -> Change:
        return Ready()

    async def delete(self, ctx: ResourceContext) -> Progress:
        return Ready()

    async def observe(self, ctx: ResourceContext) -> Progress:
        return Ready()

    async def suspend(self, ctx: ResourceContext) -> Progress:
        return Ready()

    async def resume(self, ctx: ResourceContext) -> Progress:
        return Ready()

    def reference(self, row: Resource) -> Json:
        return row.physical_id if row.physical_id is not None else row.name

    async def attribute(self, ctx: ResourceContext, path: Sequence[Json]) -> Json:
        raise LookupError(path[0] if path else "")

    async def signal(self, ctx: ResourceContext, payload: Json) -> Json:
        raise ResourceFailedError(f"resources of type {self.name} take no signals")

    async def heed(self, ctx: ResourceContext) -> Progress:
        return Ready()


Registry: TypeAlias = Mapping[str, ResourceType]
