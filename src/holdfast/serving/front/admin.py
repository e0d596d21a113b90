"""The admin API, as dataikuapi asks it, and what we have beside it (upload, pull, the node)."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final, Protocol, TypeAlias
from urllib.parse import parse_qs, unquote

import msgspec

from holdfast.errors import ForbiddenError, HoldfastError, InvalidInputError, NotFoundError
from holdfast.serving.errors import (
    BodyTooLargeError,
    DiskError,
    PackageError,
    UnknownGenerationError,
)
from holdfast.serving.front.answers import Answer, json_answer
from holdfast.serving.front.keys import AdminKeys
from holdfast.serving.front.metrics import document
from holdfast.serving.front.queries import path_of
from holdfast.serving.front.request import Request, Sink
from holdfast.serving.front.trial import ask_tests
from holdfast.serving.generations.mapping import Entry, decode_mapping
from holdfast.serving.generations.registry import Registry, Runtime
from holdfast.serving.generations.state import Generation
from holdfast.serving.packages.fetch import fetch
from holdfast.serving.peers import Peers
from holdfast.serving.presence import Presence
from holdfast.serving.settings import PackageSettings

BASE: Final = "admin/api/"
_UPLOAD: Final = ("services", "*", "generations", "actions", "upload")
_EMPTY: Final = json_answer({})
_NO_CACHE: Final = (
    "This node has no cache of {}: a package brings its models, and its libraries are the node's."
)
Handler: TypeAlias = Callable[..., Awaitable[Answer]]


class NotHereError(HoldfastError):
    """Part of the reference's API that this node does without; the message says why."""

    code = "not_here"
    status = 501


class Upload(Sink):
    """A body that goes to a file, hashed on the way."""

    def __init__(self, folder: Path, bytes_max: int) -> None:
        fd, name = tempfile.mkstemp(prefix="upload-", dir=folder)
        self.path = Path(name)
        self._file = os.fdopen(fd, "wb")
        self._digest = hashlib.sha256()
        self._bytes_max = bytes_max
        self._size = 0

    def write(self, data: bytes) -> None:
        self._size += len(data)
        if self._size > self._bytes_max:
            raise BodyTooLargeError(f"The package is larger than {self._bytes_max} bytes.")
        self._digest.update(data)
        try:
            self._file.write(data)
        except OSError as error:
            raise _disk_error(error) from None

    def finish(self) -> str:
        """The digest of all that came, in hex; raises ``DiskError``."""
        try:
            self._file.close()
        except OSError as error:
            raise _disk_error(error) from None
        return self._digest.hexdigest()

    def abort(self) -> None:
        with contextlib.suppress(OSError):  # what was not yet written cannot be
            self._file.close()
        self.path.unlink(missing_ok=True)


class Controlled(Protocol):
    """What can be asked of the node as a whole. ``replace``: puts a successor in its place."""

    peers: Peers
    presence: Presence
    replace: Callable[[], None] | None

    def begin_drain(self) -> None: ...
    def status(self) -> dict[str, Any]: ...


