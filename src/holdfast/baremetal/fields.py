"""The fields of nodes and ports on the wire: since when, from which column, who may write them.

One table, from which follow: what a microversion shows, the columns a query
selects (``fields=`` costs what it asks for), what may be created, patched,
sorted by, and of which type it must be. Source of the microversions: the
REST API version history of the Bare Metal API, 1.1 to 1.95.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated, Any, Literal, TypeAlias
from uuid import UUID

import msgspec

from holdfast.baremetal.drivers import INTERFACES
from holdfast.errors import InvalidInputError
from holdfast.store.model import Json

Text: TypeAlias = Annotated[str, msgspec.Meta(max_length=255)] | None
Prose: TypeAlias = Annotated[str, msgspec.Meta(max_length=4096)] | None
Object: TypeAlias = dict[str, Json]

Kind = Literal["plain", "json", "links"]
"""``json``: the column's text is passed through undecoded. ``links``: made from the UUID."""


class Field(msgspec.Struct, frozen=True, kw_only=True):
    """One field. ``sql`` is an expression over ``n`` (node) or ``p`` (port) and the joins below.

    ``type`` is set if a client may write the field. ``joins``: what the expression
    needs besides the row itself.
    """

    name: str
    sql: str = ""
    since: int = 1
    kind: Kind = "plain"
    type: Any = None
    joins: tuple[str, ...] = ()
    sortable: bool = False
    column: str = ""

    @property
    def stored_in(self) -> str:
        """The column it is stored in."""
        return self.column or self.name


def _time(name: str, since: int = 1, table: str = "n") -> Field:
    sql = f"to_char({table}.{name} at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"+00:00\"')"
    return Field(name=name, sql=sql, since=since, sortable=True)


def _plain(name: str, since: int = 1, *, type: Any = None, column: str = "") -> Field:  # noqa: A002
    sql = f"n.{column or name}"
    return Field(name=name, sql=sql, since=since, type=type, sortable=True, column=column)


def _uuid(name: str, since: int = 1, *, type: Any = None, table: str = "n") -> Field:  # noqa: A002
    return Field(name=name, sql=f"{table}.{name}::text", since=since, type=type, sortable=True)


def _json(name: str, since: int = 1, *, type: Any = None, sql: str = "", table: str = "n") -> Field:  # noqa: A002
    return Field(name=name, sql=sql or f"{table}.{name}::text", since=since, kind="json", type=type)


def _links(name: str, since: int = 1) -> Field:
    return Field(name=name, since=since, kind="links")


_INTERFACE_SINCE = {"network": 20, "storage": 33, "rescue": 38, "bios": 40, "firmware": 86}


def _interface(kind: str) -> Field:
    return Field(
        name=f"{kind}_interface",
        sql=f"n.interfaces->>'{kind}_interface'",
        since=_INTERFACE_SINCE.get(kind, 31),
        type=Text,
        column="interfaces",
    )


CONDUCTOR = "(m.slot || '.' || m.host)"
"""How a conductor is called on the wire (``hostname``): its slot on its host."""

QUEUED = "queued"
"""What stands in ``reservation`` while a node has a job and its shard has no conductor."""

_INSTANCE_INFO = (
    "case when n.instance_info ? 'configdrive' "
    "then jsonb_set(n.instance_info, '{configdrive}', '\"******\"') "
    "else n.instance_info end::text"
)

