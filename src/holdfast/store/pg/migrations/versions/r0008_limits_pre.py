"""Limits that queue: an index of the jobs that wait for their first start."""

from __future__ import annotations

from holdfast.store.pg.migrations import apply

revision = "0008_limits_pre"
down_revision = "0007_resources_pre"
branch_labels = None
depends_on = None


def upgrade() -> None:
    apply("0008_limits_pre.sql")
