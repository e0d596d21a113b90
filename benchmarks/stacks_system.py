"""An Orchestration API under the same work, whosever it is, and what the work cost there."""

from __future__ import annotations

import asyncio
import re
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import msgspec

from benchmarks.baremetal_api import RefusedError, tree_s
from benchmarks.stacks_held import installed_in
from benchmarks.stacks_shapes import Template
from benchmarks.unit_costs import children
from benchmarks.wire import Wire
from holdfast.cli.client import Cloud
from holdfast.cli.demo.stage import Stage
from holdfast.store.embedded import EmbeddedPostgres

LIMIT_S = 1800.0
LOOKS_S = (0.02, 0.05, 0.1)  # the last one for ever
MEGABYTES = 1024
# Statistics of a session are shown at the latest when it has been idle for ten seconds.
STATISTICS_S = 11.0
COMMITS = "select xact_commit from pg_stat_database where datname = current_database()"
WROTE = "select pg_snapshot_xmax(pg_current_snapshot())::text::bigint"
GENEROUS = {
    "HOLDFAST_STACKS__RESOURCES_PER_STACK_MAX": "100000",
    "HOLDFAST_STACKS__STACKS_PER_PROJECT_MAX": "100000",
    "HOLDFAST_STACKS__TEMPLATE_BYTES_MAX": "16777216",
    "HOLDFAST_API__PROCESSES": "1",
}


@dataclass
class Sample:
    """One action on one stack: seconds by the clock, of CPU by part, until it was accepted."""

    wall_s: float
    accepted_s: float
    cpu_s: dict[str, float]

    @property
    def all_cpu_s(self) -> float:
        return sum(self.cpu_s.values())


@dataclass
class Side:
    """One system. ``prefix``: the path of the project's stacks, without ``/stacks``."""

    name: str
    port: int
    prefix: str
    headers: Mapping[str, str]
    roots: Callable[[], Mapping[str, list[int]]]
    dsn: str
    samples: dict[str, list[Sample]] = field(default_factory=dict[str, list[Sample]])
    ids: dict[str, str] = field(default_factory=dict[str, str])  # by name
    looks: int = 0

    def __post_init__(self) -> None:
        self.wire = Wire(self.port, self.headers)

    async def create(
        self, what: str, name: str, template: Template, files: Mapping[str, Template] | None = None
    ) -> Sample:
        """Create a stack, and wait for it."""
        inner = {key: msgspec.json.encode(text).decode() for key, text in (files or {}).items()}
        body = {
            "stack_name": name,
            "template": template,
            "files": inner,
            "disable_rollback": True,
            "timeout_mins": 60,
        }
        return await self._measured(what, "CREATE", name, lambda: self._post(name, body))

    async def update(self, what: str, name: str, template: Template) -> Sample:
        """Give a stack another template, and wait for it."""
        body = {"template": template, "timeout_mins": 60}
        path = f"/stacks/{name}/{self.ids[name]}"
        return await self._measured(what, "UPDATE", name, lambda: self.ask("PUT", path, body))

    async def delete(self, what: str, name: str) -> Sample:
        """Delete a stack, and wait until it is gone."""
        path = f"/stacks/{name}/{self.ids[name]}"
        return await self._measured(what, "DELETE", name, lambda: self.ask("DELETE", path))

    async def ask(self, method: str, path: str, body: Any = None) -> bytes:
        """One request that must succeed."""
        status, answer = await self.wire.call(method, f"{self.prefix}{path}", body)
        if status >= 400:
            raise RefusedError(f"{self.name}: {method} {path}: {status} {answer[:500]!r}")
        return answer

    async def _post(self, name: str, body: Any) -> None:
        answer = await self.ask("POST", "/stacks", body)
        self.ids[name] = msgspec.json.decode(answer)["stack"]["id"]

    async def _measured(
        self, what: str, action: str, name: str, work: Callable[[], Awaitable[object]]
    ) -> Sample:
        before, began = self.spent_s(), time.perf_counter()
        await work()
        accepted_s = time.perf_counter() - began
        await self.settled(name, action)
        wall_s, after = time.perf_counter() - began, self.spent_s()
        spent = {part: after[part] - before[part] for part in after}
        sample = Sample(wall_s, accepted_s, spent)
        self.samples.setdefault(what, []).append(sample)
        print(
            f"{time.strftime('%H:%M:%S')} {self.name}: {what}: {wall_s:.2f} s, accepted after "
            f"{accepted_s:.3f} s, CPU { ({part: round(s, 2) for part, s in spent.items()}) }",
            flush=True,
        )
        return sample

    async def settled(self, name: str, action: str) -> None:
        """Return once the action is complete; raises if it failed."""
        pauses = iter(LOOKS_S)
        async with asyncio.timeout(LIMIT_S):
            while True:
                status, reason = await self.look(name)
                if status == f"{action}_COMPLETE":
                    return
                if status.endswith("_FAILED"):
                    raise RefusedError(f"{self.name}: {name}: {status}: {reason}")
                await asyncio.sleep(next(pauses, LOOKS_S[-1]))

    async def look(self, name: str) -> tuple[str, str]:
        """Status and reason of a stack, cheaply: of a list, which resolves no outputs."""
        self.looks += 1
        query = f"/stacks?show_deleted=true&id={self.ids[name]}"
        [stack] = msgspec.json.decode(await self.ask("GET", query))["stacks"]
        return stack["stack_status"], stack["stack_status_reason"]

    def spent_s(self) -> dict[str, float]:
        """CPU seconds so far of each part of the system."""
        return {part: sum(map(tree_s, pids)) for part, pids in self.roots().items()}

    async def commits(self) -> tuple[int, int]:
        """Transactions so far: all that were committed; those that wrote something."""
        connection: Any = await asyncpg.connect(self.dsn)
        try:
            return await connection.fetchval(COMMITS), await connection.fetchval(WROTE)
        finally:
            await connection.close()

    async def commits_of(self, work: Callable[[], Awaitable[object]]) -> tuple[float, float]:
        """Transactions of some work, without those of an idle system and of our looks."""
        idle_s = 10.0
        await asyncio.sleep(STATISTICS_S)
        first, began = await self.commits(), time.monotonic()
        await asyncio.sleep(idle_s + STATISTICS_S)
        second = await self.commits()
        rates = [(b - a) / (time.monotonic() - began) for a, b in zip(first, second, strict=True)]
        began = time.monotonic()
        await work()
        await asyncio.sleep(STATISTICS_S)
        third, took = await self.commits(), time.monotonic() - began
        found = [
            max(0.0, after - before - rate * took)
            for before, after, rate in zip(second, third, rates, strict=True)
        ]
        return found[0], found[1]

    def memory_mb(self, part: str) -> list[tuple[float, float]]:
        """Resident memory of each process that works for a part, now and at most.

        A first process with children only looks after them.
        """
        working = [pid for root in self.roots()[part] for pid in children(root) or [root]]
        return [_memory_mb(pid) for pid in working]

    def median(self, what: str, of: Callable[[Sample], float]) -> float:
        return statistics.median(map(of, self.samples[what]))


