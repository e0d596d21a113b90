"""Pools: the workers of one generation, as the front sees them.

Owns: the queue, batches, deadlines, retries, how many workers there are, the fork server's line.

Never imports: ``endpoints``, ``generations``, ``front``; of ``workers`` the frames and limits.

Invariants:
- Every query that was taken is answered exactly once: by a worker, or by an error within a few
  times its endpoint's time-out.
- A query whose worker dies or is killed beside it is asked again, alone.
- A pool that drains takes nothing new, and stops its workers once all it took is answered.

Proved by: ``tests/serving/test_queue.py``, ``tests/e2e/serving/test_zero_loss.py``,
``tests/serving/test_hostile_queries.py``.
"""
