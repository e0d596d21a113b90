"""Software configurations and deployments."""

from __future__ import annotations

from holdfast.store.pg.migrations import apply

revision = "0013_software_configs_pre"
down_revision = "0012_stacks_pre"
branch_labels = None
depends_on = None


def upgrade() -> None:
    apply("0013_software_configs_pre.sql")
