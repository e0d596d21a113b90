"""``make chaos``: many stacks change all the time, under a fault a second, for as long as is said.

At rest the provider has exactly what the templates say, and after the deletions nothing.
"""

from __future__ import annotations

import asyncio
import copy
import os
import random
import time
from collections import Counter

import pytest
from tests.chaos.client import Client, History
from tests.chaos.processes import say
from tests.chaos.run import CARDS, background, seed_of_today
from tests.chaos.stacks_cluster import Engines, StackCluster
from tests.chaos.stacks_faults import EngineFaults
from tests.chaos.stacks_provider import Provider, Verdict, judge
from tests.chaos.stacks_run import shares, waits_of
from tests.chaos.stacks_user import Template, User, random_graph, wanted_of

pytestmark = pytest.mark.chaos

DURATION_S = float(os.environ.get("HOLDFAST_TEST_CHAOS_S") or 0)
STACKS = 8
REST_S = 180.0
REFUSED = "refused"
OTHERS_EVERY_S = 30.0


class Life:
    """One stack, from its creation to its deletion, and again."""

    def __init__(self, name: str, user: User, chance: random.Random) -> None:
        self.name = name
        self.template: Template = {}
        self.asked: Counter[str] = Counter()
        self._user = user
        self._chance = chance

    async def live(self, end: float) -> None:
        """Until ``end``; then it is what ``template`` says."""
        await self._create()
        while time.monotonic() < end:
            if self._chance.random() < 0.6:
                await self._user.settled(self.name, REST_S)
            else:  # the next one supersedes it
                await asyncio.sleep(self._chance.uniform(0, 2))
            await self._something()
        await self._user.settled(self.name, REST_S)
        if await self._user.show(self.name) is None:
            await self._create()
        self.template = self._changed()
        await self._user.update(self.name, self.template)
        shown = await self._user.settled(self.name, REST_S)
        assert shown is not None
        assert shown.status == "UPDATE_COMPLETE", shown

    async def _create(self) -> None:
        self.asked["create"] += 1
        self.template = random_graph(self._chance, self._chance.randint(15, 40))
        await self._user.create(self.name, self.template)

    async def _something(self) -> None:
        shown = await self._user.show(self.name)
        if shown is None:
            return await self._create()
        if shown.status == "DELETE_IN_PROGRESS":
            return None
        what = self._chance.choices(
            ["update", "refused", "cancel", "delete"], weights=[60, 20, 10, 10]
        )[0]
        self.asked[what] += 1
        if what == "delete":
            return await self._user.delete(self.name)
        if what == "cancel":
            await self._user.cancel(self.name, "cancel_update")
            return None
        fresh = self._changed()
        if what == "refused":
            victim = self._chance.choice(sorted(fresh["resources"]))
            fresh["resources"][victim]["properties"]["value"] = REFUSED
        self.template = self.template if what == "refused" else fresh
        return await self._user.update(self.name, fresh, disable_rollback=False)

    def _changed(self) -> Template:
        """Some say something else, some are another kind (replaced), some come, some go."""
        template = copy.deepcopy(self.template)
        resources = template["resources"]
        for name, one in resources.items():
            if self._chance.random() < 0.2:
                one["properties"]["value"] = f"{name} {self._chance.random():.6f}"
            if self._chance.random() < 0.1:
                one["properties"]["kind"] = f"{self._chance.randint(0, 99)}"
        last = max(resources)  # nobody comes after it
        if len(resources) > 10 and self._chance.random() < 0.5:
            del resources[last]
        else:
            before = {"depends_on": [last]}
            added = f"r{int(last[1:]) + 1:03}"
            resources[added] = {**resources[last], **before}
            resources[added]["properties"] = {"value": f"{added} came"}
        return template


@pytest.mark.skipif(not DURATION_S, reason="set HOLDFAST_TEST_CHAOS_S (make chaos does)")
def test_at_rest_reality_is_what_the_templates_say_however_long_it_goes_on():
    seed = seed_of_today()
    say(f"seed {seed}")
    verdict, left, behind = asyncio.run(many_stacks(seed, DURATION_S / 4))
    assert verdict.broken == []
    assert left == []
    assert behind == []


async def many_stacks(seed: int, duration_s: float) -> tuple[Verdict, list[str], list[str]]:
    """What the provider shows at rest, and once all is deleted."""
    chance, history = random.Random(seed), History()
    async with (
        Provider(chance, slow_s=(0.02, 0.3), lossy=0.02) as provider,
        StackCluster(Engines(broker=True), provider) as cluster,
        Client(cluster.cloud(), history) as client,
    ):
        provider.refused.add(REFUSED)
        user, faults = User(client), EngineFaults(cluster, chance)
        await user.log_in()
        end = time.monotonic() + duration_s
        lives = [Life(f"s{n}", user, random.Random(seed + n)) for n in range(STACKS)]
        async with background(faults.every_second(), _others(faults)):
            await asyncio.gather(*(life.live(end) for life in lives))
        wanted = {
            name: value
            for life in lives
            for name, value in wanted_of(life.name, life.template).items()
        }
        left = provider.left(wanted)
        for life in lives:
            await user.delete(life.name)
        for life in lives:
            await user.settled(life.name, REST_S)
        verdict, behind = judge(provider.calls), provider.left({})
        asked = sum((life.asked for life in lives), Counter[str]())
        rows = [
            f"seed             {seed}",
            f"asked            {dict(asked)}",
            f"faults           {dict(Counter(loss.kind for loss in faults.losses))}, "
            f"{len(faults.others)} of the database and the broker",
            f"things           {verdict.created.total()} made, {verdict.deleted.total()} dropped",
            f"calls            {verdict.calls}, {verdict.late} late",
            *(f"taken over       {line}" for line in shares(waits_of(provider, faults.losses))),
        ]
        say("\n".join(rows))
        CARDS.append("\n".join(rows))
        assert history.internal_errors() == []
        return verdict, left, behind


async def _others(faults: EngineFaults) -> None:
    """For ever: the database and the broker, in turn."""
    while True:
        await asyncio.sleep(OTHERS_EVERY_S)
        await faults.restart_database()
        await asyncio.sleep(OTHERS_EVERY_S)
        await faults.restart_broker()
