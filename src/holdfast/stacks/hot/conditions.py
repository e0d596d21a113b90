"""The ``conditions`` section: evaluated as they are asked for, once each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from holdfast.stacks.hot.errors import HotError, Path
from holdfast.stacks.hot.parsing import Parser, known_now
from holdfast.stacks.hot.scope import Unresolved

LABEL = "Condition validation error"
CHAIN_MAX = 64
"""Conditions that name conditions that name conditions: evaluated by recursion."""


class Conditions:
    """The truth of each condition. A condition on values that are not known yet holds."""

    def __init__(self, definitions: Mapping[str, Any]) -> None:
        self._definitions = definitions
        self._truths: dict[str, bool] = {}
        self._open: list[str] = []
        self.parser: Parser | None = None  # set once: the parser asks back for named conditions

    def holds(self, condition: Any, path: Path) -> bool:
        """The truth of a condition's name, or of what a condition function gave.

        Raises: HotError for a name that is not there, and for conditions in a circle.
        """
        if isinstance(condition, Unresolved):
            return True
        if isinstance(condition, bool):
            return condition
        if not isinstance(condition, str) or condition not in self._definitions:
            raise HotError(f'Invalid condition "{condition}"', path)
        if condition not in self._truths:
            self._truths[condition] = self._evaluated(condition)
        return self._truths[condition]

    def _evaluated(self, name: str) -> bool:
        path: Path = ("conditions", name)
        if name in self._open:
            raise HotError(f'Circular definition for condition "{name}"', path, label=LABEL)
        if self.parser is None or len(self._open) >= CHAIN_MAX:
            raise HotError(f"conditions build on one another over {CHAIN_MAX} deep", path)
        self._open.append(name)
        try:
            definition = self._definitions[name]
            value = known_now(self.parser.parse(definition, path), "A condition", path)
        finally:
            self._open.pop()
        if isinstance(value, Unresolved):
            return True
        if not isinstance(value, bool):
            raise HotError(
                f'The definition of condition "{name}" is invalid: {value!r:.200} is neither '
                "true nor false",
                path,
                label=LABEL,
            )
        return value

    def all(self) -> dict[str, bool]:
        """Every condition's truth."""
        return {name: self.holds(name, ("conditions", name)) for name in self._definitions}
