"""Stand-ins around a simulated machine: a clock moved by hand, a watcher, an Ironic API."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from random import Random
from uuid import UUID

import msgspec

from holdfast.sim.fleet.agent import ApiCall, ApiReply, Surroundings
from holdfast.sim.fleet.http import Request, Response
from holdfast.sim.fleet.journal import Journal, Line, read_lines
from holdfast.sim.fleet.machine import Machine
from holdfast.sim.fleet.settings import AgentSettings, Times

SECOND = (1.0, 1.0)
TIMES = Times(power_on_s=SECOND, power_off_s=SECOND, graceful_s=(5.0, 5.0), boot_s=(10.0, 10.0),
              step_s=(20.0, 20.0))  # fmt: skip
TOKEN = "t" * 32
NODE = "11111111-2222-4333-8444-555555555555"


class Planned:
    def __init__(self, at: float, order: int, callback: Callable[[], object]) -> None:
        self.at, self.order, self.callback, self.live = at, order, callback, True

    def cancel(self) -> None:
        self.live = False

    def __lt__(self, other: Planned) -> bool:
        return (self.at, self.order) < (other.at, other.order)


class ManualClock:
    """Time stands still until it is advanced; then every planned call happens at its time."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self._planned: list[Planned] = []
        self._order = 0

    def time(self) -> float:
        return self.now

    def call_later(self, delay: float, callback: Callable[[], object], /) -> Planned:
        self._order += 1
        planned = Planned(self.now + delay, self._order, callback)
        heapq.heappush(self._planned, planned)
        return planned

    def advance(self, seconds: float) -> None:
        until = self.now + seconds
        while self._planned and self._planned[0].at <= until:
            planned = heapq.heappop(self._planned)
            self.now = max(self.now, planned.at)
            if planned.live:
                planned.callback()
        self.now = until


class Watcher:
    def __init__(self) -> None:
        self.seen: list[str] = []

    def ramdisk_up(self, machine: Machine) -> None:
        self.seen.append("ramdisk up")

    def ramdisk_down(self, machine: Machine) -> None:
        self.seen.append("ramdisk down")

    def changed(self, machine: Machine, what: str, value: str) -> None:
        self.seen.append(f"{what} {value}".strip())


def make_machine(clock: ManualClock, watcher: Watcher | None = None, index: int = 0) -> Machine:
    return Machine(
        index,
        name=f"bmc-{index}",
        uuid=UUID(int=index + 1),
        mac=f"52:54:00:00:00:{index:02x}",
        times=TIMES,
        clock=clock,
        rng=Random(1),
        watcher=watcher or Watcher(),
    )


class IronicApi:
    """Answers an agent's calls by a table that tests change; remembers them."""

    def __init__(self) -> None:
        self.calls: list[ApiCall] = []
        self.version = "1.95"
        self.lookup = ApiReply(
            status=200,
            body=msgspec.json.encode(
                {
                    "node": {"uuid": NODE},
                    "config": {"heartbeat_timeout": 300, "agent_token": TOKEN},
                }
            ),
        )
        self.heartbeat = ApiReply(status=202)
        self.held: list[Callable[[], None]] | None = None  # a list: answers wait in it

    def __call__(self, call: ApiCall, on_reply: Callable[[ApiReply], None]) -> None:
        self.calls.append(call)
        if "/v1/lookup" in call.url:
            reply = self.lookup
        elif "/v1/heartbeat/" in call.url:
            reply = self.heartbeat
        elif self.version:
            body = msgspec.json.encode({"default_version": {"version": self.version}})
            reply = ApiReply(status=200, body=body)
        else:
            reply = ApiReply()
        if self.held is None:
            on_reply(reply)
        else:
            self.held.append(lambda: on_reply(reply))

    def of(self, path: str) -> list[ApiCall]:
        return [call for call in self.calls if path in call.url]


def surroundings(clock: ManualClock, caller: IronicApi, journal: Journal) -> Surroundings:
    return Surroundings(
        settings=AgentSettings(),
        times=TIMES,
        clock=clock,
        rng=Random(2),
        journal=journal,
        caller=caller,
    )


class Answers:
    """A ``reply`` that keeps what it was called with."""

    def __init__(self) -> None:
        self.all: list[Response | None] = []

    def __call__(self, response: Response | None) -> None:
        self.all.append(response)

    @property
    def only(self) -> Response:
        (response,) = self.all
        assert response is not None
        return response

    @property
    def document(self) -> dict:
        return msgspec.json.decode(self.only.body)


def request(method: str, target: str, body: object = None, **headers: str) -> Request:
    path, _, query = target.partition("?")
    content = b"" if body is None else msgspec.json.encode(body)
    return Request(
        method, path, query, {k.replace("_", "-"): v for k, v in headers.items()}, content
    )


def lines_of(journal: Journal) -> list[Line]:
    return [line for line in read_lines(journal.tail(10_000)) if line is not None]
