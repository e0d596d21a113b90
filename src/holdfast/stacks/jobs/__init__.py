"""The durable jobs of stacks: what engines run.

Owns: the three kinds of jobs that make a stack what its template says.
    ``stack.round``     plans a phase of a traversal and enqueues its operations, the next
                        phase behind them.
    ``stack.resource``  one operation on one resource (``stack.sequence``: all of a phase, in
                        line, for a stack without convergence).
    ``stack.settle``    says how a traversal ended, begins a rollback, tells who waits for it.
Never imports: the API, PostgreSQL, any resource type by name.
Invariants:
    - a traversal's jobs are one family, whose head has the stack reserved: what came before
      has ended when it begins;
    - what an operation did and that it ended are one transaction; whatever is done again has
      the same key, finds what is there and makes nothing twice;
    - nothing of a resource whose row says ``INIT`` exists anywhere;
    - a stack leaves IN_PROGRESS: operations end at its deadline, and then it is settled.
Proved by: ``tests/stacks/test_convergence.py``, ``tests/stacks/test_random_stacks.py``.
"""

from __future__ import annotations

from holdfast.core.jobs import Handler
from holdfast.stacks.jobs.operations import ResourceHandler
from holdfast.stacks.jobs.rounds import RoundHandler
from holdfast.stacks.jobs.sequences import SequenceHandler
from holdfast.stacks.jobs.settling import SettleHandler
from holdfast.stacks.parts import Parts


def handlers(parts: Parts) -> dict[str, Handler]:
    """Every kind of job that an engine runs, by kind."""
    made: list[Handler] = [
        RoundHandler(parts),
        ResourceHandler(parts),
        SequenceHandler(parts),
        SettleHandler(parts),
    ]
    return {handler.kind: handler for handler in made}
