"""Unbound jobs: queues, graphs, reservations."""

from __future__ import annotations

from holdfast.store.pg.migrations import apply

revision = "0009_queues_pre"
down_revision = "0008_limits_pre"
branch_labels = None
depends_on = None


def upgrade() -> None:
    apply("0009_queues_pre.sql")
