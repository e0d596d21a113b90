"""What a node remembers of a service: one small file each, replaced whole."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator
from pathlib import Path
from typing import Final

import msgspec

from holdfast.errors import ConfigError, ConflictError, InvalidInputError
from holdfast.serving.errors import DiskError
from holdfast.serving.generations.mapping import Entry
from holdfast.serving.packages.opening import Opened

GENERATIONS_MAX: Final = 1000


class Generation(msgspec.Struct, frozen=True):
    """A package that was imported. ``created_ms``: when, Unix time; ``number``: in which order.

    ``failed``: it could not be loaded when that was tried last, and is not in use.
    """

    id: str
    digest: str
    created_ms: int
    number: int
    failed: bool = False


class ServiceState(msgspec.Struct, frozen=True):
    """All that a restart needs."""

    id: str
    enabled: bool = False
    generations: tuple[Generation, ...] = ()
    mapping: tuple[Entry, ...] = ()
    keys: dict[str, str] = {}  # who may query beside those of the package: SHA-256 -> name
    created_ms: int = 0  # Unix time

    def find(self, generation: str) -> Generation | None:
        return next((one for one in self.generations if one.id == generation), None)

    def newest(self) -> Generation | None:
        """What came last of what could be loaded, or was not tried yet."""
        sound = [one for one in self.generations if not one.failed]
        return max(sound, key=lambda one: one.number, default=None)

    def tried(self, generation: str, *, failed: bool) -> ServiceState:
        """With what became of it when it was loaded."""
        known = self.find(generation)
        if known is None or known.failed == failed:
            return self
        now = msgspec.structs.replace(known, failed=failed)
        generations = tuple(now if one is known else one for one in self.generations)
        return msgspec.structs.replace(self, generations=generations)


def registered(state: ServiceState, opened: Opened, now_ms: int) -> tuple[ServiceState, Generation]:
    """The service with this package as a generation (it may have it already), and which that is.

    Whoever brings a package that could not be loaded once more wants it to be tried again.
    Raises ``InvalidInputError``, ``ConflictError``.
    """
    manifest = opened.manifest
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
        state = state.tried(known.id, failed=False)
        return state, state.find(known.id) or known
    if len(state.generations) >= GENERATIONS_MAX:
        raise ConflictError("The service has too many generations: clean those not in use.")
    last = max((one.number for one in state.generations), default=0)
    made = Generation(
        id=manifest.generation,
        digest=opened.digest,
        created_ms=now_ms,
        number=last + 1,
    )
    generations = (*state.generations, made)
    return msgspec.structs.replace(state, generations=generations), made


class StateFolder:
    """The files. All methods block for a moment."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def read(self) -> list[ServiceState]:
        """Every service; raises ``ConfigError`` for a file that cannot be read."""
        found: list[ServiceState] = []
        for path in sorted(self._folder.glob("*.json")):
            try:
                found.append(msgspec.json.decode(path.read_bytes(), type=ServiceState))
            except msgspec.DecodeError as error:
                raise ConfigError(f"{path} cannot be read: {error}. Remove or mend it.") from None
        return found

    def write(self, state: ServiceState) -> None:
        """Durable when this returns."""
        write_durably(self._folder / f"{state.id}.json", msgspec.json.encode(state))

    def remove(self, service: str) -> None:
        (self._folder / f"{service}.json").unlink(missing_ok=True)


@contextlib.contextmanager
def disk_errors() -> Generator[None]:
    """What the disk refuses is told in a sentence: raises ``DiskError``."""
    try:
        yield
    except OSError as error:
        raise DiskError(f"This node's disk does not take it: {error.strerror or error}.") from None


def write_durably(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Replace a file's content: after a crash it is the old one or the new one."""
    beside = path.with_name(path.name + ".new")
    fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError:
        beside.unlink(missing_ok=True)  # a disk that is full needs the room
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
