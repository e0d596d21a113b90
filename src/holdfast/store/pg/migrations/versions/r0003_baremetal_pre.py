"""Nodes and ports."""

from __future__ import annotations

from holdfast.store.pg.migrations import apply

revision = "0003_baremetal_pre"
down_revision = "0002_identity_pre"
branch_labels = None
depends_on = None


def upgrade() -> None:
    apply("0003_baremetal_pre.sql")
