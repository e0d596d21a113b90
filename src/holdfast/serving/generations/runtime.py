"""One service as it runs on a node: what of it is loaded, and which generation a query gets."""

from __future__ import annotations

import asyncio
import random
from typing import Any, cast

from holdfast.serving.errors import NotServingError, UnknownGenerationError
from holdfast.serving.generations.mapping import Entry, choose, point_of
from holdfast.serving.generations.mounted import Mounted
from holdfast.serving.generations.state import ServiceState


class Runtime:
    """One service. ``failure``: why what it should serve is not loaded.

    Two locks: ``lock`` is held while something changes, which is a matter of milliseconds;
    ``loading`` while a generation is loaded, which may take minutes, or for ever. Whoever has the
    latter takes the former in order to let it take effect, never the other way round.
    """

    def __init__(self, state: ServiceState) -> None:
        self.state = state
        self.mounted: dict[str, Mounted] = {}
        self.preloaded: set[str] = set()
        self.draining: set[Mounted] = set()
        self.lock = asyncio.Lock()
        self.loading = asyncio.Lock()
        self.loads: dict[asyncio.Task[Mounted], str] = {}  # what is being loaded
        self.healing: asyncio.Task[None] | None = None
        self.epoch = 0  # a load that was begun in an earlier one has no effect any more
        self.failure = ""
        self.mapping: tuple[Entry, ...] = ()  # what is in effect; empty while disabled
        self.only: Mounted | None = None

    def take_effect(self, mapping: tuple[Entry, ...]) -> None:
        """The switch: from here on queries go by this mapping."""
        self.mapping = mapping
        self.only = self.mounted[mapping[0].generation] if len(mapping) == 1 else None

    def break_off(self) -> None:
        """Nothing that is being loaded shall take effect; whoever waits for it is told."""
        self.epoch += 1
        for task in self.loads:
            task.cancel()

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
        return f"The service {self.state.id!r} is not ready: {self.ailment or 'it is loading'}"

    @property
    def ailment(self) -> str:
        """Why what it should serve is not loaded, or has no new workers for a while; or empty."""
        pools = (self.mounted[entry.generation].pool for entry in self.mapping)
        return self.failure or next((one.last_failure for one in pools if one.quarantined), "")

    @property
    def should_load(self) -> bool:
        """Whether it is to answer, and does not."""
        return self.state.enabled and bool(self.state.mapping) and not self.mapping

    @property
    def ready(self) -> bool:
        """Whether all that queries may go to has a worker."""
        return bool(self.mapping) and all(
            self.mounted[entry.generation].pool.ready for entry in self.mapping
        )

    @property
    def serves(self) -> bool:
        """Whether queries are answered, but for a worker that is just being replaced."""
        return bool(self.mapping) and not any(
            self.mounted[entry.generation].pool.quarantined for entry in self.mapping
        )