class Admin:
    """The admin API of one node."""

    def __init__(
        self,
        registry: Registry,
        keys: AdminKeys,
        settings: PackageSettings,
        scratch: Path,
        node: Controlled,
    ) -> None:
        self._registry = registry
        self._keys = keys
        self._settings = settings
        self._scratch = scratch
        self._controlled = node
        self._routes: dict[tuple[str, ...], Handler] = self._table()

    def sink(self, request: Request) -> Sink | None:
        """Where an upload's body goes; raises for one without a key, before it is read."""
        parts = path_of(request.url).removeprefix(BASE).split("/")
        if request.method != b"POST" or not _matches(_UPLOAD, parts):
            return None
        self._keys.check(request.authorization)
        try:
            return Upload(self._scratch, self._settings.limits.archive_bytes_max)
        except OSError as error:
            raise _disk_error(error) from None

    def check(self, request: Request) -> None:
        """Raises ``NotAuthenticatedError`` unless the request shows an admin key."""
        self._keys.check(request.authorization)

    async def handle(self, request: Request) -> Answer:
        """Answer a request below ``/admin/api/``."""
        self.check(request)
        parts = path_of(request.url).removeprefix(BASE).split("/")
        handler, words = self._find(request.method.decode(), parts)
        return await handler(request, *words)

    def _find(self, method: str, parts: list[str]) -> tuple[Handler, list[str]]:
        for pattern, handler in self._routes.items():
            if pattern[0] == method and _matches(pattern[1:], parts):
                pairs = zip(pattern[1:], parts, strict=True)
                return handler, [part for want, part in pairs if want == "*"]
        raise NotFoundError("There is no such call in the admin API.")

    def _table(self) -> dict[tuple[str, ...], Handler]:
        generations = ("services", "*", "generations")
        actions = ("services", "*", "actions")
        return {
            ("GET", "services"): self._list_services,
            ("POST", "services"): self._create,
            ("GET", "services", "*"): self._show_service,
            ("DELETE", "services", "*"): self._delete,
            ("DELETE", "services-clean-unused"): self._clean,
            ("GET", *generations): self._list_generations,
            ("POST", *generations, "actions", "importFromArchive"): self._import,
            ("POST", *_UPLOAD): self._upload,
            ("POST", *generations, "actions", "pull"): self._pull,
            ("POST", *generations, "*", "preload"): self._preload,
            ("POST", *generations, "*", "test"): self._test,
            ("POST", *actions, "enable"): self._enable,
            ("POST", *actions, "disable"): self._disable,
            ("POST", *actions, "setMapping"): self._set_mapping,
            ("POST", *actions, "switchToNewest"): self._switch_to_newest,
            ("POST", *actions, "switchTo", "*"): self._switch_to,
            ("GET", "keys"): self._list_keys,
            ("POST", "keys"): self._add_key,
            ("DELETE", "keys", "*"): self._delete_key,
            ("DELETE", "keys", "*", "key"): self._delete_key_by_id,
            ("GET", "metrics"): self._metrics,
            ("GET", "node"): self._node,
            ("POST", "node", "drain"): self._begin_drain,
            ("POST", "node", "out"): self._out,
            ("POST", "node", "back"): self._back,
            ("POST", "node", "replace"): self._replace,
            ("POST", "node", "peers"): self._add_peer,
            ("DELETE", "node", "peers"): self._remove_peer,
            ("DELETE", "cached-code-envs"): self._nothing_cached,
            ("DELETE", "model-cache"): self._nothing_cached,
            ("POST", "cached-code-envs"): self._no_code_envs,
            ("POST", "register-global-code-env"): self._no_code_envs,
            ("POST", "model-cache"): self._no_models,
        }

    # ---- services ------------------------------------------------------------------------------

    async def _list_services(self, request: Request) -> Answer:
        return json_answer({"services": [_shown(one) for one in self._registry.services.values()]})

    async def _show_service(self, request: Request, service: str) -> Answer:
        return json_answer(_shown(self._registry.get(service)))

    async def _create(self, request: Request) -> Answer:
        name = _object(request).get("serviceId")
        if not isinstance(name, str):
            raise InvalidInputError("The body needs 'serviceId', a string.")
        await self._registry.create(name)
        return _EMPTY

    async def _delete(self, request: Request, service: str) -> Answer:
        await self._registry.delete(service)
        return _EMPTY

    async def _clean(self, request: Request) -> Answer:
        return json_answer(await self._registry.clean_unused())

    async def _enable(self, request: Request, service: str) -> Answer:
        await self._registry.enable(service)
        return _EMPTY

    async def _disable(self, request: Request, service: str) -> Answer:
        await self._registry.disable(service)
        return _EMPTY

    async def _set_mapping(self, request: Request, service: str) -> Answer:
        await self._registry.switch(service, decode_mapping(_object(request)))
        return _EMPTY

    async def _switch_to_newest(self, request: Request, service: str) -> Answer:
        generation = await self._registry.switch_to_newest(service)
        return json_answer({"serviceId": service, "generationId": generation})

    async def _switch_to(self, request: Request, service: str, generation: str) -> Answer:
        await self._registry.switch(service, (Entry(generation, 1.0),))
        return _EMPTY

    # ---- generations ---------------------------------------------------------------------------

    async def _list_generations(self, request: Request, service: str) -> Answer:
        runtime = self._registry.get(service)
        found = [_generation(runtime, one) for one in runtime.state.generations]
        return json_answer({"generations": found})

    async def _preload(self, request: Request, service: str, generation: str) -> Answer:
        await self._registry.preload(service, generation)
        return _EMPTY

    async def _test(self, request: Request, service: str, generation: str) -> Answer:
        mounted = self._registry.get(service).mounted.get(generation)
        if mounted is None:
            raise UnknownGenerationError(f"No generation {generation!r} is loaded: preload it.")
        asked, faults = await ask_tests(mounted)
        return json_answer({"asked": asked, "faults": faults})

    async def _import(self, request: Request, service: str) -> Answer:
        path = Path(_parameter(request, "filePath"))
        folders = [Path(folder).resolve() for folder in self._settings.archive_folders]
        try:
            found = path.resolve()
            there = found.is_file()
        except (OSError, ValueError, RuntimeError):  # too long, a NUL, links in a circle
            raise InvalidInputError("filePath is no path that this node can look at.") from None
        if not path.is_absolute() or not any(found.is_relative_to(one) for one in folders):
            raise ForbiddenError("filePath is an absolute path below one of archive_folders.")
        if not there:
            raise PackageError(f"There is no file {path} on this node's disk.")
        generation = await self._registry.import_archive(service, found)
        return json_answer(_generation(self._registry.get(service), generation))

    async def _upload(self, request: Request, service: str) -> Answer:
        upload = request.sink
        if not isinstance(upload, Upload):
            raise InvalidInputError("The body is the package.")
        try:
            digest = upload.finish()
            wanted = _parameter(request, "sha256", "").lower().removeprefix("sha256:")
            if wanted and wanted != digest:
                raise PackageError(f"What came has the digest {digest}, not the one told.")
            generation = await self._registry.import_archive(service, upload.path)
        finally:
            upload.path.unlink(missing_ok=True)
        return json_answer(_generation(self._registry.get(service), generation))

    async def _pull(self, request: Request, service: str) -> Answer:
        url, digest = _parameter(request, "url"), _parameter(request, "sha256")
        self._registry.get(service)
        fd, name = await asyncio.to_thread(tempfile.mkstemp, prefix="pull-", dir=self._scratch)
        os.close(fd)
        path = Path(name)
        try:
            await fetch(url, digest.lower().removeprefix("sha256:"), path, self._settings.fetch)
            generation = await self._registry.import_archive(service, path)
        finally:
            with contextlib.suppress(OSError):
                path.unlink()
        return json_answer(_generation(self._registry.get(service), generation))

    # ---- the node ------------------------------------------------------------------------------

    async def _list_keys(self, request: Request) -> Answer:
        return json_answer(self._keys.list())

    async def _add_key(self, request: Request) -> Answer:
        self._registry.check_open()
        return json_answer(self._keys.add(_object(request)))

    async def _delete_key(self, request: Request, key: str) -> Answer:
        self._registry.check_open()
        self._keys.delete(key=key)
        return _EMPTY

    async def _delete_key_by_id(self, request: Request, key_id: str) -> Answer:
        self._registry.check_open()
        self._keys.delete(key_id=key_id)
        return _EMPTY

    async def _metrics(self, request: Request) -> Answer:
        return json_answer(document(self._registry))

    async def _node(self, request: Request) -> Answer:
        return json_answer(self._controlled.status())

    async def _begin_drain(self, request: Request) -> Answer:
        async with self._controlled.presence.leaving(force=_forced(request)):
            self._controlled.begin_drain()
        return json_answer(self._controlled.status(), 202)

    async def _out(self, request: Request) -> Answer:
        await self._controlled.presence.out(force=_forced(request))
        return json_answer(self._controlled.status())

    async def _back(self, request: Request) -> Answer:
        self._controlled.presence.back()
        return json_answer(self._controlled.status())

    async def _replace(self, request: Request) -> Answer:
        if self._controlled.replace is None:
            raise NotHereError("This node is part of another program: restart that.")
        self._controlled.replace()
        return json_answer(self._controlled.status(), 202)

    async def _add_peer(self, request: Request) -> Answer:
        await self._controlled.peers.add(_parameter(request, "url"))
        return json_answer(self._controlled.status())

    async def _remove_peer(self, request: Request) -> Answer:
        await self._controlled.peers.remove(_parameter(request, "url"))
        return json_answer(self._controlled.status())

    async def _nothing_cached(self, request: Request) -> Answer:
        return json_answer({"deleted": []})

    async def _no_code_envs(self, request: Request) -> Answer:
        raise NotHereError(_NO_CACHE.format("code environments"))

    async def _no_models(self, request: Request) -> Answer:
        raise NotHereError(_NO_CACHE.format("models"))


