"""What the engine asks of the stacks' tables. Every method is one transaction.

Implemented by ``stacks.pgstore.PgStacks`` and ``sim.memstacks.MemStacks``. What a step of
a job changes is written with the step's end (``store.model.Write``), not here. Kinds of rows
for ``Write``: "stack", "stack_resource", "stack_event", with the field names of ``stacks.model``.

Errors: ``StoreUnavailableError`` as in ``store.port``.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol
from uuid import UUID

from holdfast.stacks.model import Resource, Source, Stack, View
from holdfast.store.model import Hold, Json


class StackStore(Protocol):
    """Reads for the engine, and the few writes that are not the end of a step."""

    async def stack(self, stack: UUID) -> Stack | None:
        """One stack, deleted ones included, until they are purged."""
        ...

    async def source(self, source: UUID) -> Source | None:
        """A source; immutable, so callers may keep it."""
        ...

    async def rows(self, stack: UUID) -> list[Resource]:
        """Every version of every resource of a stack, by (created_at, name)."""
        ...

    async def view(self, stack: UUID, row: UUID, names: Collection[str]) -> View | None:
        """What an operation needs, in one read; None when the stack is gone."""
        ...

    async def nested(self, resource: UUID) -> Stack | None:
        """The stack that is the body of a resource, if it has one that is not deleted."""
        ...

    async def converge(self, hold: Hold, job: UUID, stack: Stack, source: Source | None) -> Stack:
        """Write a nested stack's new traversal and enqueue its root job; returns the stack.

        The traversal is ``stack.traversal``; repeating it changes nothing and returns what is
        there. Fenced: raises ``FenceLostError`` unless ``hold`` still runs ``job``.
        Supersedes the stack's earlier traversals (``stop`` of what has not begun).
        """
        ...

    async def stop(self, stack: UUID, traversal: int, *, begun: bool) -> int:
        """Let traversals up to this one do nothing further, in nested stacks as well.

        Cancels jobs of these traversals that have not begun and wakes those that sleep;
        ``begun``: also cancels those that have. Returns how many jobs it touched.
        """
        ...

    async def trim_events(self, stack: UUID, keep: int) -> int:
        """Delete a stack's oldest events beyond ``keep``; returns how many."""
        ...

    async def count_resources(self, root: UUID) -> int:
        """Resources in a whole tree of stacks (the limit of X20)."""
        ...

    async def peer(self, stack: UUID, physical_id: str) -> Resource | None:
        """The resource of that physical id in the stack's project, of the stack itself first."""
        ...

    def columns(self, row: UUID, documents: dict[str, Json], *, secret: bool) -> dict[str, Json]:
        """A row's properties, attributes and data, all of them, as columns for ``Write``.

        ``secret``: sealed. What is read here comes back in clear either way.
        """
        ...

    async def signals(self, resource: UUID) -> Sequence[dict[str, object]]:
        """What was signalled to a resource, in order of arrival (``stack_signal``)."""
        ...
