"""Query a service on all nodes that have it: ``ApiNodes`` for threads, ``AsyncApiNodes``."""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

from holdfast.client import calls
from holdfast.client.asynchronous import Asynchronous
from holdfast.client.blocking import Blocking
from holdfast.client.calls import Call, Dispatching, Json, Record, document_of, is_hedged
from holdfast.client.discovery import Source, Where, source_of
from holdfast.client.settings import Settings, check_deadline
from holdfast.client.wire import Headers, Query, authorization
from holdfast.errors import InvalidInputError

_JSON = ((b"Content-Type", b"application/json"),)


class _Service:
    """What both faces know: the service, its key, the deadline, which functions are pure."""

    def __init__(
        self,
        where: Where,
        service: str,
        api_key: str | None,
        bearer_token: str | None,
        pure: Iterable[str],
        settings: Settings | None,
        tls: ssl.SSLContext | None,
    ) -> None:
        if not service:
            raise InvalidInputError("Name the service to query.")
        self.service = service
        self.settings = settings or Settings()
        self._source: Source = source_of(where)
        self._headers: Headers = (*_JSON, *authorization(api_key, bearer_token))
        self._pure = frozenset(pure)
        self._deadline_s = self.settings.deadline_s
        self._made_of: Json = {
            "where": self._source,
            "service": service,
            "api_key": api_key,
            "bearer_token": bearer_token,
            "pure": self._pure,
            "settings": self.settings,
            "tls": tls,
        }

    def within(self, deadline_s: float) -> Self:
        """The same client, whose queries have so many seconds, retries and all."""
        check_deadline(deadline_s)
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        other._deadline_s = deadline_s
        return other

    def __reduce__(self) -> tuple[Any, ...]:
        """In another process, or copied, it is one of its own, which finds out all anew."""
        return _made_again, (type(self), self._made_of, self._deadline_s)

    def _query(self, call: Call) -> Query:
        return Query("POST", call.path(self.service), self._headers, call.to_bytes())

    def _is_hedged(self, call: Call) -> bool:
        return is_hedged(call.action, call.endpoint, self._pure)


