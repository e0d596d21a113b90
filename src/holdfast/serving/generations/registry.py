"""All services of a node: what is there, what is loaded, what answers; and how that changes."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Coroutine, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import msgspec

from holdfast.errors import (
    ConflictError,
    HoldfastError,
    InvalidInputError,
    UnavailableError,
)
from holdfast.serving.errors import (
    LoadError,
    PackageError,
    UnknownGenerationError,
    UnknownServiceError,
)
from holdfast.serving.generations.mapping import Entry
from holdfast.serving.generations.mounted import Mounted, Mounter
from holdfast.serving.generations.runtime import Runtime
from holdfast.serving.generations.state import (
    Generation,
    ServiceState,
    StateFolder,
    disk_errors,
    registered,
)
from holdfast.serving.generations.unused import is_unused, unused_generations
from holdfast.serving.handover import Loaded
from holdfast.serving.packages.manifest import NAME
from holdfast.serving.packages.store import PackageStore

SERVICES_MAX: Final = 1000
_LOADS_TOGETHER: Final = 4
_TURN_S: Final = 10.0  # a load that takes longer lets the next begin beside it


class Registry:
    """The services. Changes of one service come one after the other."""

    def __init__(self, folder: Path, store: PackageStore, mounter: Mounter) -> None:
        self.services: dict[str, Runtime] = {}
        self.settled = False  # whether all that was there at the start is ready, or has failed
        self.changes = 0  # how often something was written to the disk
        self._frozen = False
        self._files = StateFolder(folder)
        self._store = store
        self._mounter = mounter
        self._tasks: set[asyncio.Task[None]] = set()
        self._disk = asyncio.Lock()  # one file after the other
        self._packages = asyncio.Lock()  # no package goes while one is taken in
        self._turns = asyncio.Semaphore(_LOADS_TOGETHER)

    # ---- life ----------------------------------------------------------------------------------

    async def start(self) -> None:
        """Load what was mapped when the node stopped; a failure is remembered, not raised."""
        await self.follow()
        self.settled = True

    async def follow(self) -> None:
        """Be what the disk says now, and load that; for a successor, which changes nothing yet."""
        states = {one.id: one for one in await asyncio.to_thread(self._files.read)}
        for name in set(self.services) - set(states):
            self._drop(self.services.pop(name))
        for state in states.values():
            runtime = self.services.setdefault(state.id, Runtime(state))
            if runtime.state != state:
                self._adopt(runtime, state)
        self.heal()
        healing = [one.healing for one in self.services.values() if one.healing is not None]
        await asyncio.gather(*healing)

    def _adopt(self, runtime: Runtime, state: ServiceState) -> None:
        runtime.state = state
        for mounted in runtime.mounted.values():
            mounted.admit(state.keys)
        if not state.enabled or state.mapping != runtime.mapping:
            self._drop(runtime)

    def _drop(self, runtime: Runtime) -> None:
        runtime.break_off()
        runtime.take_effect(())
        for mounted in list(runtime.mounted.values()):
            self._retire(runtime, mounted)

    def heal(self) -> None:
        """Begin to load what should answer and does not; what hindered it may have passed."""
        for runtime in self.services.values():
            under_way = runtime.healing is not None or runtime.loading.locked()
            if runtime.should_load and not under_way:
                runtime.healing = self._begin(self._heal(runtime))

    async def _heal(self, runtime: Runtime) -> None:
        try:
            async with self._turn():
                if runtime.should_load:
                    await self._activate(runtime, runtime.state.mapping)
        except HoldfastError as error:
            runtime.failure = error.message
        except Exception as error:  # noqa: BLE001 - it is told by whoever asks for the service
            runtime.failure = f"{type(error).__name__}: {error}"
        finally:
            runtime.healing = None

    @asynccontextmanager
    async def _turn(self) -> AsyncGenerator[None]:
        """Only some load at once; but one that hangs has its turn for a while only."""
        await self._turns.acquire()
        turn = contextlib.ExitStack()
        turn.callback(self._turns.release)
        timer = asyncio.get_running_loop().call_later(_TURN_S, turn.close)
        try:
            yield
        finally:
            timer.cancel()
            turn.close()

    def close(self) -> None:
        """End all workers now; nothing is loaded or changed after that."""
        self._frozen = True
        for runtime in self.services.values():
            runtime.break_off()
            for mounted in (*runtime.mounted.values(), *runtime.draining):
                mounted.pool.close()

    def _begin(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # ---- what there is -------------------------------------------------------------------------

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

    def loading(self) -> list[str]:
        """The services that should answer and are being loaded for it."""
        return [
            name
            for name, runtime in self.services.items()
            if runtime.should_load and (runtime.healing is not None or runtime.loading.locked())
        ]

    def serving(self) -> list[str]:
        """The services whose queries are answered."""
        return [name for name, runtime in self.services.items() if runtime.serves]

    def loaded(self) -> Loaded:
        """What is ready, and why not what should be."""
        return Loaded(
            ready=[name for name, runtime in self.services.items() if runtime.ready],
            failures={n: one.failure for n, one in self.services.items() if one.failure},
        )

    # ---- changes, and none of them -------------------------------------------------------------

    def check_open(self) -> None:
        """Raises ``UnavailableError`` while a successor takes over: it would not know of it."""
        if self._frozen:
            raise UnavailableError("The node is being replaced by its successor: repeat it soon.")

    async def freeze(self) -> None:
        """Change nothing from now on; when this returns, nothing is being written any more."""
        self._frozen = True
        async with self._disk:
            pass

    def thaw(self) -> None:
        self._frozen = False

    @asynccontextmanager
    async def _changing(self, service: str) -> AsyncGenerator[Runtime]:
        """Alone with a service that is there (it may have gone while we waited)."""
        self.check_open()
        runtime = self.get(service)
        async with runtime.lock:
            if self.services.get(service) is not runtime:
                raise UnknownServiceError(f"The service {service!r} was deleted meanwhile.")
            yield runtime

    async def _keep(self, runtime: Runtime, state: ServiceState) -> None:
        """On disk first, then in memory; raises ``DiskError``, and then it is in neither."""
        if state != runtime.state:
            async with self._writing():
                await asyncio.to_thread(self._files.write, state)
            runtime.state = state

    @asynccontextmanager
    async def _writing(self) -> AsyncGenerator[None]:
        """One file after the other, and none once we are frozen; raises ``DiskError``."""
        async with self._disk:
            self.check_open()
            with disk_errors():
                yield
            self.changes += 1

    # ---- services and packages -----------------------------------------------------------------

    async def create(self, service: str) -> None:
        """A service without generations; raises ``ConflictError``, ``DiskError``."""
        if not NAME.fullmatch(service):
            raise InvalidInputError("A service's name has letters, digits, '.', '_' and '-'.")
        state = ServiceState(service, created_ms=_now_ms())
        async with self._writing():
            if service in self.services:
                raise ConflictError(f"The service {service!r} is there already.")
            if len(self.services) >= SERVICES_MAX:
                raise ConflictError(f"A node has at most {SERVICES_MAX} services: delete one.")
            await asyncio.to_thread(self._files.write, state)
            self.services[service] = Runtime(state)

    async def delete(self, service: str) -> None:
        """Forget a service and its generations; raises ``ConflictError`` while it is in use."""
        async with self._changing(service) as runtime:
            if runtime.state.enabled and runtime.mapping:
                raise ConflictError(f"The service {service!r} is in use: disable it first.")
            async with self._writing():
                await asyncio.to_thread(self._files.remove, service)
            del self.services[service]
            self._drop(runtime)

    async def import_archive(self, service: str, archive: Path) -> Generation:
        """Take a package in as a generation; the same one twice is one.

        Raises ``PackageError``, ``ConflictError``, ``DiskError``.
        """
        self.check_open()
        self.get(service)
        with disk_errors():
            unpacked = await asyncio.to_thread(self._store.unpack, archive)
        try:
            async with self._packages, self._changing(service) as runtime:
                state, generation = registered(runtime.state, unpacked.opened, _now_ms())
                with disk_errors():
                    await asyncio.to_thread(self._store.keep, unpacked)
                await self._keep(runtime, state)
        finally:
            await asyncio.to_thread(self._store.discard, unpacked)
        return generation

    async def admit(self, service: str, keys: Mapping[str, str]) -> None:
        """Let these keys (SHA-256 -> name) query it, whatever the generation, from now on."""
        async with self._changing(service) as runtime:
            await self._keep(runtime, msgspec.structs.replace(runtime.state, keys=dict(keys)))
            for mounted in runtime.mounted.values():
                mounted.admit(keys)

    async def forget(self, service: str, generation: str) -> None:
        """Drop a generation and its package; raises ``ConflictError`` while it is in use."""
        async with self._changing(service) as runtime:
            state = runtime.state
            if generation in runtime.loads.values():
                raise ConflictError(f"{service}/{generation} is being loaded: wait, or disable it.")
            if any(entry.generation == generation for entry in state.mapping):
                if state.enabled:
                    raise ConflictError(f"{service}/{generation} is in use: switch to another.")
                state = msgspec.structs.replace(state, mapping=())
            dropped = state.find(generation)
            kept = tuple(one for one in state.generations if one.id != generation)
            await self._keep(runtime, msgspec.structs.replace(state, generations=kept))
            if (mounted := runtime.mounted.get(generation)) is not None:
                self._retire(runtime, mounted)
        if dropped is not None:
            await self._remove_packages([dropped.digest])

    async def clean_unused(self) -> dict[str, list[str]]:
        """Forget disabled services, generations not in use, and packages that nobody needs.

        What has come lately and was not in use yet stays: somebody is about to switch to it.
        """
        self.check_open()
        services: list[str] = []
        generations: list[str] = []
        for name, found in list(self.services.items()):
            with contextlib.suppress(UnknownServiceError):  # it went meanwhile
                if is_unused(found.state, _now_ms()):
                    await self.delete(name)
                    services.append(name)
                    continue
                async with self._changing(name) as runtime:
                    held = runtime.preloaded | set(runtime.loads.values())
                    dropped = unused_generations(runtime.state, held, _now_ms())
                    kept = [one for one in runtime.state.generations if one.id not in dropped]
                    state = msgspec.structs.replace(runtime.state, generations=tuple(kept))
                    await self._keep(runtime, state)
                    generations += [f"{name}/{one}" for one in dropped]
        packages = await self._remove_packages()
        return {"services": services, "generations": generations, "packages": packages}

    async def _remove_packages(self, only: Iterable[str] | None = None) -> list[str]:
        """Remove those that nobody needs. Whoever takes one in waits until that is done."""
        removed: list[str] = []
        async with self._packages:
            there = await asyncio.to_thread(self._store.digests) if only is None else only
            for digest in there:
                if digest not in self._needed():
                    self.check_open()
                    await asyncio.to_thread(self._store.remove, digest)
                    removed.append(digest)
        return removed

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
        self.check_open()
        runtime = self.get(service)
        async with self._loaded(runtime, [generation]) as fresh:
            await self._keep(runtime, runtime.state.tried(generation, failed=False))
            self._mount(runtime, fresh)
            if generation not in {entry.generation for entry in runtime.mapping}:
                runtime.preloaded.add(generation)

    async def switch(self, service: str, mapping: tuple[Entry, ...]) -> None:
        """Load what is missing, then let queries go by this mapping; enables the service.

        Raises ``LoadError``, ``UnknownGenerationError``; then all is as before. Raises
        ``ConflictError`` if the service is disabled or deleted while that is loaded.
        """
        await self._activate(self.get(service), mapping)

    async def switch_to_newest(self, service: str) -> str:
        """Switch to what was imported last, and say which that is.

        What could not be loaded is passed over: it is tried again by whoever names it.
        """
        runtime = self.get(service)
        newest = runtime.state.newest()
        if newest is None and runtime.state.generations:
            raise UnknownGenerationError(
                f"No generation of the service {service!r} could be loaded: switch to one by name "
                "to try it again, or import another."
            )
        if newest is None:
            raise UnknownGenerationError(f"The service {service!r} has no generation yet.")
        await self._activate(runtime, (Entry(newest.id, 1.0),))
        return newest.id

    async def enable(self, service: str) -> None:
        """Answer again, as before it was disabled; raises as ``switch`` does."""
        runtime = self.get(service)
        if not runtime.state.mapping:
            raise ConflictError(f"The service {service!r} has no mapping: switch to one.")
        await self._activate(runtime, runtime.state.mapping)

    async def disable(self, service: str) -> None:
        """Answer no queries any more; what is under way ends, what is being loaded is not."""
        async with self._changing(service) as runtime:
            await self._keep(runtime, msgspec.structs.replace(runtime.state, enabled=False))
            self._drop(runtime)

    async def _activate(self, runtime: Runtime, mapping: tuple[Entry, ...]) -> None:
        self.check_open()
        wanted = [entry.generation for entry in mapping]
        async with self._loaded(runtime, wanted) as fresh:
            state = msgspec.structs.replace(runtime.state, enabled=True, mapping=mapping)
            for generation in wanted:
                state = state.tried(generation, failed=False)
            await self._keep(runtime, state)
            self._mount(runtime, fresh)
            runtime.failure = ""
            runtime.preloaded -= set(wanted)
            runtime.take_effect(mapping)
            for generation, mounted in list(runtime.mounted.items()):
                if generation not in wanted and generation not in runtime.preloaded:
                    self._retire(runtime, mounted)

    @asynccontextmanager
    async def _loaded(
        self, runtime: Runtime, wanted: Iterable[str]
    ) -> AsyncGenerator[dict[str, Mounted]]:
        """Load what of it is not there; then alone with the service, to let it take effect.

        If that fails, what was loaded ends again.
        """
        epoch = runtime.epoch
        fresh: dict[str, Mounted] = {}
        try:
            async with runtime.loading:
                for generation in wanted:
                    there = runtime.mounted.get(generation)
                    if there is None or there.pool.quarantined:
                        self._check_epoch(runtime, epoch)
                        fresh[generation] = await self._tried(runtime, generation)
                async with self._changing(runtime.state.id):
                    self._check_epoch(runtime, epoch)
                    yield fresh
        except BaseException:
            for mounted in fresh.values():
                self._retire(runtime, mounted)
            raise

    def _check_epoch(self, runtime: Runtime, epoch: int) -> None:
        if runtime.epoch != epoch:
            raise ConflictError(f"The service {runtime.state.id!r} was disabled meanwhile.")

    async def _tried(self, runtime: Runtime, generation: str) -> Mounted:
        """Load it, and remember if that fails, so that it is nobody's newest any more.

        What is mapped could be loaded once, so it stays what it is (and a process that only
        takes over what is mapped writes nothing).
        """
        try:
            return await self._load(runtime, generation)
        except (LoadError, PackageError):
            mapped = {entry.generation for entry in runtime.state.mapping}
            if generation not in mapped:
                with contextlib.suppress(HoldfastError):  # why it fails is told before all else
                    async with self._changing(runtime.state.id):
                        state = runtime.state.tried(generation, failed=True)
                        await self._keep(runtime, state)
            raise

    async def _load(self, runtime: Runtime, generation: str) -> Mounted:
        known = runtime.state.find(generation)
        if known is None:
            raise UnknownGenerationError(
                f"The service {runtime.state.id!r} has no generation {generation!r}."
            )
        task = asyncio.get_running_loop().create_task(self._mounter.mount(known))
        runtime.loads[task] = generation
        try:
            return await task
        except asyncio.CancelledError:
            current = asyncio.current_task()
            if current is not None and current.cancelling():
                raise
            raise ConflictError(f"{generation} was broken off: the service was disabled.") from None
        except OSError as error:
            raise LoadError(f"{generation} cannot be loaded: {error}.") from None
        finally:
            del runtime.loads[task]

    def _mount(self, runtime: Runtime, fresh: Mapping[str, Mounted]) -> None:
        for generation, mounted in fresh.items():
            there = runtime.mounted.get(generation)
            runtime.mounted[generation] = mounted
            mounted.admit(runtime.state.keys)
            if there is not None:
                if runtime.only is there:
                    runtime.only = mounted
                self._retire(runtime, there)

    def _retire(self, runtime: Runtime, mounted: Mounted) -> None:
        name = mounted.generation.id
        if runtime.mounted.get(name) is mounted:
            del runtime.mounted[name]
            runtime.preloaded.discard(name)
        runtime.draining.add(mounted)

        async def drain() -> None:
            await mounted.pool.drain()
            runtime.draining.discard(mounted)

        self._begin(drain())


def _now_ms() -> int:
    return int(time.time() * 1000)
