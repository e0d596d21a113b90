"""Services of one node: none waits for another that hangs, and memory knows what the disk knows."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.serving.disks import full_disk
from tests.serving.nodes import adder

from holdfast.errors import ConflictError, UnavailableError
from holdfast.serving.errors import (
    DiskError,
    LoadError,
    UnknownGenerationError,
    UnknownServiceError,
)
from holdfast.serving.generations import registry as module
from holdfast.serving.generations.mapping import Entry
from holdfast.serving.generations.mounted import Mounted
from holdfast.serving.generations.registry import Registry
from holdfast.serving.generations.state import StateFolder
from holdfast.serving.packages.opening import Limits
from holdfast.serving.packages.store import PackageStore


class NoPool:
    """Workers that are always there."""

    ready = True
    quarantined = False
    size = 0

    async def drain(self) -> None:
        return None

    def close(self) -> None:
        return None


class Mounts:
    """``Mounter`` without processes. Generations in ``hanging`` never load, in ``bad`` fail."""

    def __init__(self, store: PackageStore) -> None:
        self.store = store
        self.hanging: set[str] = set()
        self.bad: set[str] = set()
        self.under_way: list[str] = []

    async def mount(self, generation: Any) -> Mounted:
        self.under_way.append(generation.id)
        try:
            if generation.id in self.hanging:
                await asyncio.get_running_loop().create_future()
            if generation.id in self.bad:
                raise LoadError(f"{generation.id} cannot be loaded")
            manifest = await asyncio.to_thread(self.store.check, generation.digest)
            return Mounted(generation, manifest.service, NoPool())  # pyright: ignore[reportArgumentType]
        finally:
            self.under_way.remove(generation.id)


class Place:
    """A node's disk, and a process that serves from it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.start()

    def start(self) -> None:
        data = self.folder / "data"
        self.store = PackageStore(data / "packages", Limits(), (), signed_only=False)
        self.mounts = Mounts(self.store)
        self.registry = Registry(data / "services", self.store, self.mounts)  # pyright: ignore[reportArgumentType]

    def states(self) -> dict[str, Any]:
        found = StateFolder(self.folder / "data" / "services").read()
        return {one.id: one for one in found}

    async def put(self, service: str, generation: str, *, switch: bool = True) -> None:
        if service not in self.registry.services:
            await self.registry.create(service)
        built = adder(self.folder, generation, id=service)
        await self.registry.import_archive(service, Path(built.path))
        if switch:
            await self.registry.switch(service, (Entry(generation, 1.0),))

    def answers(self, service: str) -> str | None:
        only = self.registry.get(service).only
        return None if only is None else only.generation.id


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


async def turns(holds: Callable[[], bool]) -> None:
    """Let others run until it holds."""
    async with asyncio.timeout(20):
        while not holds():
            await asyncio.sleep(0)


# ---- what hangs ------------------------------------------------------------------------------


async def test_a_service_that_hangs_at_the_start_keeps_no_other_down(
    place: Place, monkeypatch: pytest.MonkeyPatch
):
    """Though as many hang as load at once."""
    monkeypatch.setattr(module, "_TURN_S", 0.0)
    names = [f"s{number}" for number in range(8)]
    for name in names:
        await place.put(name, f"g-{name}")
    place.start()
    place.mounts.hanging = {f"g-{name}" for name in names[:6]}
    starting = asyncio.create_task(place.registry.start())
    await turns(lambda: all(name in place.registry.serving() for name in names[6:]))
    assert not starting.done()
    assert set(place.registry.loading()) == set(names[:6])
    place.registry.close()
    await starting


async def test_what_failed_is_tried_again_while_another_hangs(place: Place):
    await place.put("one", "g1")
    await place.put("two", "g2")
    place.start()
    place.mounts.hanging, place.mounts.bad = {"g1"}, {"g2"}
    starting = asyncio.create_task(place.registry.start())
    await turns(
        lambda: bool(place.registry.services.get("two") and place.registry.get("two").failure)
    )
    place.mounts.bad.clear()
    place.registry.heal()
    await turns(lambda: place.answers("two") == "g2")
    place.registry.close()
    await starting


