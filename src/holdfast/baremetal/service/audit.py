"""Who changed what: written to the event log in the transaction of the change.

What is *done* with a node is told by the store, with the job that does it
(``job.submitted``); this is for what users change directly. Values that may hold
secrets, which is every document, are named and not shown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast
from uuid import UUID

from holdfast.baremetal import models
from holdfast.baremetal.service.rows import NodeRow
from holdfast.store.events import changes, told
from holdfast.store.model import Json, ObjectRef
from holdfast.store.pg.database import Connection
from holdfast.store.pg.events import record

HIDDEN = "…"

_KEYS_MAX = 32  # named of one document
_KEY_CHARS_MAX = 64


async def audit(
    conn: Connection,
    what: str,
    uuid: UUID,
    *,
    name: str | None = None,
    projects: Sequence[str | None] = (),
    data: dict[str, Json] | None = None,
) -> None:
    """Record a change, such as ``port.create``; the thing's kind is its first word.

    ``projects``: those whose members may see that it happened, beside the operators.
    """
    kind = what.partition(".")[0]
    event = told(
        f"audit.{what}", (kind, uuid), name=name, projects=projects, result="ok", data=data
    )
    await record(conn, event)


async def audit_node(
    conn: Connection, what: str, node: NodeRow, data: dict[str, Json] | None = None
) -> None:
    """Record a change of a node, such as ``node.delete``."""
    await audit(conn, what, node.uuid, name=node.name, projects=projects_of(node), data=data)


async def tell_changes(conn: Connection, node: NodeRow, patch: Mapping[str, Any]) -> None:
    """Record what else than its owner changes of a node's watched fields (``models.WATCH``)."""
    was: dict[str, Json] = {
        "provision_state": node.provision_state,
        "maintenance": node.maintenance,
        "name": node.name,
        **dict(zip(models.WATCH.projects, projects_of(node), strict=True)),
    }
    watched = {field: patch[field] for field in models.WATCH.fields if field in patch}
    ref = ObjectRef(models.KIND, node.uuid)
    await record(conn, *changes(models.WATCH, ref, was, watched))


def projects_of(node: NodeRow) -> tuple[str | None, ...]:
    """In the order of ``models.WATCH.projects``."""
    return node.project, node.owner, node.lessee


def shown(values: Mapping[str, Json]) -> dict[str, Json]:
    """What was set to what, documents hidden."""
    return {name: _plain(value) for name, value in values.items()}


def shown_changes(was: Mapping[str, Json], now: Mapping[str, Json]) -> dict[str, Json]:
    """What was set to what; of a document the keys that differ, such as ``extra.rack``."""
    found: dict[str, Json] = {}
    for name, value in now.items():
        before = was.get(name)
        if isinstance(value, dict) and isinstance(before, dict):
            found |= _changed_keys(
                name, cast("dict[str, Json]", before), cast("dict[str, Json]", value)
            )
        else:
            found[name] = _plain(value)
    return found


def _changed_keys(name: str, was: dict[str, Json], now: dict[str, Json]) -> dict[str, Json]:
    missing = object()
    keys = sorted(k for k in {*was, *now} if was.get(k, missing) != now.get(k, missing))
    found: dict[str, Json] = {f"{name}.{key[:_KEY_CHARS_MAX]}": HIDDEN for key in keys[:_KEYS_MAX]}
    if len(keys) > _KEYS_MAX:
        found[name] = HIDDEN  # and more
    return found


def _plain(value: Json) -> Json:
    if isinstance(value, UUID):
        return str(value)
    return value if value is None or isinstance(value, str | int | float) else HIDDEN
