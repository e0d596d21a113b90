"""What a node does of what is wanted: pulled once, switched, kept, taken away by a row only."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from msgspec.structs import replace
from tests.serving.nodes import KEY, adder, function, make

from holdfast.fleet import agent as module
from holdfast.fleet.agent import AGAIN_S, Agent
from holdfast.fleet.model import Actual, Generation, Pulled, Service, Wanted
from holdfast.serving.errors import FetchError, LoadError
from holdfast.serving.generations.mounted import Mounted
from holdfast.serving.generations.registry import Registry
from holdfast.serving.packages.opening import Limits
from holdfast.serving.packages.store import PackageStore
from holdfast.serving.settings import PackageSettings

ME, V1, V2, SUMS = (UUID(int=n) for n in (1, 11, 12, 21))


class NoPool:
    """Workers that are always there."""

    ready = True
    quarantined = False
    size = 0

    async def drain(self) -> None:
        return None


class Mounts:
    """``Mounter`` without processes; what is in ``bad`` cannot be loaded."""

    def __init__(self, store: PackageStore) -> None:
        self._store = store
        self.bad: set[str] = set()
        self.count = 0

    async def mount(self, generation: Any) -> Mounted:
        if generation.id in self.bad:
            raise LoadError(f"{generation.id}: endpoint 'add' cannot be loaded")
        self.count += 1
        manifest = self._store.check(generation.digest)
        return Mounted(generation, manifest.service, NoPool())  # pyright: ignore[reportArgumentType]


class Place:
    """A node's disk and registry, and a web of packages by address."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.web: dict[str, str] = {}
        self.fetched: list[str] = []
        self.now = 0.0
        self.start()

    def start(self) -> None:
        """As a process that starts does, from what is on the disk."""
        data = self.folder / "data"
        store = PackageStore(data / "packages", Limits(), (), signed_only=False)
        self.mounts = Mounts(store)
        self.registry = Registry(data / "services", store, self.mounts)  # pyright: ignore[reportArgumentType]
        self.agent = Agent(self.registry, PackageSettings(), data, "east", lambda: self.now)

    async def fetch(self, url: str, sha256: str, target: Path, settings: Any) -> None:
        self.fetched.append(url)
        if url not in self.web:
            raise FetchError(f"{url} answered with status 404.")
        target.write_bytes(Path(self.web[url]).read_bytes())

    async def look(self, wanted: Wanted) -> Actual:
        """Look, wait for what was begun, and so on until nothing is begun any more."""
        for _ in range(4):
            self.agent.look(wanted, ME)
            await self.agent.settled()
        return self.agent.look(wanted, ME)

    @property
    def served(self) -> str | None:
        runtime = self.registry.services.get("sums")
        return runtime.only.generation.id if runtime is not None and runtime.only else None


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    made = Place(tmp_path)
    for name in ("v1", "v2"):
        made.web[f"http://web/{name}"] = adder(tmp_path, name).path
    monkeypatch.setattr(module, "fetch", made.fetch)
    monkeypatch.setattr(module, "_PAUSE_S", 0.0)
    return made


def generation(ident: UUID, name: str) -> Generation:
    return Generation(id=ident, project="p", url=f"http://web/{name}", sha256="0" * 64)


SERVICE = Service(id=SUMS, project="p", name="sums", generation=V1)
BOTH = Wanted(generations=(generation(V1, "v1"), generation(V2, "v2")), services=(SERVICE,))


def with_service(change: Callable[[Service], Service]) -> Wanted:
    return replace(BOTH, services=(change(SERVICE),))


async def test_what_is_wanted_is_pulled_once_and_served(place: Place):
    actual = await place.look(BOTH)
    assert actual.generations[V2] == Pulled(service="sums", generation="v2")
    assert actual.services[SUMS].generation == V1
    assert actual.services[SUMS].ready
    assert place.served == "v1"
    await place.look(BOTH)
    assert sorted(place.fetched) == ["http://web/v1", "http://web/v2"]
    assert place.mounts.count == 1


async def test_only_a_node_that_was_moved_has_the_new_generation(place: Place):
    await place.look(with_service(lambda one: replace(one, next=V2)))
    assert place.served == "v1"
    await place.look(with_service(lambda one: replace(one, next=V2, moved=(ME,))))
    assert place.served == "v2"
    await place.look(BOTH)
    assert place.served == "v1"


async def test_a_generation_that_cannot_be_loaded_leaves_the_old_one_and_is_told(place: Place):
    await place.look(BOTH)
    place.mounts.bad = {"v2"}
    moved = with_service(lambda one: replace(one, next=V2, moved=(ME,)))
    told = (await place.look(moved)).services[SUMS]
    assert (told.wanted, told.generation, told.ready) == (V2, V1, True)
    assert "endpoint 'add'" in told.error
    place.mounts.bad = set()
    assert (await place.look(moved)).services[SUMS].error == told.error  # not again at once
    place.now += AGAIN_S
    assert (await place.look(moved)).services[SUMS].error == ""
    assert place.served == "v2"


async def test_a_package_that_cannot_be_fetched_is_told_with_the_reason(place: Place):
    place.web.clear()
    actual = await place.look(BOTH)
    assert "status 404" in actual.generations[V1].error
    assert "status 404" in actual.services[SUMS].error


async def test_after_a_restart_it_serves_before_anybody_says_so_and_pulls_nothing_again(
    place: Place,
):
    await place.look(BOTH)
    place.fetched.clear()
    place.start()
    await place.registry.start()
    assert place.served == "v1"
    actual = await place.look(BOTH)
    assert actual.services[SUMS].generation == V1
    assert place.fetched == []


async def test_what_no_row_tells_of_stays_and_what_a_row_says_is_deleted_goes(place: Place):
    await place.look(BOTH)
    await place.look(Wanted())
    assert place.served == "v1"
    gone = Wanted(
        generations=tuple(replace(one, deleted_at=1.0) for one in BOTH.generations),
        services=(replace(SERVICE, deleted_at=1.0),),
    )
    actual = await place.look(gone)
    assert actual == Actual()
    assert place.registry.services == {}
    assert [*(place.folder / "data" / "packages").iterdir()] == []


async def test_a_service_of_another_zone_is_not_served_here(place: Place):
    await place.look(BOTH)
    await place.look(with_service(lambda one: replace(one, zones=("west",))))
    assert place.served is None


async def test_keys_come_and_go_with_what_is_wanted(place: Place):
    await place.look(with_service(lambda one: replace(one, keys={"ab" * 32: "web"})))
    assert place.registry.get("sums").state.keys == {"ab" * 32: "web"}
    mounted = place.registry.get("sums").only
    assert mounted is not None
    assert mounted.key_id(KEY) == "test"
    await place.look(BOTH)
    assert place.registry.get("sums").state.keys == {}


async def test_a_package_of_another_service_is_told_and_not_served(place: Place):
    built = make(place.folder, "other", {"f.py": "def add(a): return a\n"}, [function("add")])
    place.web["http://web/v1"] = built.path
    told = (await place.look(BOTH)).services[SUMS]
    assert "is of the service 'other'" in told.error
    assert not told.ready
