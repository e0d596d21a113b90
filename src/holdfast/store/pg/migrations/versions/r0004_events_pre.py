"""The event log."""

from __future__ import annotations

from holdfast.store.pg.migrations import apply

revision = "0004_events_pre"
down_revision = "0003_baremetal_pre"
branch_labels = None
depends_on = None


def upgrade() -> None:
    apply("0004_events_pre.sql")
