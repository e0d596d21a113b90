"""A generation that is loaded: its workers, its keys, and what is counted of it."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from holdfast.serving.generations.state import Generation
from holdfast.serving.packages.manifest import LookupSpec, Service
from holdfast.serving.packages.manifest import Pool as PoolSpec
from holdfast.serving.packages.store import PackageStore
from holdfast.serving.pool.deriving import derive
from holdfast.serving.pool.pool import Pool
from holdfast.serving.pool.spawner import WORKERS_MAX, Spawner
from holdfast.serving.workers.frames import Derive, Limits, Load

# Upper bounds in seconds; the last is infinite.
BUCKETS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


class Counts:
    """Answers of one endpoint by status, and how long they took."""

    __slots__ = ("buckets", "statuses", "total_s")

    def __init__(self) -> None:
        self.statuses: dict[int, int] = {}
        self.buckets = [0] * (len(BUCKETS_S) + 1)
        self.total_s = 0.0

    def observe(self, status: int, spent_s: float) -> None:
        self.statuses[status] = self.statuses.get(status, 0) + 1
        self.total_s += spent_s
        at = 0
        for bound in BUCKETS_S:  # most answers are quick, so this is shorter than a bisection
            if spent_s <= bound:
                break
            at += 1
        self.buckets[at] += 1


class WorkerSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How workers are made. ``libraries`` are loaded once, in the fork server.

    Whatever packages ask for, a generation has at most ``generation_max`` workers, the node
    ``node_max`` (beyond one for each generation), and ``waiting_max`` queries wait for an endpoint.
    """

    limits: Limits = Limits()
    libraries: tuple[str, ...] = ("numpy", "sklearn", "skops.io", "onnxruntime", "pandas")
    allow_pickle: bool = False
    generation_max: int = 32
    node_max: int = WORKERS_MAX
    waiting_max: int = 1000


def bounded(asked: PoolSpec, settings: WorkerSettings) -> PoolSpec:
    """What a package asks for, as far as the node allows it."""
    ceil = min(asked.ceil, max(1, settings.generation_max))
    return msgspec.structs.replace(
        asked,
        floor=min(asked.floor, ceil),
        cruise=min(asked.cruise, ceil),
        ceil=ceil,
        queue=min(asked.queue, max(1, settings.waiting_max // ceil)),
    )


class Mounted:
    """One loaded generation of one service."""

    def __init__(self, generation: Generation, service: Service, pool: Pool) -> None:
        self.generation = generation
        self.service = service
        self.pool = pool
        self.timeout_s = service.pool.timeout_ms / 1000
        self.public = service.auth.public
        self.counts: dict[str, Counts] = {one.id: Counts() for one in service.endpoints}
        self.verified: dict[bytes, bytes] = {}  # the front's memory of who showed which key
        self.places = {
            one.id: _place(service.id, one.id, generation.id) for one in service.endpoints
        }
        self._keys = {key.sha256: key.id for key in service.auth.keys}
        self._admitted: dict[str, str] = {}

    def admit(self, keys: Mapping[str, str]) -> None:
        """Let these keys (SHA-256 -> name) query beside those of the package, and no others."""
        self._admitted = dict(keys)
        self.verified.clear()

    def key_id(self, key: str) -> str | None:
        """The name of a key that may query; looked up by digest, so no time tells of it."""
        digest = hashlib.sha256(key.encode()).hexdigest()
        return self._keys.get(digest) or self._admitted.get(digest)


def _place(service: str, endpoint: str, generation: str) -> bytes:
    """Members of a JSON object; names need no escapes."""
    text = f'"service":"{service}","endpoint":"{endpoint}","generation":"{generation}"'
    return text.encode()


class Mounter:
    """Loads generations from the store."""

    def __init__(
        self,
        store: PackageStore,
        spawner: Spawner,
        settings: WorkerSettings,
        connections: Mapping[str, str],
    ) -> None:
        self._store = store
        self._spawner = spawner
        self._settings = settings
        self._connections = dict(connections)

    async def mount(self, generation: Generation) -> Mounted:
        """Check its files, load it, run its tests; raises ``LoadError``, ``PackageError``."""
        manifest = await asyncio.to_thread(self._store.check, generation.digest)
        service = manifest.service
        trusted = await asyncio.to_thread(self._store.is_trusted, generation.digest)
        described = msgspec.json.encode(service)
        content = str(self._store.content(generation.digest))
        derived = ""
        if any(isinstance(spec, LookupSpec) for spec in service.endpoints):
            order = Derive(described, content, "", self._settings.limits)
            derived = str(await derive(self._spawner, order))
        told = Load(
            service=described,
            generation=generation.id,
            content=content,
            derived=derived,
            scratch="",
            allow_pickle=self._settings.allow_pickle and trusted,
            run_tests=True,
            connections=_wanted(service, self._connections),
            limits=self._settings.limits,
        )
        pool = Pool(
            f"{service.id}/{generation.id}",
            bounded(service.pool, self._settings),
            told,
            self._spawner,
        )
        await pool.start()
        return Mounted(generation, service, pool)


def _wanted(service: Service, connections: dict[str, str]) -> dict[str, str]:
    """Only the connections that the service names: a worker learns no other's password."""
    names: set[Any] = {getattr(spec, "connection", "") for spec in service.endpoints}
    return {name: url for name, url in connections.items() if name in names}
