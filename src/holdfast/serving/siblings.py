"""For the author's code: ask another endpoint of the same service and generation.

from holdfast.serving import siblings
siblings.ask("customers", {"data": {"id": 7}}, action="lookup")
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from holdfast.serving.errors import QueryError

if TYPE_CHECKING:
    from holdfast.serving.endpoints.base import Endpoint

_DEPTH_MAX: Final = 8


class _State:
    endpoints: Mapping[str, Endpoint] = {}
    depth = 0


def provide(endpoints: Mapping[str, Endpoint]) -> None:
    """Called by the worker, once."""
    _State.endpoints = endpoints


def ask(endpoint: str, query: dict[str, Any], action: str = "") -> Any:
    """The sibling's answer, within this worker; raises ``QueryError``.

    ``action`` is the last part of the path (its first one, if empty).
    """
    found = _State.endpoints.get(endpoint)
    if found is None:
        raise QueryError(f"The service has no endpoint {endpoint!r}.")
    if action and action not in found.actions:
        raise QueryError(f"The endpoint {endpoint!r} does {', '.join(found.actions)}.")
    if _State.depth >= _DEPTH_MAX:
        raise QueryError(f"Endpoints ask each other more than {_DEPTH_MAX} deep.")
    _State.depth += 1
    try:
        return found.answer(action or found.actions[0], query)
    finally:
        _State.depth -= 1