class ApiNodes(_Service):
    """A service on several nodes; for any number of threads.

    Not for coroutines: a call keeps the event loop waiting, ``AsyncApiNodes`` does not.

    ``where``: URLs of nodes, or a ``DnsName``, ``NodeList``. ``pure``: ids of function endpoints
    that may be asked twice to be quicker. Every call raises ``AnswerError`` if a node answered an
    error, ``NoInstanceError`` if none could be asked, ``DeadlineError`` if time ran out, and
    ``InvalidInputError`` if the query cannot be sent. Answers are the documents of compat.md.
    """

    def __init__(
        self,
        where: Where,
        service: str,
        api_key: str | None = None,
        *,
        bearer_token: str | None = None,
        pure: Iterable[str] = (),
        settings: Settings | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        super().__init__(where, service, api_key, bearer_token, pure, settings, tls)
        probed = quote(service, safe="")
        self._engine = Blocking(self._source, self.settings, probed, tls)

    def predict_record(
        self,
        endpoint: str,
        features: Record,
        *,
        forced_generation: str | None = None,
        dispatch_key: str | None = None,
        context: Record | None = None,
    ) -> Json:
        """``{"result": {"prediction", "probas", …}}``."""
        dispatching = Dispatching(forced_generation, dispatch_key)
        return self._ask(calls.predict_record(endpoint, features, dispatching, context))

    def predict_records(
        self,
        endpoint: str,
        records: Sequence[Record],
        *,
        forced_generation: str | None = None,
        dispatch_key: str | None = None,
    ) -> Json:
        """``records``: each ``{"features": {…}}``. Gives ``{"results": […]}``."""
        dispatching = Dispatching(forced_generation, dispatch_key)
        return self._ask(calls.predict_records(endpoint, records, dispatching))

    def forecast(
        self,
        endpoint: str,
        records: Sequence[Record],
        *,
        forced_generation: str | None = None,
        dispatch_key: str | None = None,
    ) -> Json:
        """``records``: rows of past values. Gives ``{"results": […]}``."""
        dispatching = Dispatching(forced_generation, dispatch_key)
        return self._ask(calls.forecast(endpoint, records, dispatching))

    def sql_query(self, endpoint: str, parameters: Record) -> Json:
        """``{"columns": […], "rows": […]}``."""
        return self._ask(calls.sql_query(endpoint, parameters))

    def lookup_record(
        self, endpoint: str, record: Record, *, context: Record | None = None
    ) -> Json:
        """``{"data": {…}}``, of the one record."""
        return _first(self._ask(calls.lookup_record(endpoint, record, context)))

    def lookup_records(self, endpoint: str, records: Sequence[Record]) -> Json:
        """``records``: each ``{"data": {…}}``. Gives ``{"results": […]}``."""
        return self._ask(calls.lookup_records(endpoint, records))

    def run_function(self, endpoint: str, /, **arguments: Any) -> Json:
        """``{"response": …}``."""
        return self._ask(calls.run_function(endpoint, arguments))

    def instances(self) -> list[Json]:
        """What the client thinks of each node, for people to read."""
        return _shown(self._engine)

    def close(self) -> None:
        """Close connections and stop looking after the nodes."""
        self._engine.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _ask(self, call: Call) -> Json:
        answer, attempt = self._engine.ask(
            self._query(call),
            call.kind,
            self._deadline_s,
            hedged=self._is_hedged(call),
            service=self.service,
        )
        return document_of(answer, str(attempt.instance.address))


class AsyncApiNodes(_Service):
    """As ``ApiNodes``, for one event loop at a time: another only once that is closed."""

    def __init__(
        self,
        where: Where,
        service: str,
        api_key: str | None = None,
        *,
        bearer_token: str | None = None,
        pure: Iterable[str] = (),
        settings: Settings | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        super().__init__(where, service, api_key, bearer_token, pure, settings, tls)
        probed = quote(service, safe="")
        self._engine = Asynchronous(self._source, self.settings, probed, tls)

    async def predict_record(
        self,
        endpoint: str,
        features: Record,
        *,
        forced_generation: str | None = None,
        dispatch_key: str | None = None,
        context: Record | None = None,
    ) -> Json:
        """``{"result": {"prediction", "probas", …}}``."""
        dispatching = Dispatching(forced_generation, dispatch_key)
        return await self._ask(calls.predict_record(endpoint, features, dispatching, context))

    async def predict_records(
        self,
        endpoint: str,
        records: Sequence[Record],
        *,
        forced_generation: str | None = None,
        dispatch_key: str | None = None,
    ) -> Json:
        """``records``: each ``{"features": {…}}``. Gives ``{"results": […]}``."""
        dispatching = Dispatching(forced_generation, dispatch_key)
        return await self._ask(calls.predict_records(endpoint, records, dispatching))

    async def forecast(
        self,
        endpoint: str,
        records: Sequence[Record],
        *,
        forced_generation: str | None = None,
        dispatch_key: str | None = None,
    ) -> Json:
        """``records``: rows of past values. Gives ``{"results": […]}``."""
        dispatching = Dispatching(forced_generation, dispatch_key)
        return await self._ask(calls.forecast(endpoint, records, dispatching))

    async def sql_query(self, endpoint: str, parameters: Record) -> Json:
        """``{"columns": […], "rows": […]}``."""
        return await self._ask(calls.sql_query(endpoint, parameters))

    async def lookup_record(
        self, endpoint: str, record: Record, *, context: Record | None = None
    ) -> Json:
        """``{"data": {…}}``, of the one record."""
        return _first(await self._ask(calls.lookup_record(endpoint, record, context)))

    async def lookup_records(self, endpoint: str, records: Sequence[Record]) -> Json:
        """``records``: each ``{"data": {…}}``. Gives ``{"results": […]}``."""
        return await self._ask(calls.lookup_records(endpoint, records))

    async def run_function(self, endpoint: str, /, **arguments: Any) -> Json:
        """``{"response": …}``."""
        return await self._ask(calls.run_function(endpoint, arguments))

    def instances(self) -> list[Json]:
        """What the client thinks of each node, for people to read."""
        return _shown(self._engine)

    async def close(self) -> None:
        """Close connections and stop looking after the nodes."""
        await self._engine.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def _ask(self, call: Call) -> Json:
        answer, attempt = await self._engine.ask(
            self._query(call),
            call.kind,
            self._deadline_s,
            hedged=self._is_hedged(call),
            service=self.service,
        )
        return document_of(answer, str(attempt.instance.address))


def _made_again(kind: type[_Service], arguments: Json, deadline_s: float) -> _Service:
    made: Any = kind
    again: _Service = made(**arguments)
    return again.within(deadline_s)


def _first(document: Json) -> Json:
    results: list[Json] = document.get("results") or [{}]
    return results[0]


def _shown(engine: Blocking | Asynchronous) -> list[Json]:
    now = time.monotonic()
    return [
        {
            "node": str(one.address),
            "state": one.state(now),
            "inFlight": one.in_flight,
            "reason": one.reason or None,
        }
        for one in engine.dispatch.instances.all
    ]
