"""Secrets of instances, sealed; the time of every change of provision state."""

from __future__ import annotations

from holdfast.store.pg.migrations import apply

revision = "0010_instance_secrets_pre"
down_revision = "0009_queues_pre"
branch_labels = None
depends_on = None


def upgrade() -> None:
    apply("0010_instance_secrets_pre.sql")
