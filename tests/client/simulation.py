"""The client's decisions on virtual time, with instances that queue, slow down, die and return."""

from __future__ import annotations

import heapq
import itertools
import random
from collections import deque
from collections.abc import Callable
from typing import Any

from holdfast.client.addresses import Address
from holdfast.client.course import Attempt, Course, Dispatch
from holdfast.client.instances import Instance
from holdfast.client.settings import Settings
from holdfast.errors import HoldfastError

WIRE_S = 0.0005


class World:
    """A clock and what is to happen."""

    def __init__(self, seed: int) -> None:
        self.now = 0.0
        self.chance = random.Random(seed)
        self._events: list[tuple[float, int, Callable[[], object]]] = []
        self._order = itertools.count()

    def at(self, when: float, what: Callable[[], object]) -> None:
        heapq.heappush(self._events, (max(when, self.now), next(self._order), what))

    def run(self, until: float) -> None:
        while self._events and self._events[0][0] <= until:
            self.now, _, what = heapq.heappop(self._events)
            what()
        self.now = until


class Server:
    """``workers`` queries at a time, each for about ``mean_s``; the rest waits, up to ``queue``."""

    def __init__(self, world: World, mean_s: float, workers: int = 2, queue: int = 10_000) -> None:
        self.world = world
        self.mean_s = mean_s
        self.alive = True
        self.asked = 0
        self.refused = 0
        self._workers = workers
        self._queue_max = queue
        self._waiting: deque[Callable[[int], None]] = deque()
        self._busy: set[Callable[[int], None]] = set()

    def ask(self, done: Callable[[int], None]) -> Callable[[], None]:
        """``done`` gets the status; 0 is a connection that ended. Gives what takes it back.

        As at a real node: what has begun goes on, what waits is forgotten.
        """
        self.asked += 1
        if len(self._waiting) >= self._queue_max:
            self.refused += 1
            self.world.at(self.world.now + WIRE_S, lambda: done(429))
            return lambda: None
        self._waiting.append(done)
        self._work()

        def take_back() -> None:
            if done in self._waiting:
                self._waiting.remove(done)

        return take_back

    def die(self) -> None:
        self.alive = False
        for done in [*self._busy, *self._waiting]:
            done(0)
        self._busy.clear()
        self._waiting.clear()

    def come_back(self) -> None:
        self.alive = True

    def _work(self) -> None:
        while self._waiting and len(self._busy) < self._workers:
            done = self._waiting.popleft()
            self._busy.add(done)
            spent_s = self.mean_s * self.world.chance.expovariate(1.0)
            self.world.at(self.world.now + spent_s, lambda done=done: self._finish(done))

    def _finish(self, done: Callable[[int], None]) -> None:
        if done in self._busy:
            self._busy.remove(done)
            done(200)
            self._work()


class Asker:
    """A query under way: does what its course says, as the real engines do."""

    def __init__(self, client: Client, hedged: bool) -> None:
        world = client.world
        self.client = client
        self.began = world.now
        self.over = False
        self.asked: list[Callable[[], None]] = []
        deadline = world.now + client.settings.deadline_s
        self.course = Course(client.dispatch, "q", world.now, deadline, hedged=hedged)
        self.step()

    def step(self) -> None:
        if self.over:
            return
        world = self.client.world
        while not self.over:
            try:
                told = self.course.next(world.now)
            except HoldfastError as error:
                self.end(error)
                return
            if not isinstance(told, Attempt):
                world.at(told, self.step)
                return
            self.send(told)

    def send(self, attempt: Attempt) -> None:
        world = self.client.world
        server = self.client.servers[attempt.instance.address]
        if server.alive:
            self.asked.append(server.ask(lambda status: self.done(attempt, status)))
        else:
            self.course.lost(attempt, "refused", world.now, sent=False)

    def done(self, attempt: Attempt, status: int) -> None:
        if self.over:
            return
        now = self.client.world.now
        if not status:
            self.course.lost(attempt, "lost", now, sent=True)
        elif self.course.answered(attempt, status, now, retry_after_s=0.0, leaving=False):
            self.end(None if status == 200 else HoldfastError(str(status)))
            return
        self.step()

    def end(self, error: HoldfastError | None) -> None:
        self.over = True
        for take_back in self.asked:
            take_back()
        now = self.client.world.now
        self.course.close(now)
        self.client.times.append(now - self.began)
        if error is not None:
            self.client.errors.append(error)


class Client:
    """Asks at random times."""

    def __init__(self, world: World, servers: list[Server], settings: Settings, **more: Any):
        self.world = world
        self.settings = settings
        self.hedged = more.get("hedged", True)
        self.round_robin = more.get("round_robin", False)
        self.times: list[float] = []
        self.errors: list[HoldfastError] = []
        self.dispatch = Dispatch(settings, world.chance)
        self.servers = {Address(False, f"n{n}", 80): one for n, one in enumerate(servers)}
        self.dispatch.instances.replace(self.servers)
        if self.round_robin:
            turns = itertools.cycle(self.dispatch.instances.all)
            self.dispatch.instances.choose = lambda *_: next(turns)  # type: ignore[method-assign]

    def ask(self) -> Asker:
        return Asker(self, self.hedged)

    def load(self, rate: float, seconds: float) -> int:
        """Queries at ``rate`` per second, for so long; how many."""
        when, count = self.world.now, 0
        while (when := when + self.world.chance.expovariate(rate)) < self.world.now + seconds:
            self.world.at(when, self.ask)
            count += 1
        return count

    def probing(self, seconds: float) -> None:
        """Probe every instance as the watch does."""
        period_s = self.settings.probe_s

        def probe(one: Instance) -> None:
            alive = self.servers[one.address].alive
            self.dispatch.instances.probed(one, "" if alive else "dead", self.world.now)

        for turn in range(int(seconds / period_s)):
            for one in self.dispatch.instances.all:
                when = self.world.now + turn * period_s
                self.world.at(when, lambda one=one: probe(one))

    def quantile(self, share: float) -> float:
        ordered = sorted(self.times)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