async def test_a_service_is_disabled_while_a_generation_of_it_hangs(place: Place):
    await place.put("one", "g1")
    await place.put("one", "g2", switch=False)
    place.mounts.hanging = {"g2"}
    switching = asyncio.create_task(place.registry.switch("one", (Entry("g2", 1.0),)))
    queued = asyncio.create_task(place.registry.preload("one", "g2"))
    await turns(lambda: place.mounts.under_way == ["g2"])
    assert place.answers("one") == "g1"
    await place.registry.disable("one")
    assert place.answers("one") is None
    for task in (switching, queued):
        with pytest.raises(ConflictError, match="disabled"):
            await task
    assert place.mounts.under_way == []
    assert not place.states()["one"].enabled
    place.mounts.hanging.clear()
    await place.registry.enable("one")
    assert place.answers("one") == "g1"


async def test_nobody_else_waits_for_a_generation_that_hangs(place: Place):
    await place.put("one", "g1")
    await place.put("two", "h1")
    await place.put("one", "g2", switch=False)
    place.mounts.hanging = {"g2"}
    switching = asyncio.create_task(place.registry.switch("one", (Entry("g2", 1.0),)))
    await turns(lambda: place.mounts.under_way == ["g2"])
    await place.put("two", "h2")
    await place.put("one", "g3", switch=False)
    await place.registry.admit("one", {"ab" * 32: "web"})
    assert "one/g2" not in (await place.registry.clean_unused())["generations"]
    with pytest.raises(ConflictError, match="being loaded"):
        await place.registry.forget("one", "g2")
    assert (place.answers("one"), place.answers("two")) == ("g1", "h2")
    switching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await switching


async def test_a_service_that_was_deleted_while_it_loads_does_not_come_back(place: Place):
    await place.put("one", "g1", switch=False)
    place.mounts.hanging = {"g1"}
    switching = asyncio.create_task(place.registry.switch("one", (Entry("g1", 1.0),)))
    await turns(lambda: place.mounts.under_way == ["g1"])
    await place.registry.delete("one")
    with pytest.raises(ConflictError):
        await switching
    assert (place.registry.services, place.states()) == ({}, {})


# ---- the disk --------------------------------------------------------------------------------


async def test_what_cannot_be_written_is_not_in_memory_either(place: Place):
    await place.put("one", "g1")
    await place.put("one", "g2", switch=False)
    before = place.states()
    registry = place.registry
    more = Path(adder(place.folder, "g3", id="one").path)
    with full_disk():
        for change in (
            registry.create("phantom"),
            registry.switch("one", (Entry("g2", 1.0),)),
            registry.disable("one"),
            registry.admit("one", {"ab" * 32: "web"}),
            registry.forget("one", "g2"),
            registry.import_archive("one", more),
        ):
            with pytest.raises(DiskError):
                await change
    assert place.states() == before == {n: one.state for n, one in registry.services.items()}
    assert place.answers("one") == "g1"
    assert list((place.folder / "data" / "services").iterdir()) == [
        place.folder / "data" / "services" / "one.json"
    ]


async def test_a_service_that_two_make_at_once_is_made_once(place: Place):
    made = await asyncio.gather(
        *[place.registry.create("one") for _ in range(5)], return_exceptions=True
    )
    assert [type(one) for one in made].count(ConflictError) == 4


# ---- cleaning --------------------------------------------------------------------------------


async def test_cleaning_leaves_what_a_deployment_is_about_to_use(place: Place):
    """Every step of it may be followed by a cleaning."""
    registry = place.registry
    await place.put("one", "g1")
    await registry.create("two")
    built = adder(place.folder, "h1", id="two")
    for clean_after in ("create", "upload", "switch"):
        if clean_after == "upload":
            await registry.import_archive("two", Path(built.path))
            await place.put("one", "g2", switch=False)
        elif clean_after == "switch":
            await registry.switch("two", (Entry("h1", 1.0),))
            await registry.switch("one", (Entry("g2", 1.0),))
        cleaned = await registry.clean_unused()
        assert cleaned["services"] == []
    assert cleaned["generations"] == ["one/g1"]
    assert len(cleaned["packages"]) == 1


async def test_what_nobody_came_for_is_cleaned(place: Place, monkeypatch: pytest.MonkeyPatch):
    await place.put("one", "g1")
    await place.put("one", "g2", switch=False)
    await place.put("two", "h1", switch=False)
    now = module._now_ms()  # pyright: ignore[reportPrivateUsage]
    monkeypatch.setattr(module, "_now_ms", lambda: now + 3_600_000)
    cleaned = await place.registry.clean_unused()
    assert (cleaned["services"], cleaned["generations"]) == (["two"], ["one/g2"])
    assert len(cleaned["packages"]) == 2
    with pytest.raises(UnknownServiceError):
        place.registry.get("two")


