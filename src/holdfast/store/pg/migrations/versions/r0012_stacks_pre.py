"""Stacks, their sources, resources, events and signals, and delegations."""

from __future__ import annotations

from holdfast.store.pg.migrations import apply

revision = "0012_stacks_pre"
down_revision = "0011_step_secrets_pre"
branch_labels = None
depends_on = None


def upgrade() -> None:
    apply("0012_stacks_pre.sql")
