"""The query API: a path to an endpoint, a generation, its workers; the answer, counted."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import unquote

import msgspec

from holdfast.errors import HoldfastError, NotAuthenticatedError, NotFoundError
from holdfast.serving.errors import DeadlineError, NotServingError, QueryError, error_body
from holdfast.serving.front.audit import Audit
from holdfast.serving.front.http import Connection
from holdfast.serving.front.keys import key_of
from holdfast.serving.front.request import Request
from holdfast.serving.generations.mounted import Mounted
from holdfast.serving.generations.registry import Registry, Runtime
from holdfast.serving.pool.queue import Query

BASE: Final = "public/api/v1/"
_ROUTES_MAX: Final = 10_000
_VERIFIED_MAX: Final = 1_000
_AUTHORIZATION_BYTES_MAX: Final = 1_000
_SLOW_BYTES_MAX: Final = 64 << 10  # what the lenient parser may hold everybody up with
_LENIENT: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_NOT_HERE: Final = (
    "Queries go by POST to /public/api/v1/{service}/{endpoint}/{action}; this path is none."
)


class HttpQuery(Query):
    """A query that a connection waits for; ``timer``: of the client's own deadline."""

    __slots__ = ("connection", "mounted", "timer", "who")

    connection: Connection
    mounted: Mounted
    timer: asyncio.TimerHandle | None
    who: bytes

    def cancel(self) -> None:
        super().cancel()
        self.mounted.pool.queue.note_cancelled(self.endpoint)
        if self.timer is not None:
            self.timer.cancel()


class Queries:
    """Queries in, answers out. ``clock``: the loop's, but of whole microseconds."""

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
            parts = path_of(request.url).removeprefix(BASE).split("/")
            self._audit.note_refused(parts, status, request.body)
            connection.respond(status, body)

    def admit(self, request: Request) -> None:
        """Raises what a query with this head is refused with, whatever its body."""
        service, _, _ = self._routes.get(request.url) or self._route(request)
        self._vouch(self._registry.get(service), request.authorization)

    def _ask(self, connection: Connection, request: Request) -> None:
        if request.refusal is not None:
            raise request.refusal
        route = self._routes.get(request.url) or self._route(request)
        service, endpoint, action = route
        body = request.body
        runtime = self._registry.get(service)
        mounted = runtime.only
        if mounted is None or b"forcedGeneration" in body:
            self._vouch(runtime, request.authorization)
            mounted = _chosen(runtime, body)
        who = self.authorise(mounted, request.authorization)
        actions = mounted.pool.actions.get(endpoint)
        if actions is None or action not in actions:
            mounted.pool.check(endpoint, action)
        now = self._clock()
        query = HttpQuery(endpoint, action, body, now, now + mounted.timeout_s, self._reply)
        query.connection = connection
        query.mounted = mounted
        query.timer = None
        query.who = who
        patience_ms = request.deadline_ms
        if patience_ms == 0:
            raise _late(patience_ms)
        mounted.pool.submit(query)
        connection.abandoned = query
        if 0 < patience_ms < mounted.timeout_s * 1000:
            loop = asyncio.get_running_loop()
            query.timer = loop.call_later(patience_ms / 1000, self._late, query, patience_ms)

    def _late(self, query: HttpQuery, patience_ms: int) -> None:
        """The client's deadline is here. Its worker, which others may share, goes on."""
        query.timer = None
        self._answered(query, *error_body(_late(patience_ms)))
        query.cancel()

    def _answered(self, query: Query, status: int, body: bytes) -> None:
        if not isinstance(query, HttpQuery):
            return
        if query.timer is not None:
            query.timer.cancel()
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
        if len(authorization) > _AUTHORIZATION_BYTES_MAX:
            authorization = b""
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

    def shown(self, runtime: Runtime, request: Request) -> Mounted:
        """The generation whose documents the request may see; raises as a query is refused."""
        self._vouch(runtime, request.authorization)
        mounted = runtime.choose(None)
        self.authorise(mounted, request.authorization)
        return mounted

    def why_not(self, runtime: Runtime, request: Request) -> str:
        """Why it is not ready; a sentence that says little, to whom shows no key."""
        try:
            self._vouch(runtime, request.authorization)
        except NotAuthenticatedError:
            return _not_serving(runtime).message
        except NotServingError as error:
            return error.message
        return runtime.why_not()

    def _vouch(self, runtime: Runtime, authorization: bytes) -> None:
        """Raises unless one of the service's generations takes the key.

        Whoever has none learns no more than that: not which generations, endpoints or actions
        there are, nor why they do not answer. That there is a service of the name is no secret.
        """
        refusal: HoldfastError | None = None
        for mounted in runtime.mounted.values():
            try:
                self.authorise(mounted, authorization)
            except NotAuthenticatedError as error:
                refusal = error
            else:
                return
        raise refusal or _not_serving(runtime)

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


def _not_serving(runtime: Runtime) -> NotServingError:
    return NotServingError(
        f"The service {runtime.state.id!r} cannot be served now; the node's admin API says why."
    )


def _late(patience_ms: int) -> DeadlineError:
    return DeadlineError(f"No answer within the {patience_ms} ms that the client gave it.")


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
    if len(body) > _SLOW_BYTES_MAX:
        raise QueryError(
            "A query of this size that says where it is to go ('dispatch') is strict JSON: write "
            "null, not NaN."
        )
    try:
        document: Any = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return document.get("dispatch") if isinstance(document, dict) else None  # pyright: ignore[reportUnknownMemberType,reportUnknownVariableType]
