"""A rolling upgrade: one node after the other, and nobody's query lost (D14, D16-D20)."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from holdfast.errors import ConflictError, HoldfastError, UnavailableError
from holdfast.serving.operating import commands
from holdfast.serving.operating.api import NodeApi, name, without_url
from holdfast.serving.operating.deploy import load, switch
from holdfast.serving.operating.gate import (
    ByEndpoint,
    GateError,
    check_errors,
    check_ready,
    counts,
    pooled,
    since,
    total,
)
from holdfast.serving.operating.progress import (
    NodeProgress,
    Progress,
    ProgressFile,
    Step,
    Wanted,
    ordered,
)
from holdfast.serving.packages.opening import Limits, open_package

_LOOK_S: Final = 0.2
_FINISH_S: Final = 60.0
_NEW_LOOKS: Final = 5  # so often the new process answers, before the old one is taken for gone


class Options(msgspec.Struct, frozen=True):
    """``notice_s``: how long balancers need to notice; the node's own setting if None.

    ``watch_s``: how long the first answers of a node that is back are watched, at least as long as
    balancers need; ``errors_max``: the share of them that may be errors more than before.
    ``timeout_s``: of each command, and for a node to be ready again. ``force``: the only node may
    go, too.
    """

    shell: bool = False
    notice_s: float | None = None
    watch_s: float = 5.0
    errors_max: float = 0.01
    timeout_s: float = 300.0
    force: bool = False


class StoppedError(HoldfastError):
    """The upgrade stopped; the message says at which node, why, and what is now."""

    code = "upgrade_stopped"
    status = 409


class NotReplacedError(HoldfastError):
    """The node's successor did not take over, and the message has its reason."""

    code = "not_replaced"
    status = 409


def wanted_of(
    nodes: Sequence[str], run: Sequence[str], package: Path | None, *, in_place: bool
) -> Wanted:
    """What is to be done, as the file of its progress knows it; raises ``PackageError``."""
    wanted = Wanted(tuple(nodes), tuple(run), in_place)
    if package is None:
        return wanted
    manifest = open_package(package, Limits(), ()).manifest
    return msgspec.structs.replace(
        wanted,
        package=hashlib.sha256(package.read_bytes()).hexdigest(),
        service=manifest.service.id,
        generation=manifest.generation,
    )


async def begin(wanted: Wanted, file: ProgressFile, key: str) -> Progress:
    """What was broken off, or a new beginning; raises ``ConflictError`` if two nodes are out."""
    progress = file.read(wanted)
    if progress is not None:
        return progress
    found: list[tuple[str, str, bool]] = []
    began: dict[str, ByEndpoint] = {}
    for url in wanted.nodes:
        async with NodeApi(url, key) as api:
            alive = await api.is_alive()
            zone = str((await api.status())["zone"])
            found.append((url, zone, alive))
            began[url] = await counts(api, wanted.service)
    progress = Progress(wanted, ordered(found))
    for node in progress.nodes:
        node.began = began[node.url]
    return progress


