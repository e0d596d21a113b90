"""What a test query expects of its answer."""

from __future__ import annotations

from typing import Any, cast


def contains(answer: Any, part: Any) -> bool:
    """Whether an answer has a part: all members of objects, equal otherwise."""
    if isinstance(part, dict) and isinstance(answer, dict):
        whole = cast("dict[Any, Any]", answer)
        wanted = cast("dict[Any, Any]", part)
        return all(name in whole and contains(whole[name], value) for name, value in wanted.items())
    if isinstance(part, float) and isinstance(answer, int | float):
        return abs(answer - part) <= 1e-6 * max(1.0, abs(part))
    return bool(answer == part)