_NODE_FIELDS = (
    _uuid("uuid", type=UUID),
    _plain("name", 5, type=Text),
    _plain("driver", type=str),
    _json("driver_info", type=Object),
    _json("driver_internal_info", 3),
    _json("properties", type=Object),
    _json("instance_info", type=Object, sql=_INSTANCE_INFO),
    _uuid("instance_uuid", type=UUID | None),
    _json("extra", type=Object),
    *(_interface(kind) for kind in INTERFACES),
    _json("network_data", 66, type=Object),
    Field(name="traits", sql="n.traits", since=37),
    _plain("resource_class", 21, type=Text),
    _uuid("chassis_uuid"),
    _uuid("allocation_uuid", 52),
    _plain("owner", 50, type=Text),
    _plain("lessee", 65, type=Text),
    _plain("description", 51, type=Prose),
    _plain("conductor_group", 46, type=str, column="grp"),
    Field(name="conductor", sql=CONDUCTOR, since=49, joins=("owner",)),
    _plain("shard", 82, type=Text, column="shard_key"),
    _uuid("parent_node", 83, type=UUID | None),
    _plain("automated_clean", 47, type=bool | None),
    _plain("maintenance", type=bool),
    _plain("maintenance_reason"),
    _plain("fault", 42),
    _plain("protected", 48, type=bool),
    _plain("protected_reason", 48, type=Text),
    _plain("retired", 61, type=bool),
    _plain("retired_reason", 61, type=Text),
    _plain("disable_power_off", 95, type=bool),
    _plain("console_enabled"),
    _plain("power_state"),
    _plain("target_power_state"),
    _plain("provision_state"),
    _plain("target_provision_state"),
    _time("provision_updated_at"),
    _plain("last_error"),
    Field(
        name="reservation",
        sql=f"case when j.id is not null then coalesce({CONDUCTOR}, '{QUEUED}') end",
        joins=("owner", "job"),
    ),
    _json("clean_step", 7),
    _json("deploy_step", 44),
    _json("service_step", 87),
    _json("raid_config", 12),
    _json("target_raid_config", 12),
    _plain("boot_mode", 75),
    _plain("secure_boot", 75),
    _time("inspection_started_at", 6),
    _time("inspection_finished_at", 6),
    _time("created_at"),
    _time("updated_at"),
    _links("links"),
    _links("ports"),
    _links("states", 14),
    _links("portgroups", 24),
    _links("volume", 32),
)

_PORT_FIELDS = (
    _uuid("uuid", type=UUID, table="p"),
    Field(name="address", sql="p.address", type=str, sortable=True),
    _uuid("node_uuid", type=UUID, table="p"),
    _json("extra", type=Object, table="p"),
    _json("internal_info", 18, table="p"),
    _json("local_link_connection", 19, type=Object, table="p"),
    Field(name="pxe_enabled", sql="p.pxe_enabled", since=19, type=bool, sortable=True),
    _uuid("portgroup_uuid", 24, table="p"),
    Field(name="physical_network", sql="p.physical_network", since=34, type=Text, sortable=True),
    Field(name="is_smartnic", sql="p.is_smartnic", since=53, type=bool, sortable=True),
    Field(name="name", sql="p.name", since=88, type=Text, sortable=True),
    _time("created_at", table="p"),
    _time("updated_at", table="p"),
    _links("links"),
)

NODE: dict[str, Field] = {field.name: field for field in _NODE_FIELDS}
PORT: dict[str, Field] = {field.name: field for field in _PORT_FIELDS}

NODE_BRIEF = (
    "instance_uuid",
    "maintenance",
    "power_state",
    "provision_state",
    "uuid",
    "name",
    "links",
)
"""What a list without ``detail`` and ``fields`` shows."""

PORT_BRIEF = ("uuid", "address", "links")

NODE_STATES = (
    "console_enabled",
    "last_error",
    "power_state",
    "provision_state",
    "provision_updated_at",
    "raid_config",
    "target_power_state",
    "target_provision_state",
    "target_raid_config",
    "boot_mode",
    "secure_boot",
)
"""What ``GET /v1/nodes/{ident}/states`` shows."""


@lru_cache(maxsize=256)
def shown(resource: Literal["node", "port"], minor: int) -> tuple[str, ...]:
    """Every field that microversion 1.``minor`` shows, in order."""
    table = NODE if resource == "node" else PORT
    return tuple(name for name, field in table.items() if field.since <= minor)


def too_new(table: dict[str, Field], name: str, minor: int) -> bool:
    """Whether the field exists, but not in microversion 1.``minor``."""
    field = table.get(name)
    return field is not None and field.since > minor


def writable(table: dict[str, Field], *, create: bool) -> list[str]:
    """The fields a client may give at creation, or change afterwards."""
    return [
        name
        for name, field in table.items()
        if field.type is not None and (create or name != "uuid")
    ]


def checked(field: Field, value: Json) -> Json:
    """The value in the field's type. Raises ``InvalidInputError`` naming the field."""
    try:
        return msgspec.convert(_spelled(field, value), field.type, strict=True)
    except msgspec.ValidationError as fault:
        raise InvalidInputError(f"Invalid value for '{field.name}': {fault}") from None


def _spelled(field: Field, value: Json) -> Json:
    """Booleans as command lines spell them; clients send ``--automated-clean`` as text."""
    if isinstance(value, str) and field.type in (bool, bool | None):
        lowered = value.strip().lower()
        if lowered in ("true", "t", "1", "on", "yes", "y"):
            return True
        if lowered in ("false", "f", "0", "off", "no", "n"):
            return False
    return value