class Holdfast:
    """``holdfast up`` with some engines and nothing for bare metal."""

    side: Side

    def __init__(self, engines: int, settings: Mapping[str, str] | None = None) -> None:
        self._plugins = tempfile.TemporaryDirectory(prefix="holdfast-plugins-")
        path = installed_in(Path(self._plugins.name))
        given = {"HOLDFAST_ENGINE__PROCESSES": str(engines), "PYTHONPATH": path}
        self.stage = Stage(1, {**GENEROUS, **given, **(settings or {})})
        self.children: dict[str, int] = {}

    async def start(self) -> Side:
        """Up, and a token at hand."""
        cloud = await self.stage.start_system()
        self.children = await self.stage.children()
        token, project = await _token(cloud)
        postgres = EmbeddedPostgres.prepare(self.stage.folder / "data")
        self.side = Side(
            "Holdfast",
            self.stage.api_port,
            f"/orchestration/v1/{project}",
            {"X-Auth-Token": token},
            lambda: self._roots(postgres),
            postgres.dsn,
        )
        return self.side

    def _roots(self, postgres: EmbeddedPostgres) -> dict[str, list[int]]:
        pid = postgres.running_pid()
        parts: dict[str, list[int]] = {"database": [pid] if pid else []}
        for slot, child in self.children.items():
            role = slot.partition("-")[0]
            if role in ("api", "engine"):
                parts.setdefault(role, []).append(child)
        return parts

    async def close(self) -> None:
        self.side.wire.close()
        await self.stage.close(keep=False)
        self._plugins.cleanup()


def _memory_mb(pid: int) -> tuple[float, float]:
    text = Path(f"/proc/{pid}/status").read_text()
    found = {name: int(size) for name, size in re.findall(r"(VmRSS|VmHWM):\s+(\d+) kB", text)}
    return found["VmRSS"] / MEGABYTES, found["VmHWM"] / MEGABYTES


async def _token(cloud: Cloud) -> tuple[str, str]:
    """A token, and the project it is for."""
    auth = cloud.auth
    domain = {"id": auth.get("user_domain_id", "default")}
    user = {"name": auth["username"], "password": auth["password"], "domain": domain}
    body = {
        "auth": {
            "identity": {"methods": ["password"], "password": {"user": user}},
            "scope": {"project": {"name": auth["project_name"], "domain": domain}},
        }
    }
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{cloud.auth_url}/auth/tokens", json=body) as response,
    ):
        response.raise_for_status()
        document = await response.json()
        return response.headers["X-Subject-Token"], document["token"]["project"]["id"]
