"""Makes one node what it shall be: pulls, loads, switches, and says what became of it.

It acts on the whole state it was told last, never on a difference; what fails is tried again
later. Each package and each service has a task of its own, so that none waits for another.
"""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import Callable, Coroutine, Iterable
from pathlib import Path
from typing import Final
from uuid import UUID

import msgspec
import structlog

from holdfast.errors import ConflictError, HoldfastError
from holdfast.fleet.model import Actual, Generation, Pulled, Served, Service, Wanted
from holdfast.fleet.tally import Tally
from holdfast.serving.errors import FetchError, UnknownServiceError
from holdfast.serving.generations.mapping import Entry
from holdfast.serving.generations.mounted import Mounted
from holdfast.serving.generations.registry import Registry
from holdfast.serving.generations.runtime import Runtime
from holdfast.serving.generations.state import write_durably
from holdfast.serving.operating.baseline import Counts
from holdfast.serving.packages.fetch import fetch
from holdfast.serving.packages.opening import open_package
from holdfast.serving.settings import PackageSettings

log = structlog.get_logger(__name__)

AGAIN_S: Final = 15.0
"""How long after a failure the same is tried again."""

_FETCHES: Final = 3
_PAUSE_S: Final = 0.5
_FILE: Final = "fleet.json"


class Managed(msgspec.Struct, frozen=True):
    """What is on this node because the control plane wanted it; outlives the process."""

    generations: dict[UUID, Pulled] = {}
    services: dict[UUID, str] = {}


