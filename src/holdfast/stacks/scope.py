"""What resources are at this moment, as templates see them: references and attributes.

Most attributes are stored with the resource. Those that a type computes (a group's, from
its body) are asked for before a value is resolved, since resolving never waits.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from holdfast.stacks.hot.scope import UNRESOLVED, Ref, Unresolved, select
from holdfast.stacks.model import Resource
from holdfast.stacks.resource import ResourceType
from holdfast.store.model import Json

Path: TypeAlias = tuple[str | int, ...]
Ask: TypeAlias = Callable[[Resource, ResourceType, Sequence[Json]], Awaitable[Json]]
"""``ResourceType.attribute`` of a row, in a context made for it; raises ``LookupError``."""


class RowScope:
    """``hot.Scope`` over rows by name. Made by ``scope_of``."""

    def __init__(
        self,
        rows: Mapping[str, Resource],
        types: Mapping[str, ResourceType],
        computed: Mapping[tuple[str, Path], Json],
    ) -> None:
        self._rows = rows
        self._types = types
        self._computed = computed

    def reference(self, name: str) -> str | Unresolved:
        row = self._rows.get(name)
        if row is None or not row.exists:
            return UNRESOLVED
        return self._types[name].reference(row)

    def attribute(self, name: str, path: Path) -> Any:
        row = self._rows.get(name)
        if row is None or not row.exists:
            return UNRESOLVED
        if not path:
            return dict(row.attributes)
        if path[0] in row.attributes:
            return select(row.attributes[str(path[0])], path[1:])
        return self._computed.get((name, path))


async def scope_of(
    refs: Iterable[Ref],
    rows: Mapping[str, Resource],
    types: Mapping[str, ResourceType],
    ask: Ask,
) -> RowScope:
    """The scope for values with these references. ``types``: of every name in ``rows``.

    An attribute that its type does not know is null, as Heat has it.
    """
    computed: dict[tuple[str, Path], Json] = {}
    for ref in refs:
        row = rows.get(ref.resource)
        if row is None or not row.exists or not ref.path:
            continue
        key = (ref.resource, ref.path)
        if key in computed or ref.path[0] in row.attributes:
            continue
        try:
            computed[key] = await ask(row, types[ref.resource], ref.path)
        except LookupError:
            computed[key] = None
    return RowScope(rows, types, computed)
