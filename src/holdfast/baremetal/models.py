"""The tables of this product, as the query builder sees them.

The schema itself is in the migrations; ``tests/baremetal/test_models.py`` holds the two
against each other.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    Uuid,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.types import TypeEngine

from holdfast.store.events import Watch
from holdfast.store.pg.tables import Kinds, TableSpec

KIND: Final = "node"
"""The kind under which the core knows nodes as owned objects."""

METADATA = MetaData()


def _columns(kind: TypeEngine[Any], names: str) -> list[Column[Any]]:
    return [Column(name, kind) for name in names.split()]


_TIME = DateTime(timezone=True)

NODE = Table(
    "node",
    METADATA,
    Column("uuid", Uuid(), primary_key=True),
    *_columns(Uuid(), "instance_uuid chassis_uuid allocation_uuid parent_node agent_boot"),
    *_columns(Integer(), "shard"),
    *_columns(BigInteger(), "entered_epoch"),
    *_columns(
        Text(),
        "name grp driver resource_class owner lessee project description shard_key "
        "maintenance_reason fault protected_reason retired_reason firmware_interface power_state "
        "target_power_state provision_state target_provision_state last_error boot_mode "
        "agent_url agent_version",
    ),
    *_columns(
        JSONB(),
        "driver_info driver_internal_info properties instance_info extra interfaces network_data "
        "clean_step deploy_step service_step raid_config target_raid_config",
    ),
    *_columns(
        Boolean(),
        "automated_clean maintenance protected retired console_enabled disable_power_off "
        "secure_boot",
    ),
    *_columns(
        _TIME,
        "provision_updated_at inspection_started_at inspection_finished_at agent_last_heartbeat "
        "created_at updated_at",
    ),
    *_columns(LargeBinary(), "driver_secrets agent_secret instance_secrets step_secrets"),
    Column("traits", ARRAY(Text())),
)

PORT = Table(
    "port",
    METADATA,
    Column("uuid", Uuid(), primary_key=True),
    *_columns(Uuid(), "node_uuid portgroup_uuid"),
    *_columns(Text(), "address physical_network name description vendor category"),
    *_columns(JSONB(), "extra internal_info local_link_connection"),
    *_columns(Boolean(), "pxe_enabled is_smartnic"),
    *_columns(_TIME, "created_at updated_at"),
)

PORTGROUP = Table(
    "portgroup",
    METADATA,
    Column("uuid", Uuid(), primary_key=True),
    *_columns(Uuid(), "node_uuid"),
    *_columns(Text(), "name address mode"),
    *_columns(JSONB(), "properties extra internal_info"),
    *_columns(Boolean(), "standalone_ports_supported"),
    *_columns(_TIME, "created_at updated_at"),
)

CHASSIS = Table(
    "chassis",
    METADATA,
    Column("uuid", Uuid(), primary_key=True),
    *_columns(Text(), "description"),
    *_columns(JSONB(), "extra"),
    *_columns(_TIME, "created_at updated_at"),
)

ALLOCATION = Table(
    "allocation",
    METADATA,
    Column("uuid", Uuid(), primary_key=True),
    *_columns(Uuid(), "node_uuid"),
    *_columns(Text(), "name state resource_class owner last_error"),
    Column("traits", ARRAY(Text())),
    Column("candidate_nodes", ARRAY(Uuid())),
    *_columns(JSONB(), "extra"),
    *_columns(_TIME, "created_at updated_at"),
)

DEPLOY_TEMPLATE = Table(
    "deploy_template",
    METADATA,
    Column("uuid", Uuid(), primary_key=True),
    *_columns(Text(), "name"),
    *_columns(JSONB(), "steps extra"),
    *_columns(_TIME, "created_at updated_at"),
)

RUNBOOK = Table(
    "runbook",
    METADATA,
    Column("uuid", Uuid(), primary_key=True),
    *_columns(Text(), "name owner"),
    *_columns(JSONB(), "steps extra"),
    *_columns(Boolean(), "disable_ramdisk public"),
    *_columns(_TIME, "created_at updated_at"),
)

WATCH: Final = Watch(
    fields=("provision_state", "power_state", "maintenance"),
    error="last_error",
    name="name",
    projects=("project", "owner", "lessee"),
)
"""What of a node the event log tells about, and who may see it."""

KINDS: Kinds = {
    KIND: TableSpec("node", "uuid", [column.name for column in NODE.columns], watch=WATCH)
}
"""What ``PgStore`` needs to know of nodes."""
