"""The resource types that Holdfast brings, and those of plug-ins: what a template may name.

Owns: the types ``OS::Heat::*`` that need no cloud, ``OS::Ironic::Port``, ``Holdfast::*``, and the
    registry that joins them with the entry points of the group ``holdfast.resource_types``.
Never imports: ``stacks.jobs``, ``stacks.api``, a store; of ``baremetal`` only its service,
    of ``fleet`` not its agent.
Invariants:
    - a type is stateless: what an operation must remember is in ``Wait.data``;
    - whatever is called twice, or again after a crash, makes nothing twice;
    - nothing sleeps, and every effect comes right after ``ctx.guard()``;
    - a plug-in that is faulty is reported and left out; the others are there.
Proved by: ``tests/stacks/types``.

Ports that types use of ``ctx.call``, each optional; a type that needs one that is absent says so:

``baremetal``          ``baremetal.service.Baremetal``
``serving``            ``fleet.store.Fleet``: what API nodes shall serve
``caller``             ``types.callers.Callers``: whom a delegation stands for, asked anew each time
``orchestration_url``  str: the Orchestration API's address, with its version and no project
``region``             str: the region this deployment is

How to write a type: ``docs/adding-a-resource-type.md``; what there is:
``docs/what-resource-types-there-are.md``.
"""

from holdfast.stacks.types.nested import bodies
from holdfast.stacks.types.plugins import PluginFault, discovered, registry

__all__ = ["PluginFault", "bodies", "discovered", "registry"]
