"""The one core under every product: members, leases, ring, claims, jobs, drain, status.

Owns: who is alive (members, leases), who should own what (ring), who does own
what (claims), durable work (jobs) on owned objects (worker) and in queues (queue_worker),
the followers of the event log (events), and how long all of it is kept (retention).

Never imports: a product, ``bmc``, ``identity``, ``web``, ``ops``; it knows objects
only as documents behind ``store.port``.

State of one member, seen from itself::

    register -> trusting --(renewal late)--> distrusting --(renewed)--> trusting
                   |                              |
                   +----- renew answered "gone" --+--> lost (the process ends)

Invariants:
- A guarded effect happens only inside the trust window: time *before sending*
  the last successful renewal + lease - margin, on a clock that counts suspension.
- A shard has one owner, in the database; the ring is only a wish.
- Every write on behalf of an object carries a fence and happens only while the
  claim still has that owner and epoch; that of an unbound job, only while the job is
  still held by that member in that incarnation.
- A job's progress lives in the database only. Whatever way a step ends, the end
  is a durable state; no state needs its process to come back.

Proved by: ``tests/core``, ``tests/sim/test_world.py`` (all protocols under faults),
``tests/sim/test_known_bugs.py`` (that those tests can fail), ``tests/chaos``.
"""
