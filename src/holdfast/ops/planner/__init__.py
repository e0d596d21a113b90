"""How many of everything: the capacity planner of ``holdfast plan``.

Owns: pure functions from what a user has (``estate``) and what a piece of work costs
(``costs``, measured) to the processes, connections and disk it takes (``baremetal``, ``images``,
``stacks``, ``connections``).
Never imports: anything that does I/O but the reading of ``costs.toml``.
Invariants: every figure says in words how it was made; no cost is a guess in code: each
stands in ``costs.toml`` with where it comes from, and the user's own figure replaces it.
Proved by: tests/ops/planner.
"""
