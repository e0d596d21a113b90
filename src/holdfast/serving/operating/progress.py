"""How far a rolling upgrade is: decided here, kept in a file, so that it survives its process."""

from __future__ import annotations

import enum
import fcntl
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from holdfast.errors import ConfigError, ConflictError
from holdfast.serving.generations.state import write_durably
from holdfast.serving.operating.baseline import Counts


class Step(enum.IntEnum):
    """What a node has behind it."""

    WAITING = 0
    LEAVING = 1  # it may be out already
    OUT = 2  # balancers have noticed, and no query is under way
    RESTARTING = 3  # commands may have begun
    STARTED = 4
    LOADED = 5  # the package may be in use
    BACK = 6
    DONE = 7


class Wanted(msgspec.Struct, frozen=True):
    """What is done on each node. ``package``: SHA-256 of the file; empty if there is none."""

    nodes: tuple[str, ...]
    commands: tuple[str, ...] = ()
    in_place: bool = False
    package: str = ""
    service: str = ""
    generation: str = ""


class NodeProgress(msgspec.Struct):
    """One node. ``process``: its identity before; ``mapping``: what it served before, if it did.

    ``began``: what it had answered when the upgrade began; ``before``: what it answered until it
    was out, since its generations were loaded and since the upgrade began.
    """

    url: str
    zone: str = ""
    step: Step = Step.WAITING
    process: str = ""
    mapping: dict[str, Any] | None = None
    began: dict[str, Counts] = {}
    before: tuple[dict[str, Counts], ...] = ()


class Progress(msgspec.Struct):
    """All of them, in the order in which they are upgraded."""

    wanted: Wanted
    nodes: list[NodeProgress]

    def next(self) -> NodeProgress | None:
        """The one to work on; None if all are done."""
        return next((one for one in self.nodes if one.step is not Step.DONE), None)


def ordered(found: Sequence[tuple[str, str, bool]]) -> list[NodeProgress]:
    """Of (URL, zone, alive): zone by zone, as they were named; who is out already comes first.

    Raises ``ConflictError`` if more than one is out: another would make it worse.
    """
    out = [url for url, _, alive in found if not alive]
    if len(out) > 1:
        raise ConflictError(
            f"{', '.join(out)} are out of the pool. At most one may be: see to them first."
        )
    zones = list(dict.fromkeys(one[1] for one in sorted(found, key=lambda one: one[2])))
    order = sorted(found, key=lambda one: (zones.index(one[1]), one[2]))
    return [NodeProgress(url, zone) for url, zone, _ in order]


class ProgressFile:
    """The file, held by one process at a time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            raise ConflictError(f"Another upgrade runs with {path}.") from None

    def read(self, wanted: Wanted) -> Progress | None:
        """What an upgrade that was broken off has left; raises ``ConfigError`` if of another."""
        if not self._path.exists():
            return None
        try:
            progress = msgspec.json.decode(self._path.read_bytes(), type=Progress)
        except msgspec.MsgspecError as error:
            raise ConfigError(f"{self._path} cannot be read: {error}. Remove it.") from None
        if progress.wanted != wanted:
            raise ConfigError(
                f"{self._path} is of another upgrade, which was broken off: run that again to end "
                "it, or remove the file to forget it (and look which nodes are out)."
            )
        return progress

    def write(self, progress: Progress) -> None:
        """Durable when this returns."""
        write_durably(self._path, msgspec.json.encode(progress))

    def remove(self) -> None:
        self._path.unlink(missing_ok=True)

    def close(self) -> None:
        self._path.with_name(self._path.name + ".lock").unlink(missing_ok=True)
        os.close(self._lock)
