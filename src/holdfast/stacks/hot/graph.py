"""The order of resources: each after all it requires, or the circle that prevents it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping

from holdfast.stacks.hot.errors import CircularDependencyError


def in_order(requires: Mapping[str, Iterable[str]]) -> list[str]:
    """All names, each after those it requires; otherwise in the order given. Linear time.

    Every required name must itself be a key.

    Raises: CircularDependencyError naming one circle.
    """
    missing = {name: len(set(needed)) for name, needed in requires.items()}
    waiting: dict[str, list[str]] = {name: [] for name in requires}
    for name, needed in requires.items():
        for one in set(needed):
            waiting[one].append(name)
    ready = deque(name for name, count in missing.items() if count == 0)
    ordered: list[str] = []
    while ready:
        name = ready.popleft()
        ordered.append(name)
        for other in waiting[name]:
            missing[other] -= 1
            if missing[other] == 0:
                ready.append(other)
    if len(ordered) < len(requires):
        circle = a_circle(requires, set(requires) - set(ordered))
        raise CircularDependencyError(
            f"Circular Dependency Found: {' -> '.join(circle)}", ("resources", circle[0])
        )
    return ordered


def a_circle(requires: Mapping[str, Iterable[str]], stuck: set[str]) -> list[str]:
    """One circle among names of which each requires another one of them."""
    places: dict[str, int] = {}
    path: list[str] = []
    name = min(stuck)
    while name not in places:
        places[name] = len(path)
        path.append(name)
        name = min(one for one in requires[name] if one in stuck)
    return [*path[places[name] :], name]
