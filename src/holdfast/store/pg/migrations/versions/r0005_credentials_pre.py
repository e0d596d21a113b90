"""Application credentials."""

from __future__ import annotations

from holdfast.store.pg.migrations import apply

revision = "0005_credentials_pre"
down_revision = "0004_events_pre"
branch_labels = None
depends_on = None


def upgrade() -> None:
    apply("0005_credentials_pre.sql")
