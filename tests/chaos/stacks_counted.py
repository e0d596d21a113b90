"""Resource types of the tests: things that a server of the test keeps, and handlers that hang.

The engines load them as any stranger's plug-in (see ``plug_in``). Every call for a
``Test::Counted`` tells the provider which process makes it, in which run of a method, and when
that process last made sure that it may act.
"""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import aiohttp

from holdfast.stacks.hot.properties import PropertySchema
from holdfast.stacks.resource import (
    Attribute,
    Base,
    Change,
    Progress,
    Ready,
    ResourceContext,
    ResourceFailedError,
    Wait,
)

NAME: Final = "Test::Counted"
HANGS: Final = "Test::Hangs"
BLOCKS_S: Final = 60.0
URL: Final = "TEST_COUNTED_URL"
REFUSED: Final = 422


class ProviderAwayError(ResourceFailedError):
    """No answer: it may have been done. To be tried again."""

    code = "provider_away"
    transient = True


class _Calls:
    """What one run of one method asks of the provider."""

    def __init__(self, ctx: ResourceContext) -> None:
        self._ctx = ctx
        self._run = uuid4().hex
        self._address = f"{os.environ[URL]}/things/{ctx.key}"

    async def make(self, action: str, **said: Any) -> None:
        """One call. Raises if it is refused, or not answered."""
        body = {
            "action": action,
            "stack": self._ctx.stack.name,
            "name": self._ctx.row.name,
            "pid": os.getpid(),
            "run": self._run,
            # Before the guard: whoever is stopped in between must not pass it.
            "guarded_at": time.monotonic(),
            **said,
        }
        self._ctx.guard()
        try:
            async with _session().post(self._address, json=body) as answer:
                if answer.status == REFUSED:
                    raise ResourceFailedError(await answer.text())
                answer.raise_for_status()
        except (aiohttp.ClientError, TimeoutError) as fault:
            raise ProviderAwayError(f"the provider gave no answer: {fault!r}") from fault


_sessions: list[aiohttp.ClientSession] = []


def _session() -> aiohttp.ClientSession:
    """One for the process, which ends it."""
    if not _sessions:
        limits = aiohttp.TCPConnector(limit=0)
        _sessions.append(
            aiohttp.ClientSession(connector=limits, timeout=aiohttp.ClientTimeout(total=30))
        )
    return _sessions[0]


class Counted(Base):
    """Two calls make one: it is reserved, then built. Some take a rest in between."""

    name = NAME
    description = "A thing that its provider counts."

    @property
    def properties(self) -> dict[str, PropertySchema]:
        return {
            "value": PropertySchema("string", "What it says.", default="", update_allowed=True),
            "kind": PropertySchema("string", "What it is: another one for another.", default=""),
            "rest_s": PropertySchema(
                "number", "How long it rests half made.", default=0, update_allowed=True
            ),
            "after": PropertySchema("list", "What others say.", default=[], update_allowed=True),
        }

    @property
    def attributes(self) -> dict[str, Attribute]:
        return {"value": Attribute(description="What it says.")}

    async def create(self, ctx: ResourceContext) -> Progress:
        calls, value = _Calls(ctx), ctx.properties["value"]
        if not ctx.data.get("reserved"):
            await calls.make("reserve")
            if ctx.properties["rest_s"]:
                return Wait(seconds=ctx.properties["rest_s"], data={"reserved": True})
        await calls.make("create", value=value)
        return Ready(physical_id=ctx.key, attributes={"value": value})

    async def update(self, ctx: ResourceContext) -> Change:
        value = ctx.properties["value"]
        await _Calls(ctx).make("update", value=value)
        return Ready(attributes={"value": value})

    async def delete(self, ctx: ResourceContext) -> Progress:
        await _Calls(ctx).make("delete")
        return Ready()


class Hangs(Base):
    """What its handler does when it is created, and how badly that ends."""

    name = HANGS
    description = "Never gets done."

    @property
    def properties(self) -> dict[str, PropertySchema]:
        return {"how": PropertySchema("string", "waits, deaf, blocks or raises.", required=True)}

    async def create(self, ctx: ResourceContext) -> Progress:
        how = ctx.properties["how"]
        if how == "raises":
            raise KeyError("a bug of the plug-in")
        if how == "blocks":
            time.sleep(BLOCKS_S)  # that is the fault
            return Ready()
        while True:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                if how != "deaf":
                    raise


def types() -> dict[str, Base]:
    """What the entry point gives."""
    return {NAME: Counted(), HANGS: Hangs()}


def plug_in(folder: Path, root: Path) -> str:
    """Make an installed package of it; returns the PYTHONPATH under which it is found."""
    meta = folder / "counted-1.0.dist-info"
    meta.mkdir(parents=True)
    (meta / "METADATA").write_text("Metadata-Version: 2.1\nName: counted\nVersion: 1.0\n")
    (meta / "entry_points.txt").write_text(
        f"[holdfast.resource_types]\ncounted = {types.__module__}:{types.__name__}\n"
    )
    return f"{folder}{os.pathsep}{root}"
