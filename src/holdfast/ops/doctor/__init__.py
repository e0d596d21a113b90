"""What ``holdfast doctor`` looks at, and what it advises.

Owns: findings about a host, its database, and the deployment they belong to.
Never imports: cli, sim.
Invariants: looking changes nothing, makes no file and waits for nobody for long; each
finding that is not well says what to do; one check that fails hides no other.
Proved by: tests/ops/doctor.
"""

from __future__ import annotations

from holdfast.ops.doctor.examination import examine, fix_epochs, fix_gateway
from holdfast.ops.doctor.finding import Finding, Level

__all__ = ["Finding", "Level", "examine", "fix_epochs", "fix_gateway"]
