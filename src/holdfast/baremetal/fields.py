"""The fields of nodes and ports on the wire: since when, from which column, who may write them.

One table, from which follow: what a microversion shows, the columns a query
selects (``fields=`` costs what it asks for), what may be created, patched,
sorted by, and of which type it must be. Source of the microversions: the
REST API version history of the Bare Metal API, 1.1 to 1.95.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias
from uuid import UUID

import msgspec

from holdfast.baremetal.drivers import INTERFACES
from holdfast.errors import InvalidInputError
from holdfast.store.model import Json

Text: TypeAlias = Annotated[str, msgspec.Meta(max_length=255)] | None
ResourceClass: TypeAlias = Annotated[str, msgspec.Meta(min_length=1, max_length=80)] | None
Prose: TypeAlias = Annotated[str, msgspec.Meta(max_length=4096)] | None
Object: TypeAlias = dict[str, Json]

Kind = Literal["plain", "json", "links"]
"""``json``: the column's text is passed through undecoded. ``links``: made from the UUID."""


class Field(msgspec.Struct, frozen=True, kw_only=True):
    """One field. ``sql`` is an expression over its table (by alias) and the joins.

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


class Columns:
    """Makes the fields that are columns of one table, by its SQL alias."""

    def __init__(self, alias: str) -> None:
        self._alias = alias

    def time(self, name: str, since: int = 1) -> Field:
        """A time, as the API writes it."""
        utc = f"{self._alias}.{name} at time zone 'UTC'"
        sql = f'to_char({utc}, \'YYYY-MM-DD"T"HH24:MI:SS.US"+00:00"\')'
        return Field(name=name, sql=sql, since=since, sortable=True)

    def plain(self, name: str, since: int = 1, *, type: Any = None, column: str = "") -> Field:  # noqa: A002
        """A text, number or boolean."""
        sql = f"{self._alias}.{column or name}"
        return Field(name=name, sql=sql, since=since, type=type, sortable=True, column=column)

    def texts(self, name: str, since: int = 1, *, type: Any = None) -> Field:  # noqa: A002
        """A list of texts."""
        return Field(name=name, sql=f"{self._alias}.{name}::text[]", since=since, type=type)

    def uuid(self, name: str, since: int = 1, *, type: Any = None) -> Field:  # noqa: A002
        """A UUID."""
        sql = f"{self._alias}.{name}::text"
        return Field(name=name, sql=sql, since=since, type=type, sortable=True)

    def json(self, name: str, since: int = 1, *, type: Any = None, sql: str = "") -> Field:  # noqa: A002
        """A JSON document."""
        sql = sql or f"{self._alias}.{name}::text"
        return Field(name=name, sql=sql, since=since, kind="json", type=type)


def links(name: str = "links", since: int = 1) -> Field:
    """The addresses of the thing itself, or of what belongs to it."""
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

_n, _p = Columns("n"), Columns("p")

_NODE_FIELDS = (
    _n.uuid("uuid", type=UUID),
    _n.plain("name", 5, type=Text),
    _n.plain("driver", type=str),
    _n.json("driver_info", type=Object),
    _n.json("driver_internal_info", 3),
    _n.json("properties", type=Object),
    _n.json("instance_info", type=Object, sql=_INSTANCE_INFO),
    _n.uuid("instance_uuid", type=UUID | None),
    _n.json("extra", type=Object),
    *(_interface(kind) for kind in INTERFACES),
    _n.json("network_data", 66, type=Object),
    Field(name="traits", sql="n.traits", since=37),
    _n.plain("resource_class", 21, type=ResourceClass),
    _n.uuid("chassis_uuid", type=UUID | None),
    _n.uuid("allocation_uuid", 52),
    _n.plain("owner", 50, type=Text),
    _n.plain("lessee", 65, type=Text),
    _n.plain("description", 51, type=Prose),
    _n.plain("conductor_group", 46, type=str, column="grp"),
    Field(name="conductor", sql=CONDUCTOR, since=49, joins=("owner",)),
    _n.plain("shard", 82, type=Text, column="shard_key"),
    _n.uuid("parent_node", 83, type=UUID | None),
    _n.plain("automated_clean", 47, type=bool | None),
    _n.plain("maintenance", type=bool),
    _n.plain("maintenance_reason"),
    _n.plain("fault", 42),
    _n.plain("protected", 48, type=bool),
    _n.plain("protected_reason", 48, type=Text),
    _n.plain("retired", 61, type=bool),
    _n.plain("retired_reason", 61, type=Text),
    _n.plain("disable_power_off", 95, type=bool),
    _n.plain("console_enabled"),
    _n.plain("power_state"),
    _n.plain("target_power_state"),
    _n.plain("provision_state"),
    _n.plain("target_provision_state"),
    _n.time("provision_updated_at"),
    _n.plain("last_error"),
    Field(
        name="reservation",
        sql=f"case when j.id is not null then coalesce({CONDUCTOR}, '{QUEUED}') end",
        joins=("owner", "job"),
    ),
    _n.json("clean_step", 7),
    _n.json("deploy_step", 44),
    _n.json("service_step", 87),
    _n.json("raid_config", 12),
    _n.json("target_raid_config", 12),
    _n.plain("boot_mode", 75),
    _n.plain("secure_boot", 75),
    _n.time("inspection_started_at", 6),
    _n.time("inspection_finished_at", 6),
    _n.time("created_at"),
    _n.time("updated_at"),
    links(),
    links("ports"),
    links("states", 14),
    links("portgroups", 24),
    links("volume", 32),
)

_PORT_FIELDS = (
    _p.uuid("uuid", type=UUID),
    Field(name="address", sql="p.address", type=str, sortable=True),
    _p.uuid("node_uuid", type=UUID),
    _p.json("extra", type=Object),
    _p.json("internal_info", 18),
    _p.json("local_link_connection", 19, type=Object),
    Field(name="pxe_enabled", sql="p.pxe_enabled", since=19, type=bool, sortable=True),
    _p.uuid("portgroup_uuid", 24, type=UUID | None),
    Field(name="physical_network", sql="p.physical_network", since=34, type=Text, sortable=True),
    Field(name="is_smartnic", sql="p.is_smartnic", since=53, type=bool, sortable=True),
    Field(name="name", sql="p.name", since=88, type=Text, sortable=True),
    _p.time("created_at"),
    _p.time("updated_at"),
    links(),
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
