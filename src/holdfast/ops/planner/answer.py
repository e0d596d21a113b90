"""What the planner answers: figures that explain themselves, limits, and warnings."""

from __future__ import annotations

import msgspec

from holdfast.ops.planner.connections import Processes


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """One number of the plan. ``how``: the formula in words, with the numbers it was made of."""

    name: str
    value: float
    unit: str
    how: str


class Limit(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that may run out: how many processes it asks for, before any are added for HA."""

    role: str  # conductor | gateway | engine | api
    what: str
    needs: float
    how: str


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """The whole answer. ``limiting``: per role, what asks for the most of it.

    ``processes``: those of this part that have connections to the database.
    """

    figures: list[Figure]
    limits: list[Limit]
    limiting: dict[str, str]
    processes: Processes
    warnings: list[str]
    notes: list[str]

    def figure(self, name: str) -> Figure:
        """A figure by its name; ``KeyError`` if there is none."""
        for figure in self.figures:
            if figure.name == name:
                return figure
        raise KeyError(name)


def number(value: float) -> str:
    """A number for people: no more digits than mean something."""
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:,.1f}" if abs(value) >= 100 else f"{value:.3g}"
