"""A resource type that keeps an engine's place while it waits, as a call that is slow to answer.

What waits as it should (``Wait``) takes no place, so that one engine has any number of them in
hand; how work spreads over engines shows only with what does take one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

from holdfast.stacks.hot.properties import PropertySchema
from holdfast.stacks.resource import Base, Progress, Ready, ResourceContext, ResourceType

NAME = "Benchmark::Held"
_DISTRIBUTION = {
    "METADATA": "Metadata-Version: 2.1\nName: holdfast-benchmark\nVersion: 1\n",
    "entry_points.txt": f"[holdfast.resource_types]\nheld = {__name__}:types\n",
}


class Held(Base):
    """Asleep in its place for ``seconds``."""

    name = NAME
    description = "Takes a number of seconds, and a place of its engine as long; leaves a file."

    @property
    def properties(self) -> Mapping[str, PropertySchema]:
        return {
            "seconds": PropertySchema("number", "How long it takes.", required=True),
            "folder": PropertySchema("string", "Where its file is to be.", default=""),
        }

    async def create(self, ctx: ResourceContext) -> Progress:
        await asyncio.sleep(ctx.properties["seconds"])
        ctx.guard()
        if folder := ctx.properties["folder"]:
            (Path(folder) / ctx.key).touch()
        return Ready(physical_id=ctx.key)


def types() -> dict[str, ResourceType]:
    """For the entry point."""
    return {NAME: Held()}


def installed_in(folder: Path) -> str:
    """Register the type with whoever has the returned PYTHONPATH."""
    info = folder / "holdfast_benchmark-1.dist-info"
    info.mkdir(parents=True, exist_ok=True)
    for name, text in _DISTRIBUTION.items():
        (info / name).write_text(text)
    return f"{folder}:{Path(__file__).parents[1]}"
