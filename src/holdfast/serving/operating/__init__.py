"""Operating nodes from outside: their admin API's client, deployments, rolling upgrades.

Owns: the calls, the order of steps, gates, the file that an upgrade goes on from.

Never imports: anything that runs in a node (``front``, ``generations``, ``pool``, ``workers``).

One node of a rolling upgrade (acceptance D16-D20)::

    waiting --others alive?--> out --noticed, no query left--> restarting --ready--> started
        --package uploaded, loaded, tested--> active --gate--> back --errors watched--> done
    a step fails, or a gate: the package goes back to what it was everywhere, all stops

Invariants:
- Two nodes are never out at once: before and after one is taken out, all others are alive.
- What was done is on disk before the next step begins; each step may be done twice.
- What is new is judged by what it answers worse than what was there before, never by all errors.
- A node comes back only ready. One that is not stays out, and the report says so.

Proved by: ``tests/serving/operating/test_progress.py``, ``tests/serving/operating/test_gate.py``,
``tests/e2e/serving/test_rolling_upgrade.py``.
"""