class Agent:
    """One node's. ``zone``: where it is; ``clock``: seconds that only grow."""

    def __init__(
        self,
        registry: Registry,
        packages: PackageSettings,
        data: Path,
        zone: str,
        clock: Callable[[], float],
    ) -> None:
        self._registry = registry
        self._packages = packages
        self._file = data / _FILE
        self._incoming = data / "incoming"
        self._zone = zone
        self._clock = clock
        self._managed = _read(self._file)
        self._errors: dict[tuple[UUID, UUID], tuple[str, float]] = {}  # since when
        self._tallies: dict[UUID, Tally] = {}
        self._tasks: dict[UUID, asyncio.Task[None]] = {}
        self._writing = asyncio.Lock()

    def look(self, wanted: Wanted, node: UUID) -> Actual:
        """Begin what is to be done and is not under way; gives how things are now."""
        services = {
            one.id: one
            for one in wanted.services
            if one.deleted_at is None and one.is_in(self._zone)
        }
        generations = {one.id: one for one in wanted.generations if one.deleted_at is None}
        for one in generations.values():
            if not self._has(one.id):
                self._begin(one.id, one.id, self._pull(one))
        for one in services.values():
            target = one.wanted_on(node)
            if not self._is_done(one, target) and target in self._managed.generations:
                self._begin(one.id, target, self._serve(one, target))
        for ident in set(self._managed.services) & {one.id for one in wanted.services}:
            if ident not in services:
                self._begin(ident, ident, self._withdraw(ident))
        for ident in set(self._managed.generations) & {one.id for one in wanted.generations}:
            if ident not in generations:  # what no row tells of stays
                self._begin(ident, ident, self._forget(ident))
        return Actual(
            generations={ident: self._pulled(ident) for ident in generations},
            services={
                **{i: Served(wanted=i) for i in self._managed.services if i not in services},
                **{one.id: self._served(one, one.wanted_on(node)) for one in services.values()},
            },
        )

    async def close(self) -> None:
        """Stop what is under way; what is served goes on."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def settled(self) -> None:
        """Wait for all that is under way now."""
        await asyncio.gather(*list(self._tasks.values()))

    # ---- how things are ------------------------------------------------------------------------

    def _pulled(self, ident: UUID) -> Pulled:
        if self._has(ident):
            return self._managed.generations[ident]
        return Pulled(error=self._errors.get((ident, ident), ("", 0.0))[0])

    def _has(self, ident: UUID) -> bool:
        pulled = self._managed.generations.get(ident)
        runtime = self._runtime(pulled.service) if pulled is not None else None
        return (
            pulled is not None
            and runtime is not None
            and runtime.state.find(pulled.generation) is not None
        )

    def _served(self, service: Service, target: UUID) -> Served:
        error = self._errors.get((service.id, target), ("", 0.0))[0]
        if not error and not self._has(target) and (reason := self._pulled(target).error):
            error = f"its package is not on this node: {reason}"
        runtime = self._runtime(service.name)
        mounted = runtime.only if runtime is not None else None
        if runtime is None or mounted is None:
            return Served(wanted=target, error=error)
        ident = self._row_of(service.name, mounted)
        tally = self._tallies.setdefault(service.id, Tally())
        tally.look(ident, _counts(mounted), self._clock())
        return Served(
            wanted=target,
            generation=ident,
            ready=runtime.ready,
            error=error,
            serving_s=self._clock() - tally.since_s,
            answers=tally.now.answers,
            errors=tally.now.errors,
            recent=tally.recent,
            before=tally.before,
        )

    def _row_of(self, service: str, mounted: Mounted) -> UUID | None:
        for ident, pulled in self._managed.generations.items():
            if (pulled.service, pulled.generation) == (service, mounted.generation.id):
                return ident
        return None

    def _is_done(self, service: Service, target: UUID) -> bool:
        pulled = self._managed.generations.get(target)
        runtime = self._runtime(service.name)
        if pulled is None or runtime is None or service.id not in self._managed.services:
            return False
        state = runtime.state
        return (
            state.enabled
            and state.mapping == (Entry(pulled.generation, 1.0),)
            and bool(runtime.mapping)
            and state.keys == service.keys
        )

    def _runtime(self, service: str) -> Runtime | None:
        return self._registry.services.get(service)

    # ---- what is done --------------------------------------------------------------------------

    def _begin(self, ident: UUID, target: UUID, work: Coroutine[None, None, None]) -> None:
        """Run it, unless something of this is under way, or the same failed just now."""
        failed = self._errors.get((ident, target))
        if ident in self._tasks or (failed and self._clock() - failed[1] < AGAIN_S):
            work.close()
            return

        async def run() -> None:
            try:
                await work
                self._errors = {key: v for key, v in self._errors.items() if key[0] != ident}
            except HoldfastError as error:
                self._errors[ident, target] = (error.message, self._clock())
            except Exception as error:
                log.exception("fleet.failed", of=str(ident))
                text = f"{type(error).__name__}: {error}"
                self._errors[ident, target] = (text, self._clock())
            finally:
                del self._tasks[ident]

        self._tasks[ident] = asyncio.get_running_loop().create_task(run())

    async def _pull(self, one: Generation) -> None:
        self._incoming.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self._incoming) as folder:
            path = Path(folder) / "package"
            await self._fetch(one, path)
            limits, trusted = self._packages.limits, self._packages.trusted_keys
            opened = await asyncio.to_thread(open_package, path, limits, trusted)
            name = opened.manifest.service.id
            with contextlib.suppress(ConflictError):
                await self._registry.create(name)
            made = await self._registry.import_archive(name, path)
        pulled = Pulled(service=name, generation=made.id)
        await self._keep(generations={**self._managed.generations, one.id: pulled})

    async def _fetch(self, one: Generation, path: Path) -> None:
        for left in range(_FETCHES - 1, -1, -1):
            try:
                await fetch(one.url, one.sha256, path, self._packages.fetch)
                return
            except FetchError:
                if not left:
                    raise
                await asyncio.sleep(_PAUSE_S)

    async def _serve(self, service: Service, target: UUID) -> None:
        pulled = self._managed.generations[target]
        if pulled.service != service.name:
            raise ConflictError(
                f"the package is of the service {pulled.service!r}, not of {service.name!r}"
            )
        await self._keep(services={**self._managed.services, service.id: service.name})
        await self._registry.admit(service.name, service.keys)
        await self._registry.switch(service.name, (Entry(pulled.generation, 1.0),))

    async def _withdraw(self, ident: UUID) -> None:
        name = self._managed.services[ident]
        if name not in {n for i, n in self._managed.services.items() if i != ident}:
            await self._remove(name, self._imported(name))
        services = {i: n for i, n in self._managed.services.items() if i != ident}
        self._tallies.pop(ident, None)
        await self._keep(services=services)

    async def _remove(self, name: str, imported: Iterable[str]) -> None:
        """Serve it no more; packages that are still wanted stay."""
        with contextlib.suppress(UnknownServiceError):
            await self._registry.disable(name)
            if not set(imported):
                await self._registry.delete(name)

    def _imported(self, service: str) -> set[str]:
        kept = self._managed.generations.values()
        return {pulled.generation for pulled in kept if pulled.service == service}

    async def _forget(self, ident: UUID) -> None:
        pulled = self._managed.generations[ident]
        kept = {i: p for i, p in self._managed.generations.items() if i != ident}
        if pulled not in kept.values():
            with contextlib.suppress(UnknownServiceError):
                await self._registry.forget(pulled.service, pulled.generation)
                runtime = self._registry.get(pulled.service)
                if not runtime.state.generations and not runtime.state.enabled:
                    await self._registry.delete(pulled.service)
        await self._keep(generations=kept)

    async def _keep(
        self,
        generations: dict[UUID, Pulled] | None = None,
        services: dict[UUID, str] | None = None,
    ) -> None:
        now = self._managed
        self._managed = Managed(
            now.generations if generations is None else generations,
            now.services if services is None else services,
        )
        async with self._writing:
            data = msgspec.json.encode(self._managed)
            await asyncio.to_thread(write_durably, self._file, data)


def _counts(mounted: Mounted) -> Counts:
    counts = list(mounted.counts.values())
    return Counts(
        answers=sum(sum(one.statuses.values()) for one in counts),
        errors=sum(n for one in counts for status, n in one.statuses.items() if status >= 500),
    )


def _read(file: Path) -> Managed:
    """What was kept; a file that cannot be read is as none: all is pulled again."""
    with contextlib.suppress(OSError, msgspec.DecodeError):
        return msgspec.json.decode(file.read_bytes(), type=Managed)
    return Managed()
