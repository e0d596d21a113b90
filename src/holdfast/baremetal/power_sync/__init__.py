"""Power sync: what the BMCs say of the machines' power, once per interval, for all owned nodes.

Owns: when each BMC is asked (``schedule``), what an answer or a silence means for its
node (``verdict``), and the job ``node.restore_power`` (``restore``).

Never imports: ``baremetal.api``, ``baremetal.service``, the web layer, PostgreSQL. It runs
on ports, so the simulator runs it as it is.

::

    owned_objects -> Schedule -> Observer ~~gateway~~> BMC
                       ^             |
                       +- answered --+-> verdict -> patch_idle | submit(node.restore_power)

Invariants:
- A BMC is asked at most once per interval, at a moment of its own; how many are asked
  per second depends on how many nodes are owned, and on nothing else.
- A node with an active job is its job's alone; one in maintenance is left alone, unless
  power sync itself put it there.
- Only what was seen is overwritten, under the claim; ``last_error`` is never written.
- What power sync did not set it does not clear.

Proved by: ``tests/baremetal/power_sync``.
"""
