"""Durable handlers of bare metal: what conductors do to machines, step by step.

Owns: the jobs ``node.verify``, ``node.inspect``, ``node.clean``, ``node.adopt``,
``node.provide``, ``node.deploy``, ``node.undeploy``, ``node.power``,
``node.boot_device``, ``node.media`` and ``node.inject_nmi``, and how each ends on the node.

Never imports: ``baremetal.api``, the web layer, PostgreSQL. Handlers see a node as a
document and a machine through the gateway's port, so the simulator runs them as
they are.

Invariants:
- Every step converges: it observes, then asks for what is missing, in absolute
  terms. Begun twice, it does the same as once.
- The one thing that may not be done twice, a step of the ramdisk agent, is looked
  up in the agent's own list of commands before it is sent. (An NMI may be: the
  second one finds a machine that is writing its dump.)
- ``active`` and ``available`` (with cleaning on) need the agent's word; nodes that are
  adopted, or pretended (``fake-hardware``), have none to give it.

Proved by: ``tests/baremetal/test_jobs.py`` (a crash after each step, each step
twice, for every handler), ``tests/sim/test_world.py``, ``tests/chaos``.
"""

from holdfast.baremetal.jobs.handlers import handlers

__all__ = ["handlers"]