class Rolling:
    """One run. ``say``: told what happens, (URL, text)."""

    def __init__(
        self,
        progress: Progress,
        file: ProgressFile,
        package: Path | None,
        key: str,
        options: Options,
        say: Callable[[str, str], None],
    ) -> None:
        self._progress = progress
        self._wanted = progress.wanted
        self._file = file
        self._package = package
        self._key = key
        self._options = options
        self._say = say

    async def run(self) -> None:
        """Upgrade all; raises ``StoppedError`` once things are as safe as they can be made."""
        while (node := self._progress.next()) is not None:
            try:
                async with NodeApi(node.url, self._key) as api:
                    await self._upgrade(node, api)
            except HoldfastError as error:
                reason = without_url(error, node.url)
                self._say(node.url, f"stopped: {reason}")
                told = await self._roll_back(node, watched=isinstance(error, GateError))
                self._file.remove()
                raise StoppedError(f"Stopped at {node.url}: {reason} {told}") from None
        self._file.remove()

    async def _upgrade(self, node: NodeProgress, api: NodeApi) -> None:
        steps = {
            Step.WAITING: self._take_out,
            Step.LEAVING: self._take_out,
            Step.OUT: self._restart,
            Step.RESTARTING: self._restart,
            Step.STARTED: self._bring,
            Step.LOADED: self._bring,
            Step.BACK: self._watch,
        }
        while node.step is not Step.DONE:
            await steps[node.step](node, api)

    def _reached(self, node: NodeProgress, step: Step, text: str = "") -> None:
        node.step = step
        self._file.write(self._progress)
        if text:
            self._say(node.url, text)

    # ---- D17: out of the pool ------------------------------------------------------------------

    async def _take_out(self, node: NodeProgress, api: NodeApi) -> None:
        await self._others_alive(node)
        status = await api.status()
        if node.step is Step.WAITING:
            node.process = _process_of(status)
            node.mapping = await self._mapping(api)
            self._reached(node, Step.LEAVING)
        # The node's own list of others may be shorter than ours, which has just been looked at.
        force = self._options.force or len(self._progress.nodes) > 1
        status = await api.call("POST", f"node/out?force={int(force)}")
        try:
            await self._others_alive(node)  # nobody else did the same meanwhile
        except ConflictError:
            await api.call("POST", "node/back")
            raise
        notice_s = self._notice_s(status)
        self._say(node.url, f"out of the pool; balancers have {notice_s:g} s to notice")
        await asyncio.sleep(notice_s)
        await self._until(api, "its queries to end", _FINISH_S, lambda one: one["queries"] == 0)
        life = await counts(api, self._wanted.service)
        node.before = (life, since(life, node.began))
        self._reached(node, Step.OUT)

    async def _others_alive(self, node: NodeProgress) -> None:
        others = [one.url for one in self._progress.nodes if one is not node]
        if not others and not self._options.force:
            raise ConflictError("It is the only node named, so queries would be lost. Force it?")

        async def alive(url: str) -> bool:
            async with NodeApi(url, self._key) as api:
                return await api.is_alive()

        found = await asyncio.gather(*[alive(url) for url in others])
        down = [url for url, up in zip(others, found, strict=True) if not up]
        if down:
            raise ConflictError(f"{', '.join(down)} is not alive: no other is taken out.")

    async def _mapping(self, api: NodeApi) -> dict[str, Any] | None:
        for one in (await api.call("GET", "services"))["services"]:
            if one["serviceId"] == self._wanted.service and one["enabled"]:
                mapping: dict[str, Any] = one["mapping"]
                return mapping if mapping["entries"] else None
        return None

    def _notice_s(self, status: dict[str, Any]) -> float:
        told = self._options.notice_s
        return float(status["drainNoticeS"]) if told is None else told

    # ---- D18: stop, upgrade, restart -----------------------------------------------------------

    async def _restart(self, node: NodeProgress, api: NodeApi) -> None:
        if not self._wanted.commands and not self._wanted.in_place:
            self._reached(node, Step.STARTED)
            return
        # When it is another process already, our own is who was killed in between.
        if node.step is Step.OUT or await self._is_same(node, api):
            self._reached(node, Step.RESTARTING, "restarting")
            if self._wanted.in_place:
                await api.call("POST", "node/replace")
            for template in self._wanted.commands:
                argv = commands.argv_of(template, node.url, node.zone, shell=self._options.shell)
                await commands.run(argv, self._options.timeout_s)
        looks = 0

        def new(status: dict[str, Any]) -> bool:
            nonlocal looks
            is_new = _process_of(status) != node.process
            succession: dict[str, Any] = status.get("successor") or {}
            if self._wanted.in_place and not is_new and succession.get("state") == "failed":
                raise NotReplacedError(f"It goes on as it was. {succession['reason']}")
            loading = status["reason"] == "loading" or status.get("loading")
            looks = looks + 1 if is_new and status["state"] == "serving" and not loading else 0
            return looks >= _NEW_LOOKS

        await self._until(api, "it to be there again", self._options.timeout_s, new)
        self._reached(node, Step.STARTED, f"restarted, version {(await api.status())['version']}")

    async def _is_same(self, node: NodeProgress, api: NodeApi) -> bool:
        try:
            return _process_of(await api.status()) == node.process
        except HoldfastError:
            return True  # it is down, so the commands shall bring it up

    async def _until(
        self,
        api: NodeApi,
        what: str,
        timeout_s: float,
        holds: Callable[[dict[str, Any]], bool],
    ) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    with contextlib.suppress(ConflictError, UnavailableError):  # it is on its way
                        if holds(await api.status()):
                            return
                    await asyncio.sleep(_LOOK_S)
        except TimeoutError:
            raise UnavailableError(f"Waited {timeout_s:g} s for {what}, in vain.") from None

    # ---- D19: the package; D20: back -----------------------------------------------------------

    async def _bring(self, node: NodeProgress, api: NodeApi) -> None:
        wanted = self._wanted
        if self._package is not None:
            await load(api, self._package, wanted.service, wanted.generation)
            self._reached(node, Step.LOADED)
            await switch(api, wanted.service, wanted.generation)
            self._say(node.url, f"serves {wanted.service}/{wanted.generation}")
        asked = await check_ready(api)
        await self._back(api)
        self._reached(node, Step.BACK, f"ready ({asked} test queries), and back in the pool")

    async def _back(self, api: NodeApi) -> None:
        await api.call("POST", "node/back")
        if not await api.is_alive():
            reason = (await api.status())["reason"]
            raise GateError(f"{api.url} is not alive: {reason}.")

    async def _watch(self, node: NodeProgress, api: NodeApi) -> None:
        wanted = self._wanted
        before = await counts(api, wanted.service, wanted.generation)
        others = await self._unchanged()
        notice_s = self._notice_s(await api.status())
        await asyncio.sleep(max(self._options.watch_s, notice_s))
        found = since(await counts(api, wanted.service, wanted.generation), before)
        meanwhile = await self._unchanged()
        of_others = pooled(since(now, others.get(url, {})) for url, now in meanwhile.items())
        was = [*node.before, of_others]
        check_errors(node.url, found, was, self._options.errors_max)
        all_of_it = total(found)
        self._reached(
            node,
            Step.DONE,
            f"done: {all_of_it.answers} queries answered, {all_of_it.errors} with errors",
        )

    async def _unchanged(self) -> dict[str, ByEndpoint]:
        """What those have answered who are as before; what they err now is no fault of the new."""
        found: dict[str, ByEndpoint] = {}
        for one in self._progress.nodes:
            if one.step is Step.WAITING:
                async with NodeApi(one.url, self._key) as api:
                    with contextlib.suppress(HoldfastError):
                        found[one.url] = await counts(api, self._wanted.service)
        return found

    # ---- when it fails -------------------------------------------------------------------------

    async def _roll_back(self, failed: NodeProgress, *, watched: bool) -> str:
        """The package as it was on all nodes; the failed one back if it is fit. What is now."""
        told = [
            await self._previous(node)
            for node in self._progress.nodes
            if self._wanted.package and node.step >= Step.LOADED
        ]
        if failed.step is Step.WAITING:
            return " ".join(told)
        async with NodeApi(failed.url, self._key) as api:
            try:
                if watched and not self._wanted.package and failed.step is Step.BACK:
                    await api.call("POST", "node/out?force=1")
                    raise GateError("its software is what is new")
                await check_ready(api)
                await self._back(api)
                told.append(f"{failed.url} is back in the pool.")
            except HoldfastError as error:
                told.append(f"{failed.url} stays out of the pool: {error.message}")
        return " ".join(told)

    async def _previous(self, node: NodeProgress) -> str:
        service = self._wanted.service
        try:
            async with NodeApi(node.url, self._key) as api:
                actions = f"services/{name(service)}/actions"
                if node.mapping is None:
                    await api.call("POST", f"{actions}/disable")
                    return f"{node.url} does not serve {service}, as before."
                await api.call("POST", f"{actions}/setMapping", msgspec.json.encode(node.mapping))
        except HoldfastError as error:
            return f"{node.url} still serves the new package: {error.message}"
        before = ", ".join(entry["generation"] for entry in node.mapping["entries"])
        self._say(node.url, f"serves {service}/{before} again")
        return f"{node.url} serves {before} again."


def _process_of(status: dict[str, Any]) -> str:
    return f"{status['pid']}-{status['startedOn']}"
