"""Serving: query nodes that never lose a query (Dataiku's API node, acceptance D1-D20).

Owns: packages, endpoints, generations, the API node; operating nodes from outside.

Never imports: anything of Holdfast but ``errors``. It could be taken out and run alone, and a
node needs nobody in order to answer: its packages are on its own disk (D2).

::

    client ~~HTTP~~> front (no user code) --frames over socket pairs--> worker (one generation)
                       |  generations: which one a query goes to             |  endpoints
                       |  pool: queue, batches, deadlines, retries           |  limits
                       +--spawn--> fork server (libraries loaded, no user code) --fork--^

A generation on a node::

    imported --preload--> loading --ready, tests passed--> mounted --switch--> mapped
        ^                    |                                ^                   |
        |                    +--failed: the old one goes on   +---- unmapped: drained, stopped
        +---- its files are on disk; a restart loads what was mapped

Invariants:
- The front runs no code and opens no model of a package; that happens in workers, which may be
  killed at any moment. A query whose worker dies is asked again of another.
- A generation gets queries only once it is loaded and its test queries passed; a query that was
  given to a generation ends there (D12, D13).
- Everything that can wait has a bound: bodies, queues, deadlines, connections, restarts.
- A node that drains goes on answering for as long as balancers need to notice (D17).
- A process that takes over from another accepts nothing before it serves all that the other does.

Proved by: ``tests/serving/test_node.py``, ``tests/e2e/serving/test_zero_loss.py``,
``tests/e2e/serving/test_in_place.py``,
``tests/serving/test_hostile_packages.py``, ``tests/serving/test_hostile_queries.py``,
``tests/compat/serving/test_dataikuapi.py``.
"""
