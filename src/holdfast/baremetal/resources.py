"""What the Bare Metal API lists: of each kind its table, its fields, and who may know of it.

Nodes and ports have their fields in ``fields``; the others have them here. From this
follow the queries (``service.reading``), the links (``api.render``) and what may be
written (``service.writing``).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated, Any, Literal, TypeAlias
from uuid import UUID

import msgspec

from holdfast.baremetal import fields
from holdfast.baremetal.fields import Columns, Field, Object, ResourceClass, Text, links
from holdfast.identity.policy import Caller
from holdfast.store.model import Json

ANYONES = "true"
"""For what has no owner: the policy of its routes says who sees it."""

_THE_NODES = "{0}::text in (n.project, n.owner, n.lessee)"


class Resource(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """One kind of thing. ``name``: in messages; ``plural``: in paths and answers.

    ``alias`` and ``source``: its table in SQL. ``visible``: the condition for what a
    project may know of, ``{0}`` standing for the project. ``named``: found by name too.
    ``owners_only``: fields of which a lessee learns whether they are set, and no more.
    """

    name: str
    plural: str
    alias: str
    source: str
    fields: dict[str, Field]
    brief: tuple[str, ...]
    visible: str = ANYONES
    named: bool = True
    since: int = 1
    owners_only: frozenset[str] = frozenset()

    def shown(self, minor: int) -> tuple[str, ...]:
        """Every field that microversion 1.``minor`` shows, in order."""
        return _shown(self, minor)

    def in_brief(self, minor: int) -> tuple[str, ...]:
        """What a list shows of it that asks for nothing special."""
        return tuple(name for name in self.brief if self.fields[name].since <= minor)

    def visible_to(self, caller: Caller, placeholder: str) -> str:
        """The SQL condition for what the caller may know of.

        ``placeholder`` stands for the caller's project, and occurs whatever the caller.
        """
        if caller.everywhere or self.visible == ANYONES:
            return f"({placeholder}::text is null or true)"
        return f"({self.visible.format(placeholder)})"


@lru_cache(maxsize=1024)
def _shown(resource: Resource, minor: int) -> tuple[str, ...]:
    return tuple(name for name, field in resource.fields.items() if field.since <= minor)


def _table(*of: Field) -> dict[str, Field]:
    return {field.name: field for field in of}


NODES = Resource(
    name="Node",
    plural="nodes",
    alias="n",
    source="node n",
    fields=fields.NODE,
    brief=fields.NODE_BRIEF,
    visible=_THE_NODES,
    owners_only=frozenset({"driver_info", "driver_internal_info", "last_error", "reservation"}),
)

PORTS = Resource(
    name="Port",
    plural="ports",
    alias="p",
    source="port p join node n on n.uuid = p.node_uuid",
    fields=fields.PORT,
    brief=fields.PORT_BRIEF,
    visible=_THE_NODES,
)

_g = Columns("g")
PORTGROUPS = Resource(
    name="Portgroup",
    plural="portgroups",
    alias="g",
    source="portgroup g join node n on n.uuid = g.node_uuid",
    since=23,
    fields=_table(
        _g.uuid("uuid", type=UUID),
        _g.plain("name", type=Text),
        _g.plain("address", type=str | None),
        _g.uuid("node_uuid", type=UUID),
        _g.plain("standalone_ports_supported", type=bool),
        _g.plain("mode", 26, type=Annotated[str, msgspec.Meta(min_length=1, max_length=255)]),
        _g.json("properties", 26, type=Object),
        _g.json("extra", type=Object),
        _g.json("internal_info"),
        _g.time("created_at"),
        _g.time("updated_at"),
        links(),
        links("ports"),
    ),
    brief=("uuid", "address", "name", "links"),
    visible=_THE_NODES,
)

_c = Columns("c")
CHASSIS = Resource(
    name="Chassis",
    plural="chassis",
    alias="c",
    source="chassis c",
    named=False,
    fields=_table(
        _c.uuid("uuid", type=UUID),
        _c.plain("description", type=Text),
        _c.json("extra", type=Object),
        _c.time("created_at"),
        _c.time("updated_at"),
        links(),
        links("nodes"),
    ),
    brief=("uuid", "description", "links"),
)

Traits: TypeAlias = Annotated[list[str], msgspec.Meta(max_length=50)]
Candidates: TypeAlias = Annotated[list[str], msgspec.Meta(max_length=1000)]

_a = Columns("a")
ALLOCATIONS = Resource(
    name="Allocation",
    plural="allocations",
    alias="a",
    source="allocation a",
    since=52,
    fields=_table(
        _a.uuid("uuid", type=UUID),
        _a.plain("name", type=Text),
        _a.plain("state"),
        _a.uuid("node_uuid"),
        _a.plain("resource_class", type=ResourceClass),
        _a.texts("traits", type=Traits),
        _a.texts("candidate_nodes", type=Candidates),
        _a.plain("owner", 60, type=Text),
        _a.json("extra", type=Object),
        _a.plain("last_error"),
        _a.time("created_at"),
        _a.time("updated_at"),
        links(),
    ),
    brief=(
        *("uuid", "name", "state", "node_uuid", "resource_class", "traits"),
        *("candidate_nodes", "owner", "extra", "last_error", "created_at", "updated_at", "links"),
    ),
    visible="{0}::text = a.owner",
)

Interface: TypeAlias = Literal[
    "bios", "deploy", "firmware", "management", "network", "power", "raid", "vendor"
]
"""Interfaces that have steps (the Bare Metal API's deploy and clean steps)."""
StepName: TypeAlias = Annotated[str, msgspec.Meta(min_length=1, max_length=255)]


class CleanStep(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A step of manual cleaning."""

    interface: Interface
    step: StepName
    args: dict[str, Json] = {}


class DeployStep(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A step of a deployment, in its place among the others. 0 switches the step off."""

    interface: Interface
    step: StepName
    args: dict[str, Json]
    priority: Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]


class RunbookStep(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A step of a runbook; the lowest ``order`` is run first."""

    interface: Interface
    step: StepName
    args: dict[str, Json]
    order: Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]


def _some(of: Any) -> Any:
    return Annotated[list[of], msgspec.Meta(min_length=1, max_length=255)]


_t = Columns("t")
DEPLOY_TEMPLATES = Resource(
    name="Deploy template",
    plural="deploy_templates",
    alias="t",
    source="deploy_template t",
    since=55,
    fields=_table(
        _t.uuid("uuid", type=UUID),
        _t.plain("name", type=str),
        _t.json("steps", type=_some(DeployStep)),
        _t.json("extra", type=Object),
        _t.time("created_at"),
        _t.time("updated_at"),
        links(),
    ),
    brief=("uuid", "name", "links"),
)

_r = Columns("r")
RUNBOOKS = Resource(
    name="Runbook",
    plural="runbooks",
    alias="r",
    source="runbook r",
    since=92,
    fields=_table(
        _r.uuid("uuid", type=UUID),
        _r.plain("name", type=str),
        _r.json("steps", type=_some(RunbookStep)),
        _r.plain("disable_ramdisk", type=bool),
        _r.json("extra", type=Object),
        _r.plain("public", type=bool),
        _r.plain("owner", type=Text),
        _r.time("created_at"),
        _r.time("updated_at"),
        links(),
    ),
    brief=("uuid", "name", "public", "owner", "links"),
    visible="r.public or {0}::text = r.owner",
)

RESOURCES = (NODES, PORTS, PORTGROUPS, CHASSIS, ALLOCATIONS, DEPLOY_TEMPLATES, RUNBOOKS)
