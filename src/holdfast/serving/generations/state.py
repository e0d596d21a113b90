"""What a node remembers of a service: one small file each, replaced whole."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from holdfast.errors import ConfigError
from holdfast.serving.generations.mapping import Entry


class Generation(msgspec.Struct, frozen=True):
    """A package that was imported. ``created_ms``: when, Unix time; ``number``: in which order."""

    id: str
    digest: str
    created_ms: int
    number: int


class ServiceState(msgspec.Struct, frozen=True):
    """All that a restart needs."""

    id: str
    enabled: bool = False
    generations: tuple[Generation, ...] = ()
    mapping: tuple[Entry, ...] = ()
    keys: dict[str, str] = {}  # who may query beside those of the package: SHA-256 -> name

    def find(self, generation: str) -> Generation | None:
        return next((one for one in self.generations if one.id == generation), None)

    def newest(self) -> Generation | None:
        return max(self.generations, key=lambda one: one.number, default=None)


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


def write_durably(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Replace a file's content: after a crash it is the old one or the new one."""
    beside = path.with_name(path.name + ".new")
    fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(fd, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
