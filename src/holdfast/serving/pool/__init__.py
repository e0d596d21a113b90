"""Pools: the workers of one generation, as the front sees them.

Owns: the queue, batches, deadlines, retries, how many workers there are, the fork server's line,
what is watched of workers from outside (``watch``, ``scratch``), when they are left alone
(``quarantine``), what of their output is logged (``journal``).

Never imports: ``endpoints``, ``generations``, ``front``; of ``workers`` the frames, limits, and how
they speak.

Invariants:
- Every query that was taken is answered exactly once: by a worker, or by an error within a few
  times its endpoint's time-out.
- A query whose worker dies or is killed beside it is asked again, alone.
- A worker is killed for its endpoint's time-out, never for a client's own deadline; or for what
  it sends unasked.
- What endpoints there are, and what they do, the manifest says; of a worker's word an answer with a
  known status counts, to a query it was given. Whatever else it sends ends it.
- Every end of a worker that the pool did not ask for delays the next ones.
- What workers print holds up neither them nor the front, and is bounded in memory and in the log.
- A pool that drains takes nothing new, and stops its workers once all it took is answered.

Proved by: ``tests/serving/test_queue.py``, ``tests/serving/test_journal.py``,
``tests/serving/test_worker_logs.py``, ``tests/serving/test_quarantine.py``,
``tests/serving/test_worker_line.py``, ``tests/serving/test_forged_frames.py``,
``tests/e2e/serving/test_zero_loss.py``, ``tests/serving/test_hostile_queries.py``.
"""
