"""The deployment's own secrets, and who knows which master key."""

from __future__ import annotations

from holdfast.store.pg.migrations import apply

revision = "0006_keys_pre"
down_revision = "0005_credentials_pre"
branch_labels = None
depends_on = None


def upgrade() -> None:
    apply("0006_keys_pre.sql")