def _matches(pattern: tuple[str, ...], parts: list[str]) -> bool:
    return len(pattern) == len(parts) and all(
        want in ("*", part) for want, part in zip(pattern, parts, strict=True)
    )


def _disk_error(error: OSError) -> DiskError:
    return DiskError(f"The package cannot be written to this node's disk: {error.strerror}.")


def _shown(runtime: Runtime) -> dict[str, Any]:
    state = runtime.state
    return {
        "serviceId": state.id,
        "enabled": state.enabled,
        "ready": runtime.ready,
        "failure": runtime.ailment or None,
        "mapping": {"entries": [msgspec.to_builtins(entry) for entry in state.mapping]},
    }


def _generation(runtime: Runtime, generation: Generation) -> dict[str, Any]:
    name = generation.id
    mounted = runtime.mounted.get(name)
    return {
        "generationId": name,
        "createdOn": generation.created_ms,
        "failed": generation.failed,
        "mounted": mounted is not None,
        "quarantined": mounted is not None and mounted.pool.quarantined,
        "lastFailure": (mounted.pool.last_failure or None) if mounted is not None else None,
        "mapped": any(entry.generation == name for entry in runtime.state.mapping),
        "digest": generation.digest,
    }


def _forced(request: Request) -> bool:
    return _parameter(request, "force", "") in ("1", "true", "yes")


def _object(request: Request) -> dict[str, Any]:
    try:
        return msgspec.json.decode(request.body or b"{}", type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError):
        raise InvalidInputError("The body is not a JSON object.") from None


def _parameter(request: Request, name: str, default: str | None = None) -> str:
    query = request.url.partition(b"?")[2].decode("latin-1")
    try:
        found = parse_qs(query, max_num_fields=20).get(name)
    except ValueError:
        raise InvalidInputError("There are too many parameters.") from None
    if found:
        return unquote(found[0]) if default is None and "%" not in found[0] else found[0]
    if default is None:
        raise InvalidInputError(f"The parameter {name!r} is missing.")
    return default
