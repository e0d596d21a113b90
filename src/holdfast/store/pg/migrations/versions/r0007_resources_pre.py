"""Chassis, port groups, allocations, deploy templates, runbooks and inventories."""

from __future__ import annotations

from holdfast.store.pg.migrations import apply

revision = "0007_resources_pre"
down_revision = "0006_keys_pre"
branch_labels = None
depends_on = None


def upgrade() -> None:
    apply("0007_resources_pre.sql")
