"""Projects, accounts, roles, tokens."""

from __future__ import annotations

from holdfast.store.pg.migrations import apply

revision = "0002_identity_pre"
down_revision = "0001_core_pre"
branch_labels = None
depends_on = None


def upgrade() -> None:
    apply("0002_identity_pre.sql")