async def test_a_package_that_arrives_while_others_are_removed_stays(
    place: Place, monkeypatch: pytest.MonkeyPatch
):
    """It is on the disk before its generation is known; that is no reason to remove it."""
    await place.registry.create("one")
    built = adder(place.folder, "g1", id="one")
    kept, store = place.store.keep, place.store
    seen: list[list[str]] = []

    def keep(unpacked: Any) -> Any:
        found = kept(unpacked)
        cleaning.append(asyncio.run_coroutine_threadsafe(place.registry.clean_unused(), loop))
        seen.append(store.digests())
        return found

    loop, cleaning = asyncio.get_running_loop(), []
    monkeypatch.setattr(store, "keep", keep)
    await place.registry.import_archive("one", Path(built.path))
    cleaned = await asyncio.wrap_future(cleaning[0])
    assert cleaned["packages"] == []
    assert store.digests() == seen[0] != []
    await place.registry.switch("one", (Entry("g1", 1.0),))


# ---- a successor -----------------------------------------------------------------------------


async def test_a_successor_becomes_what_the_disk_says_and_writes_nothing(place: Place):
    await place.put("one", "g1")
    await place.put("two", "h1")
    old = place.registry
    place.start()
    new = place.registry
    await new.follow()
    assert set(new.loaded().ready) == {"one", "two"}
    place.registry = old
    await place.put("one", "g2")
    await old.disable("two")
    await place.put("three", "i1")
    await old.admit("one", {"ab" * 32: "web"})
    place.registry = new
    await new.follow()
    assert (place.answers("one"), place.answers("two"), place.answers("three")) == (
        "g2",
        None,
        "i1",
    )
    assert {n: one.state for n, one in new.services.items()} == place.states()
    assert new.changes == 0


async def test_once_it_is_frozen_nothing_is_written_any_more(place: Place):
    await place.put("one", "g1")
    await place.put("one", "g2", switch=False)
    switching = asyncio.create_task(place.registry.switch("one", (Entry("g2", 1.0),)))
    await turns(lambda: bool(place.mounts.under_way))
    await place.registry.freeze()
    known, before = place.registry.changes, place.states()
    for change in (switching, place.registry.create("x"), place.registry.disable("one")):
        with pytest.raises(UnavailableError, match="successor"):
            await change
    assert (place.registry.changes, place.states()) == (known, before)
    place.registry.thaw()
    await place.registry.disable("one")


# ---- what is the newest ----------------------------------------------------------------------


async def test_the_newest_is_one_that_could_be_loaded_or_was_not_tried(place: Place):
    await place.put("sums", "g1")
    await place.put("sums", "g2", switch=False)
    place.mounts.bad = {"g2"}
    for attempt in (place.registry.switch_to_newest("sums"), place.registry.preload("sums", "g2")):
        with pytest.raises(LoadError):
            await attempt
    place.start()  # it is remembered
    await place.registry.start()
    assert await place.registry.switch_to_newest("sums") == "g1"
    await place.put("sums", "g3", switch=False)
    assert [one.number for one in place.registry.get("sums").state.generations] == [1, 2, 3]
    assert await place.registry.switch_to_newest("sums") == "g3"


async def test_what_failed_is_the_newest_again_once_it_is_loaded_or_comes_again(place: Place):
    await place.put("sums", "g1", switch=False)
    place.mounts.bad = {"g1"}
    for _ in range(2):
        with pytest.raises(LoadError):
            await place.registry.switch_to_newest("sums")
        with pytest.raises(UnknownGenerationError, match="could be loaded"):
            await place.registry.switch_to_newest("sums")
        await place.put("sums", "g1", switch=False)
    with pytest.raises(LoadError):
        await place.registry.switch_to_newest("sums")
    place.mounts.bad = set()
    await place.registry.preload("sums", "g1")
    assert await place.registry.switch_to_newest("sums") == "g1"


async def test_what_is_in_use_and_fails_at_a_restart_stays_the_newest(place: Place):
    await place.put("sums", "g1")
    await place.put("sums", "g2")
    before = place.states()
    place.start()
    place.mounts.bad = {"g2"}
    await place.registry.start()
    assert place.answers("sums") is None
    assert place.states() == before  # a successor that fails has written nothing
    place.mounts.bad = set()
    assert await place.registry.switch_to_newest("sums") == "g2"
