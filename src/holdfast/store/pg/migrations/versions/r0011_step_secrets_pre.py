"""Arguments of steps, sealed for as long as the job that runs them."""

from __future__ import annotations

from holdfast.store.pg.migrations import apply

revision = "0011_step_secrets_pre"
down_revision = "0010_instance_secrets_pre"
branch_labels = None
depends_on = None


def upgrade() -> None:
    apply("0011_step_secrets_pre.sql")
