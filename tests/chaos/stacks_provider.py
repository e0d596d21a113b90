"""The provider of ``Test::Counted``, outside Holdfast: it does, counts and journals.

And the verdict over its journal. It does a thing when the call arrives, answers after a while, and
now and then loses the answer; so whoever asks does not know, and has to ask again under its key.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final, TypeAlias

import msgspec
from aiohttp import web
from tests.chaos.stacks_counted import REFUSED

MADE: Final = ("reserve", "create", "update")


class Call(msgspec.Struct, kw_only=True):
    """One call. ``effect``: it changed something. ``t``, ``answered_at``: CLOCK_MONOTONIC.

    ``run``: which run of a method of the type made it; ``guarded_at``: when its process began
    to make sure that it may act.
    """

    t: float
    key: str
    action: str
    stack: str
    name: str
    pid: int
    run: str
    guarded_at: float
    value: str = ""
    effect: bool = False
    answered_at: float | None = None


class Thing(msgspec.Struct, kw_only=True):
    """What there is under a key. ``state``: reserved, there or gone."""

    stack: str
    name: str
    state: str = "reserved"
    value: str = ""


Wanted: TypeAlias = Mapping[tuple[str, str], str]
"""Stack and resource name -> value: what is to be there."""


class Provider:
    """The server. Use it as an asynchronous context manager."""

    def __init__(
        self, chance: random.Random, *, slow_s: tuple[float, float] = (0.02, 0.3), lossy: float = 0
    ) -> None:
        self.calls: list[Call] = []
        self.things: dict[str, Thing] = {}
        self.refused: set[str] = set()  # values that nothing may have
        self._chance = chance
        self.slow_s = slow_s
        self._lossy = lossy
        self.url = ""

    async def __aenter__(self) -> Provider:
        app = web.Application()
        app.router.add_post("/things/{key}", self._asked)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = site.name.replace(":0", f":{self._runner.addresses[0][1]}")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def _asked(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        call = msgspec.convert(
            {"t": time.monotonic(), "key": request.match_info["key"], **body}, Call
        )
        self.calls.append(call)
        if call.value in self.refused:
            call.answered_at = time.monotonic()
            return web.Response(status=REFUSED, text=f"nothing may be {call.value}")
        call.effect = self._do(call)
        await asyncio.sleep(self._chance.uniform(*self.slow_s))
        call.answered_at = time.monotonic()
        if self._chance.random() < self._lossy and request.transport is not None:
            request.transport.abort()
        return web.Response()

    def _do(self, call: Call) -> bool:
        """Idempotent by key. What is gone stays gone: its key is never used again."""
        thing = self.things.get(call.key)
        if thing is None:
            state = "gone" if call.action == "delete" else "reserved"
            thing = self.things[call.key] = Thing(stack=call.stack, name=call.name, state=state)
            if call.action != "create":
                return call.action == "reserve"
        before = (thing.state, thing.value)
        if thing.state == "gone":
            return False
        if call.action == "delete":
            thing.state = "gone"
        elif call.action != "reserve":
            thing.state, thing.value = "there", call.value
        return (thing.state, thing.value) != before

    # -- what there is -----------------------------------------------------------------------

    def there(self, stack: str | None = None) -> dict[tuple[str, str], str]:
        """Stack and name -> value of what is there and whole."""
        return {
            (thing.stack, thing.name): thing.value
            for thing in self.things.values()
            if thing.state == "there" and stack in (None, thing.stack)
        }

    def left(self, wanted: Wanted) -> list[str]:
        """What differs from what is wanted: missing, orphaned, twice or otherwise."""
        alive = [thing for thing in self.things.values() if thing.state != "gone"]
        counts = Counter((thing.stack, thing.name) for thing in alive)
        said = [f"{'.'.join(name)}: there {n} times" for name, n in counts.items() if n > 1]
        said += [f"{'.'.join(name)}: orphan" for name in counts if name not in wanted]
        there = self.there()
        said += [f"{'.'.join(name)}: missing" for name in wanted if name not in there]
        said += [
            f"{'.'.join(name)}: {there[name]!r} instead of {value!r}"
            for name, value in wanted.items()
            if name in there and there[name] != value
        ]
        return said


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What a journal shows. All but ``late`` break a promise.

    - ``again``: made again after it was gone, by somebody who had seen to it that he may.
    - ``twice``: created more than once under one key.
    - ``stale``: a run of a method went on after another one for the same thing had begun.
    - ``late``: the same, but whoever called had made sure before that: it was on its way.
    """

    calls: int
    created: Counter[tuple[str, str]]  # by stack and name, with how many keys
    deleted: Counter[tuple[str, str]]
    again: list[Call]
    twice: list[Call]
    stale: list[Call]
    late: int

    @property
    def broken(self) -> list[str]:
        return [
            f"{kind}: {call.action} of {call.stack}.{call.name} by process {call.pid}, "
            f"key {call.key}, run {call.run}, guarded at {call.guarded_at:.3f}, here {call.t:.3f}"
            for kind in ("again", "twice", "stale")
            for call in getattr(self, kind)
        ]


def judge(calls: Iterable[Call]) -> Verdict:
    """The verdict over a journal, in the order of arrival. Pure."""
    created: dict[str, Call] = {}
    deleted: dict[str, Call] = {}
    again, twice, stale, late, count = [], list[Call](), list[Call](), 0, 0
    runs: dict[str, dict[str, Call]] = {}  # by key: the first call of each run
    for call in calls:
        count += 1
        begun = runs.setdefault(call.key, {})
        first = begun.setdefault(call.run, call)
        # In the order in which they began, which need not be that of arrival.
        newer = [one.t for one in begun.values() if one.guarded_at > first.guarded_at]
        if newer and call.guarded_at > min(newer):
            stale.append(call)
        elif newer:
            late += 1
        if call.action in MADE and call.key in deleted and call.guarded_at > deleted[call.key].t:
            again.append(call)
        if call.effect and call.action == "create":
            if call.key in created:
                twice.append(call)
            created[call.key] = call
        if call.effect and call.action == "delete":
            deleted[call.key] = call
    return Verdict(
        calls=count,
        created=Counter((call.stack, call.name) for call in created.values()),
        deleted=Counter(
            (call.stack, call.name) for call in deleted.values() if call.key in created
        ),
        again=again,
        twice=twice,
        stale=stale,
        late=late,
    )


def takeovers(calls: Iterable[Call], pid: int, at: float) -> list[float]:
    """How long each thing that a process had in hand when it was lost waited for another one.

    Seconds from ``at`` to the first call for the same thing by another process; only what was
    being called for at that moment counts.
    """
    calls = list(calls)
    in_hand = {
        call.key
        for call in calls
        if call.pid == pid and call.t <= at and (call.answered_at is None or call.answered_at > at)
    }
    found: dict[str, float] = {}
    for call in calls:
        if call.key in in_hand and call.t > at and call.pid != pid:
            found.setdefault(call.key, call.t - at)
    return list(found.values())
