"""The tables of stacks, as the store writes them by name, and as they are read.

``ROWS`` is what steps of jobs may write (``store.model.Write``); ``ops`` hands it to the
store. The columns have the names and the order of the fields in ``stacks.model``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from holdfast.stacks.model import Event, Resource, Stack
from holdfast.store.model import Json
from holdfast.store.pg.database import Row
from holdfast.store.pg.writes import TIME, RowTable

STACK: Final = RowTable(
    "stack",
    {
        "id": "uuid",
        "name": "text",
        "project": "text",
        "source": "uuid",
        "action": "text",
        "status": "text",
        "reason": "text",
        "traversal": "integer",
        "stopped": "integer",
        "previous": "uuid",
        "rollback": "boolean",
        "convergence": "boolean",
        "timeout_s": "float8",
        "deadline": TIME,
        "root": "uuid",
        "depth": "integer",
        "owner": "uuid",
        "tell": "uuid",
        "around": "integer",
        "tags": "text[]",
        "created_at": TIME,
        "updated_at": TIME,
        "deleted_at": TIME,
    },
)
RESOURCE: Final = RowTable(
    "stack_resource",
    {
        "id": "uuid",
        "stack": "uuid",
        "name": "text",
        "type": "text",
        "action": "text",
        "status": "text",
        "reason": "text",
        "physical_id": "text",
        "source": "uuid",
        "traversal": "integer",
        "properties": "jsonb",
        "attributes": "jsonb",
        "metadata": "jsonb",
        "data": "jsonb",
        "sealed": "bytea",
        "requires": "uuid[]",
        "replaces": "uuid",
        "deletion_policy": "text",
        "created_at": TIME,
        "updated_at": TIME,
    },
)
EVENT: Final = RowTable(
    "stack_event",
    {
        "id": "uuid",
        "stack": "uuid",
        "resource": "uuid",
        "name": "text",
        "type": "text",
        "physical_id": "text",
        "action": "text",
        "status": "text",
        "reason": "text",
        "at": TIME,
    },
    log=True,
)
ROWS: Final[dict[str, RowTable]] = {
    "stack": STACK,
    "stack_resource": RESOURCE,
    "stack_event": EVENT,
}

SEALED_COLUMNS: Final = (
    ("stack_source", "environment"),
    ("stack_resource", "sealed"),
    ("software_config", "config"),
    ("software_deployment", "data"),
)
"""Tables and columns that hold secrets; a rotation of the master key re-wraps them."""

DELEGATE: Final = {
    "user_id": "text",
    "user_name": "text",
    "project_id": "text",
    "project_name": "text",
    "roles": "text[]",
    "revoked_at": TIME,
}
STACKS: Final = ", ".join(
    (*(f"s.{name}" for name in STACK.columns), *(f"d.{name}" for name in DELEGATE))
)
"""The columns of ``stack_of``, read from ``FROM_STACKS``."""
FROM_STACKS: Final = (
    "stack s join stack top on top.id = s.root join delegation d on d.id = top.delegation"
)
RESOURCES: Final = ", ".join(f"r.{name}" for name in RESOURCE.columns)
"""The columns of ``resource_of``, of ``stack_resource r``."""
EVENTS: Final = ", ".join(f"e.{name}" for name in EVENT.columns)
"""The columns of ``event_of``, of ``stack_event e``."""

Record = Row | Mapping[str, object]


def stack_of(row: Record) -> Stack:
    """A row of ``STACKS``. A delegation that was revoked delegates no role any more."""
    values = dict(row.items())
    if values["revoked_at"] is not None:
        values["roles"] = ()
    return msgspec.convert({**values, "delegation": values}, Stack)


def resource_of(row: Record) -> Resource:
    """A row of ``RESOURCES``."""
    return msgspec.convert(dict(row.items()), Resource)


def event_of(row: Record) -> Event:
    """A row of ``EVENTS``."""
    return msgspec.convert(dict(row.items()), Event)


def values_of(thing: Stack | Resource | Event) -> dict[str, Json]:
    """A value as the columns of its table (``Write.values``), its id left out."""
    table = STACK if isinstance(thing, Stack) else EVENT if isinstance(thing, Event) else RESOURCE
    document = msgspec.to_builtins(thing)
    return {name: document[name] for name in table.columns if name in document.keys() - {table.key}}
