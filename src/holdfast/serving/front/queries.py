"""The query API: a path to an endpoint, a generation, its workers; the answer, counted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final
from urllib.parse import unquote

import msgspec

from holdfast.errors import HoldfastError, NotAuthenticatedError, NotFoundError
from holdfast.serving.errors import error_body
from holdfast.serving.front.audit import Audit
from holdfast.serving.front.http import Connection, Request
from holdfast.serving.front.keys import key_of
from holdfast.serving.generations.mounted import Mounted
from holdfast.serving.generations.registry import Registry, Runtime
from holdfast.serving.pool.queue import Query

BASE: Final = "public/api/v1/"
_ROUTES_MAX: Final = 10_000
_VERIFIED_MAX: Final = 1_000
_LENIENT: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_NOT_HERE: Final = (
    "Queries go by POST to /public/api/v1/{service}/{endpoint}/{action}; this path is none."
)


class HttpQuery(Query):
    """A query that a connection waits for."""

    __slots__ = ("connection", "mounted", "who")

    connection: Connection
    mounted: Mounted
    who: bytes


class Queries:
    """Queries in, answers out."""

    def __init__(self, registry: Registry, audit: Audit, clock: Callable[[], float]) -> None:
        self.refused: dict[int, int] = {}  # those that reached no generation, by status
        self._registry = registry
        self._audit = audit
        self._clock = clock
        self._routes: dict[bytes, tuple[str, str, str]] = {}
        self._reply = self._answered

    def ask(self, connection: Connection, request: Request) -> None:
        """Answer a request below ``/public/``: at once if it is refused, else when it is done."""
        try:
            self._ask(connection, request)
        except HoldfastError as error:
            status, body = error_body(error)
            self.refused[status] = self.refused.get(status, 0) + 1
            connection.respond(status, body)

    def _ask(self, connection: Connection, request: Request) -> None:
        route = self._routes.get(request.url) or self._route(request)
        service, endpoint, action = route
        body = request.body
        runtime = self._registry.get(service)
        mounted = runtime.only
        if mounted is None or b"forcedGeneration" in body:
            mounted = _chosen(runtime, body)
        who = self.authorise(mounted, request.authorization)
        actions = mounted.pool.actions.get(endpoint)
        if actions is None or action not in actions:
            mounted.pool.check(endpoint, action)
        now = self._clock()
        timeout_s = mounted.timeout_s
        if request.deadline_ms:
            timeout_s = min(timeout_s, request.deadline_ms / 1000)
        query = HttpQuery(endpoint, action, body, now, now + timeout_s, self._reply)
        query.connection = connection
        query.mounted = mounted
        query.who = who
        mounted.pool.submit(query)
        connection.abandoned = query

    def _answered(self, query: Query, status: int, body: bytes) -> None:
        if not isinstance(query, HttpQuery):
            return
        query.connection.respond(status, body)
        spent_s = self._clock() - query.arrived
        mounted = query.mounted
        mounted.counts[query.endpoint].observe(status, spent_s)
        where = mounted.places[query.endpoint]
        self._audit.note(query.who, where, query.action, status, spent_s, query.body, body)

    def authorise(self, mounted: Mounted, authorization: bytes) -> bytes:
        """Who asks, as a member for the audit; raises ``NotAuthenticatedError``."""
        known = mounted.verified.get(authorization)
        if known is not None:
            return known
        key = key_of(authorization) if authorization else None
        key_id = mounted.key_id(key) if key else None
        if key_id is None and not mounted.public:
            raise NotAuthenticatedError(
                "The service needs one of its API keys, as Basic user or Bearer token."
            )
        who = b'"key":%b,' % msgspec.json.encode(key_id)
        if len(mounted.verified) >= _VERIFIED_MAX:
            mounted.verified.clear()
        mounted.verified[authorization] = who
        return who

    def _route(self, request: Request) -> tuple[str, str, str]:
        path = path_of(request.url)
        parts = path.removeprefix(BASE).split("/")
        if request.method != b"POST" or not path.startswith(BASE) or len(parts) < 3:
            raise NotFoundError(_NOT_HERE)
        if parts[1:3] == ["v2", "models"] and len(parts) == 5:
            route = (parts[0], parts[3], parts[4])  # Open Inference Protocol: …/infer
        elif len(parts) == 3:
            route = (parts[0], parts[1], parts[2])
        else:
            raise NotFoundError(_NOT_HERE)
        if len(self._routes) >= _ROUTES_MAX:
            self._routes.clear()
        self._routes[request.url] = route
        return route


def path_of(url: bytes) -> str:
    """A URL's path without slashes at its ends or doubled ones, decoded."""
    path = url.partition(b"?")[0].decode("latin-1")
    return "/".join(part for part in unquote(path).split("/") if part)


def _chosen(runtime: Runtime, body: bytes) -> Mounted:
    """By what the query says of its dispatch, of which alone it is read here."""
    dispatch: Any = None
    if b'"dispatch"' in body:
        try:
            raw = _LENIENT.decode(body).get("dispatch")
            dispatch = msgspec.json.decode(raw) if raw is not None else None
        except (msgspec.DecodeError, RecursionError):
            dispatch = _slowly(body)
    return runtime.choose(dispatch)


def _slowly(body: bytes) -> Any:
    """A body with a bare NaN; or one that is no JSON, as its worker will say."""
    import json  # noqa: PLC0415 - for the rare body that msgspec is too strict for

    try:
        document: Any = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return document.get("dispatch") if isinstance(document, dict) else None  # pyright: ignore[reportUnknownMemberType,reportUnknownVariableType]
