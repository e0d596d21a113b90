"""Members, claims, jobs, routes."""

from __future__ import annotations

from holdfast.store.pg.migrations import apply

revision = "0001_core_pre"
down_revision = None
branch_labels = ("pre",)
depends_on = None


def upgrade() -> None:
    apply("0001_core_pre.sql")
