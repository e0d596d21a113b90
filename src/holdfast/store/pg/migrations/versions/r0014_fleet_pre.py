"""What API nodes shall serve, and what they do serve."""

from __future__ import annotations

from holdfast.store.pg.migrations import apply

revision = "0014_fleet_pre"
down_revision = "0013_software_configs_pre"
branch_labels = None
depends_on = None


def upgrade() -> None:
    apply("0014_fleet_pre.sql")
