"""All services of a node: what is there, what is loaded, what answers; and how that changes."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, cast

import msgspec

from holdfast.errors import (
    ConflictError,
    HoldfastError,
    InvalidInputError,
    UnavailableError,
)
from holdfast.serving.errors import (
    LoadError,
    NotServingError,
    UnknownGenerationError,
    UnknownServiceError,
)
from holdfast.serving.generations.mapping import Entry, choose, point_of
from holdfast.serving.generations.mounted import Mounted, Mounter
from holdfast.serving.generations.state import Generation, ServiceState, StateFolder
from holdfast.serving.packages.manifest import NAME
from holdfast.serving.packages.opening import Opened
from holdfast.serving.packages.store import PackageStore

SERVICES_MAX: Final = 1000
GENERATIONS_MAX: Final = 1000


class Runtime:
    """One service as it runs. ``failure``: why what it should serve is not loaded."""

    def __init__(self, state: ServiceState) -> None:
        self.state = state
        self.mounted: dict[str, Mounted] = {}
        self.preloaded: set[str] = set()
        self.draining: set[Mounted] = set()
        self.lock = asyncio.Lock()
        self.failure = ""
        self.mapping: tuple[Entry, ...] = ()  # what is in effect; empty while disabled
        self.only: Mounted | None = None

    def take_effect(self, mapping: tuple[Entry, ...]) -> None:
        """The switch: from here on queries go by this mapping."""
        self.mapping = mapping
        self.only = self.mounted[mapping[0].generation] if len(mapping) == 1 else None

    def choose(self, dispatch: Any) -> Mounted:
        """Where a query goes. ``dispatch``: what the query says, or None."""
        said = cast("dict[str, Any]", dispatch) if isinstance(dispatch, dict) else {}
        told = said.get("forcedGeneration")
        if not self.mapping:
            raise NotServingError(self.why_not())
        if told is not None:
            found = self.mounted.get(told) if isinstance(told, str) else None
            if found is None:
                raise UnknownGenerationError(f"No generation {told!r} is loaded.")
            return found
        if self.only is not None:
            return self.only
        key = said.get("dispatchKey")
        point = random.random() if key is None else point_of(str(key))  # noqa: S311 - a dice
        return self.mounted[choose(self.mapping, point)]

    def why_not(self) -> str:
        if not self.state.enabled:
            return f"The service {self.state.id!r} is disabled: enable it, or switch."
        if not self.state.mapping:
            return f"The service {self.state.id!r} has no generation in use: switch to one."
        return f"The service {self.state.id!r} is not ready: {self.failure or 'it is loading'}"

    @property
    def ready(self) -> bool:
        """Whether all that queries may go to has a worker."""
        return bool(self.mapping) and all(
            self.mounted[entry.generation].pool.ready for entry in self.mapping
        )


class Registry:
    """The services. Changes of one service come one after the other."""

    def __init__(self, folder: Path, store: PackageStore, mounter: Mounter) -> None:
        self.services: dict[str, Runtime] = {}
        self.frozen = False  # while a successor reads what is on disk, nothing changes
        self.settled = False  # whether all that was there at the start is ready, or has failed
        self._files = StateFolder(folder)
        self._store = store
        self._mounter = mounter
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Load what was mapped when the node stopped; a failure is remembered, not raised."""
        for state in await asyncio.to_thread(self._files.read):
            self.services[state.id] = Runtime(state)
        await self.heal()
        self.settled = True

    async def heal(self) -> None:
        """Load what should answer and does not; what hindered it may have passed."""
        for runtime in list(self.services.values()):
            async with runtime.lock:
                state = runtime.state
                if not state.enabled or not state.mapping or runtime.mapping:
                    continue
                try:
                    await self._activate(runtime, state.mapping)
                except HoldfastError as error:
                    runtime.failure = error.message

    async def stop(self) -> None:
        """Drain every generation."""
        for runtime in self.services.values():
            for mounted in list(runtime.mounted.values()):
                self._retire(runtime, mounted)
        while self._tasks:
            await asyncio.wait(self._tasks)

    def close(self) -> None:
        """End all workers now."""
        for runtime in self.services.values():
            for mounted in (*runtime.mounted.values(), *runtime.draining):
                mounted.pool.close()

    def get(self, service: str) -> Runtime:
        """A service; raises ``UnknownServiceError``."""
        found = self.services.get(service)
        if found is None:
            raise UnknownServiceError(f"There is no service {service[:100]!r} on this node.")
        return found

    def queries(self) -> int:
        """How many are under way."""
        return sum(
            mounted.pool.size
            for runtime in self.services.values()
            for mounted in (*runtime.mounted.values(), *runtime.draining)
        )

    def _thaw(self) -> None:
        if self.frozen:
            raise UnavailableError("The node is being replaced by its successor: repeat it soon.")

    # ---- services and packages -----------------------------------------------------------------

    async def create(self, service: str) -> None:
        self._thaw()
        if not NAME.fullmatch(service):
            raise InvalidInputError("A service's name has letters, digits, '.', '_' and '-'.")
        if service in self.services:
            raise ConflictError(f"The service {service!r} is there already.")
        if len(self.services) >= SERVICES_MAX:
            raise ConflictError(f"A node has at most {SERVICES_MAX} services: delete one.")
        state = ServiceState(service)
        self.services[service] = Runtime(state)
        await asyncio.to_thread(self._files.write, state)

    async def delete(self, service: str) -> None:
        self._thaw()
        runtime = self.get(service)
        async with runtime.lock:
            if runtime.state.enabled and runtime.mapping:
                raise ConflictError(f"The service {service!r} is in use: disable it first.")
            del self.services[service]
            for mounted in list(runtime.mounted.values()):
                self._retire(runtime, mounted)
            await asyncio.to_thread(self._files.remove, service)

    async def import_archive(self, service: str, archive: Path) -> Generation:
        """Take a package in as a generation; the same one twice is one. Raises ``PackageError``."""
        self._thaw()
        runtime = self.get(service)
        async with runtime.lock:
            opened = await asyncio.to_thread(self._store.put, archive)
            generation = self._register(runtime, opened)
            await asyncio.to_thread(self._files.write, runtime.state)
        return generation

    def _register(self, runtime: Runtime, opened: Opened) -> Generation:
        state, manifest = runtime.state, opened.manifest
        if manifest.service.id != state.id:
            raise InvalidInputError(
                f"The package is of the service {manifest.service.id!r}, not of {state.id!r}."
            )
        known = state.find(manifest.generation)
        if known is not None:
            if known.digest != opened.digest:
                raise ConflictError(
                    f"Another package is generation {known.id!r} here: give this one another name."
                )
            return known
        if len(state.generations) >= GENERATIONS_MAX:
            raise ConflictError("The service has too many generations: clean those not in use.")
        newest = state.newest()
        made = Generation(
            id=manifest.generation,
            digest=opened.digest,
            created_ms=int(time.time() * 1000),
            number=newest.number + 1 if newest else 1,
        )
        runtime.state = msgspec.structs.replace(state, generations=(*state.generations, made))
        return made

    async def admit(self, service: str, keys: Mapping[str, str]) -> None:
        """Let these keys (SHA-256 -> name) query it, whatever the generation, from now on."""
        self._thaw()
        runtime = self.get(service)
        async with runtime.lock:
            state = msgspec.structs.replace(runtime.state, keys=dict(keys))
            await asyncio.to_thread(self._files.write, state)
            runtime.state = state
            for mounted in runtime.mounted.values():
                mounted.admit(keys)

    async def forget(self, service: str, generation: str) -> None:
        """Drop a generation and its package; raises ``ConflictError`` while it is in use."""
        self._thaw()
        runtime = self.get(service)
        async with runtime.lock:
            state = runtime.state
            if any(entry.generation == generation for entry in state.mapping):
                if state.enabled:
                    raise ConflictError(f"{service}/{generation} is in use: switch to another.")
                state = msgspec.structs.replace(state, mapping=())
            dropped = state.find(generation)
            kept = tuple(one for one in state.generations if one.id != generation)
            state = msgspec.structs.replace(state, generations=kept)
            await asyncio.to_thread(self._files.write, state)
            runtime.state = state
            if (mounted := runtime.mounted.get(generation)) is not None:
                self._retire(runtime, mounted)
        if dropped is not None and dropped.digest not in self._needed():
            await asyncio.to_thread(self._store.remove, dropped.digest)

    async def clean_unused(self) -> dict[str, list[str]]:
        """Forget disabled services, generations not in use, and packages that nobody needs."""
        self._thaw()
        services: list[str] = []
        generations: list[str] = []
        for name, runtime in list(self.services.items()):
            if not runtime.state.enabled:
                await self.delete(name)
                services.append(name)
                continue
            async with runtime.lock:
                used = {entry.generation for entry in runtime.state.mapping} | runtime.preloaded
                kept = tuple(one for one in runtime.state.generations if one.id in used)
                dropped = [one.id for one in runtime.state.generations if one.id not in used]
                if dropped:
                    runtime.state = msgspec.structs.replace(runtime.state, generations=kept)
                    await asyncio.to_thread(self._files.write, runtime.state)
                    generations += [f"{name}/{one}" for one in dropped]
        needed = self._needed()
        packages = [
            one for one in await asyncio.to_thread(self._store.digests) if one not in needed
        ]
        for digest in packages:
            await asyncio.to_thread(self._store.remove, digest)
        return {"services": services, "generations": generations, "packages": packages}

    def _needed(self) -> set[str]:
        return {
            generation.digest
            for runtime in self.services.values()
            for generation in (
                *runtime.state.generations,
                *(mounted.generation for mounted in runtime.mounted.values()),
                *(mounted.generation for mounted in runtime.draining),
            )
        }

    # ---- switching -----------------------------------------------------------------------------

    async def preload(self, service: str, generation: str) -> None:
        """Load a generation that does not answer yet; raises ``LoadError``."""
        runtime = self.get(service)
        async with runtime.lock:
            await self._mount(runtime, generation)
            if generation not in {entry.generation for entry in runtime.mapping}:
                runtime.preloaded.add(generation)

    async def switch(self, service: str, mapping: tuple[Entry, ...]) -> None:
        """Load what is missing, then let queries go by this mapping; enables the service.

        Raises ``LoadError``, ``UnknownGenerationError``; then all is as before.
        """
        runtime = self.get(service)
        async with runtime.lock:
            await self._activate(runtime, mapping)

    async def switch_to_newest(self, service: str) -> str:
        """Switch to what was imported last, and say which that is."""
        runtime = self.get(service)
        async with runtime.lock:
            newest = runtime.state.newest()
            if newest is None:
                raise UnknownGenerationError(f"The service {service!r} has no generation yet.")
            await self._activate(runtime, (Entry(newest.id, 1.0),))
            return newest.id

    async def enable(self, service: str) -> None:
        runtime = self.get(service)
        async with runtime.lock:
            if not runtime.state.mapping:
                raise ConflictError(f"The service {service!r} has no mapping: switch to one.")
            await self._activate(runtime, runtime.state.mapping)

    async def disable(self, service: str) -> None:
        """Answer no queries any more; what is under way ends."""
        self._thaw()
        runtime = self.get(service)
        async with runtime.lock:
            state = msgspec.structs.replace(runtime.state, enabled=False)
            await asyncio.to_thread(self._files.write, state)
            runtime.state = state
            runtime.take_effect(())
            for mounted in list(runtime.mounted.values()):
                self._retire(runtime, mounted)

    async def _activate(self, runtime: Runtime, mapping: tuple[Entry, ...]) -> None:
        self._thaw()
        before = set(runtime.mounted)
        wanted = [entry.generation for entry in mapping]
        try:
            for generation in wanted:
                await self._mount(runtime, generation)
            state = msgspec.structs.replace(runtime.state, enabled=True, mapping=mapping)
            await asyncio.to_thread(self._files.write, state)
        except BaseException:
            for generation in set(runtime.mounted) - before:
                self._retire(runtime, runtime.mounted[generation])
            raise
        runtime.state = state
        runtime.failure = ""
        runtime.preloaded -= set(wanted)
        runtime.take_effect(mapping)
        for generation, mounted in list(runtime.mounted.items()):
            if generation not in wanted and generation not in runtime.preloaded:
                self._retire(runtime, mounted)

    async def _mount(self, runtime: Runtime, generation: str) -> None:
        known = runtime.state.find(generation)
        if known is None:
            raise UnknownGenerationError(
                f"The service {runtime.state.id!r} has no generation {generation!r}."
            )
        there = runtime.mounted.get(generation)
        if there is not None and not there.pool.quarantined:
            return
        try:
            mounted = await self._mounter.mount(known)
        except LoadError:
            raise
        except OSError as error:
            raise LoadError(f"{generation} cannot be loaded: {error}.") from None
        if there is not None:
            self._retire(runtime, there)
        runtime.mounted[generation] = mounted
        mounted.admit(runtime.state.keys)
        if runtime.only is there and there is not None:
            runtime.only = mounted

    def _retire(self, runtime: Runtime, mounted: Mounted) -> None:
        runtime.mounted.pop(mounted.generation.id, None)
        runtime.preloaded.discard(mounted.generation.id)
        runtime.draining.add(mounted)

        async def drain() -> None:
            await mounted.pool.drain()
            runtime.draining.discard(mounted)

        task = asyncio.get_running_loop().create_task(drain())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
