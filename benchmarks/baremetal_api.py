"""The same work asked of any Bare Metal API, and what it cost each process there.

``Side`` is one system under the load; its work is measured by the wall clock and, because the
machine may be busy with other things, by the CPU seconds of its own processes.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from itertools import chain, repeat
from typing import Any

import msgspec

from benchmarks.unit_costs import children, cpu_s
from benchmarks.wire import Wire, each

VERSION = "1.95"
AT_ONCE = 8
POLL_S = 0.1
LOOKS_S = (0.01, 0.02, 0.04, 0.08)  # then every POLL_S: a quick system is not made to wait
WAIT_S = 300.0
STEPS = (("manage", "manageable"), ("provide", "available"), ("active", "active"))


class RefusedError(Exception):
    """The API did not do what was asked."""


@dataclass
class Sample:
    """One stretch of work."""

    count: int
    wall_s: float
    cpu_s: dict[str, float]

    @property
    def rate(self) -> float:
        return self.count / self.wall_s

    def each_ms(self, *groups: str) -> float:
        """CPU milliseconds a piece, of these groups."""
        return sum(self.cpu_s[g] for g in groups or self.cpu_s) * 1000 / self.count


@dataclass
class Side:
    """One system. ``node``: the body that creates machine number n (None: any) under a name;
    ``mac``: that of its port. ``driver``: of these.
    """

    name: str
    port: int
    prefix: str
    headers: dict[str, str]
    roots: Callable[[], Mapping[str, list[int]]]
    node: Callable[[str, int | None], dict[str, Any]]
    mac: Callable[[int], str]
    driver: str
    samples: dict[str, list[Sample]] = field(default_factory=dict[str, list[Sample]])
    answer_bytes: dict[str, int] = field(default_factory=dict[str, int])

    def __post_init__(self) -> None:
        headers = {"X-OpenStack-Ironic-API-Version": VERSION, **self.headers}
        self.wires = [Wire(self.port, headers) for _ in range(AT_ONCE)]

    async def ask(self, wire: Wire, method: str, path: str, body: Any = None) -> bytes:
        """One request that must succeed."""
        status, answer = await wire.call(method, f"{self.prefix}/v1{path}", body)
        if status >= 400:
            raise RefusedError(f"{self.name}: {method} {path}: {status} {answer[:300]!r}")
        return answer

    async def create(self, wire: Wire, name: str, number: int | None = None) -> str:
        """Create a node, of a numbered machine with its port; returns its UUID."""
        document = self.node(name, number)
        uuid = msgspec.json.decode(await self.ask(wire, "POST", "/nodes", document))["uuid"]
        if number is not None:
            port = {"node_uuid": uuid, "address": self.mac(number)}
            await self.ask(wire, "POST", "/ports", port)
        return uuid

    async def state(self, wire: Wire, node: str) -> str:
        answer = await self.ask(wire, "GET", f"/nodes/{node}?fields=provision_state")
        return msgspec.json.decode(answer)["provision_state"]

    async def nodes(self, query: str) -> list[dict[str, Any]]:
        answer = await self.ask(self.wires[0], "GET", f"/nodes?{query}")
        return msgspec.json.decode(answer)["nodes"]

    async def provision(self, wire: Wire, node: str, verb: str) -> None:
        """Ask for a provision state, again while the node is locked by what went before."""
        async with asyncio.timeout(WAIT_S):
            while True:
                path = f"{self.prefix}/v1/nodes/{node}/states/provision"
                status, answer = await wire.call("PUT", path, {"target": verb})
                if status == 202:
                    return
                if status not in (409, 503):
                    raise RefusedError(f"{self.name}: {verb} {node}: {status} {answer[:300]!r}")
                await asyncio.sleep(POLL_S)

    async def lead(self, wire: Wire, node: str, until: str = "active") -> None:
        """From enrolled to active, each step asked for as soon as the one before is seen done."""
        for verb, wanted in STEPS:
            await self.provision(wire, node, verb)
            async with asyncio.timeout(WAIT_S):
                pauses_s = chain(LOOKS_S, repeat(POLL_S))
                while (state := await self.state(wire, node)) != wanted:
                    if state.endswith(("failed", "error")):
                        raise RefusedError(f"{self.name}: {node} became {state}")
                    await asyncio.sleep(next(pauses_s))
            if wanted == until:
                return

    def spent_s(self) -> dict[str, float]:
        """CPU seconds so far of each part of the system."""
        return {group: sum(map(tree_s, pids)) for group, pids in self.roots().items()}

    async def measured(self, what: str, count: int, work: Callable[[], Awaitable[object]]) -> None:
        """Do ``count`` pieces of work and keep what they cost."""
        before, began = self.spent_s(), time.perf_counter()
        await work()
        wall_s, after = time.perf_counter() - began, self.spent_s()
        spent = {group: after[group] - before[group] for group in after}
        self.samples.setdefault(what, []).append(Sample(count, wall_s, spent))

    async def gets(self, what: str, paths: list[str], at_once: int) -> None:
        """GET all these paths."""

        async def get(wire: Wire, path: str) -> None:
            self.answer_bytes[what] = len(await self.ask(wire, "GET", path))

        await get(self.wires[0], paths[0])
        await self.measured(what, len(paths), lambda: each(paths, self.wires[:at_once], get))

    async def creations(self, names: list[str]) -> None:
        """Create these nodes."""

        async def one(wire: Wire, name: str) -> None:
            await self.create(wire, name)

        await self.measured("create", len(names), lambda: each(names, self.wires, one))

    async def create_fake(self, wire: Wire, name: str) -> str:
        """Create a node of the driver that does nothing; returns its UUID."""
        document = {"name": name, "driver": "fake-hardware"}
        return msgspec.json.decode(await self.ask(wire, "POST", "/nodes", document))["uuid"]

    async def deployments(self, what: str, nodes: list[str]) -> None:
        """Lead these nodes from enrolled to active."""
        await self.measured(what, len(nodes), lambda: each(nodes, self.wires, self.lead))

    def close(self) -> None:
        for wire in self.wires:
            wire.close()

    def median(self, what: str, of: Callable[[Sample], float]) -> float:
        return statistics.median(map(of, self.samples[what]))


def tree_s(pid: int) -> float:
    """CPU seconds of a process and all below it, living or ended."""
    return cpu_s(pid, ended=True) + sum(map(tree_s, children(pid)))


async def power_state(side: Side, wire: Wire, node: str) -> str | None:
    """What the API says of it."""
    answer = await side.ask(wire, "GET", f"/nodes/{node}?fields=power_state")
    return msgspec.json.decode(answer)["power_state"]


async def switch_on(side: Side, nodes: list[str]) -> None:
    """See that these are on, and that nothing has them in hand."""

    async def one(wire: Wire, node: str) -> None:
        async with asyncio.timeout(WAIT_S):
            await wire.call(
                "PUT", f"{side.prefix}/v1/nodes/{node}/states/power", {"target": "power on"}
            )
            while await power_state(side, wire, node) != "power on":
                await asyncio.sleep(POLL_S)

    await each(nodes, side.wires, one)
