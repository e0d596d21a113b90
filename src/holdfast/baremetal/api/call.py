"""One request, read strictly; and answers with the headers every one of them carries."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias, TypeVar, cast
from urllib.parse import urlencode
from uuid import UUID

import msgspec
from litestar import Request, Response
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.params import FromPath, SkipValidation
from litestar.response.base import ASGIResponse

from holdfast.baremetal.api.versions import asked_minor, headers_of, require
from holdfast.baremetal.errors import NodeLockedError
from holdfast.baremetal.fields import Field, too_new
from holdfast.baremetal.service import Baremetal
from holdfast.baremetal.service.filters import PageQuery
from holdfast.baremetal.service.rows import as_uuid
from holdfast.errors import InvalidInputError
from holdfast.identity.policy import Caller
from holdfast.store.model import Json

HttpRequest = Request[Any, Any, State]
T = TypeVar("T")

SET_BY_ANSWER = 200
"""Status of a route's declaration where Litestar's default (204) would forbid an answer object;
what goes out is the answer's own."""

LOOK_AGAIN_S = 0.1  # whether a locked node is free by now

_TRUE = frozenset({"true", "t", "1", "on", "yes", "y"})
_FALSE = frozenset({"false", "f", "0", "off", "no", "n"})


class Call:
    """A request to this API. ``minor``: its microversion. ``url``: the API's root, for links."""

    __slots__ = ("_request", "baremetal", "minor", "query", "url")

    def __init__(self, request: HttpRequest, baremetal: Baremetal) -> None:
        self._request = request
        self.baremetal = baremetal
        self.minor = asked_minor(dict(request.scope["headers"]))
        self.url: str = request.state.api_url
        self.query = Query(dict(request.query_params), self.minor)

    @property
    def caller(self) -> Caller:
        """Who asks. Not there on public routes."""
        return cast("Caller", self._request.user)

    @property
    def method(self) -> str:
        """How it was asked."""
        return self._request.method

    @property
    def path(self) -> str:
        """The path relative to the API's root."""
        path: str = self._request.scope["path"]
        return "/v1" + path.partition("/v1")[2]

    async def json(self) -> Json:
        """The body as JSON. Raises ``InvalidInputError``; an empty body is null."""
        body = await self._request.body()
        if not body:
            return None
        try:
            decoded: Json = msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError) as fault:
            raise InvalidInputError(f"The body is not valid JSON: {fault}") from None
        if b"\\u0000" in body and _has_nul(decoded):
            raise InvalidInputError("The body has a NUL character (\\u0000), which cannot be kept")
        return decoded

    async def object(self) -> dict[str, Json]:
        """The body as a JSON object."""
        body = await self.json()
        if not isinstance(body, dict):
            raise InvalidInputError("The body must be a JSON object")
        return cast("dict[str, Json]", body)

    async def body(self, kind: type[T]) -> T:
        """The body as a Struct; what is wrong with it is named."""
        try:
            return msgspec.convert(await self.object(), kind)
        except msgspec.ValidationError as fault:
            raise InvalidInputError(f"The body is not valid: {fault}") from None

    async def in_turn(self, change: Callable[[], Awaitable[T]]) -> T:
        """Make a change of a node; if a job has the node in hand, again, but not for long.

        Most jobs are short, and clients do one thing right after the other.
        """
        clock = asyncio.get_running_loop().time
        until = clock() + self.baremetal.settings.locked_wait_s
        while True:
            try:
                return await change()
            except NodeLockedError:
                if clock() >= until:
                    raise
            await asyncio.sleep(LOOK_AGAIN_S)

    def answer(
        self, content: object, status: int = 200, headers: dict[str, str] | None = None
    ) -> Response[bytes]:
        """An answer with a JSON body."""
        return Response(
            msgspec.json.encode(content),
            status_code=status,
            headers={**headers_of(self.minor), **(headers or {})},
            media_type="application/json",
        )

    def done(self, status: int) -> ASGIResponse:
        """An answer without a body: 202 for what was accepted, 204 for what is done."""
        answer = ASGIResponse(status_code=status, headers=headers_of(self.minor))
        # Clients that see a type complain that an empty body is no JSON.
        if "content-type" in answer.headers:
            del answer.headers["content-type"]
        return answer


class Query:
    """The query string. Each parameter is taken once; what is left over is refused."""

    __slots__ = ("_given", "_minor", "_rest")

    def __init__(self, given: dict[str, str], minor: int) -> None:
        self._given = given
        self._rest = dict(given)
        self._minor = minor

    def text(self, name: str, since: int = 1) -> str | None:
        """A parameter as it is. Raises ``NotAcceptableError`` if it came later than asked."""
        value = self._rest.pop(name, None)
        if value is not None:
            require(self._minor, since)
            if "\0" in value:
                raise InvalidInputError(f"Invalid {name}: it has a NUL character")
        return value

    def flag(self, name: str, since: int = 1) -> bool | None:
        """A boolean parameter."""
        value = self.text(name, since)
        if value is None:
            return None
        lowered = value.strip().lower()
        if lowered not in _TRUE | _FALSE:
            raise InvalidInputError(f"Invalid {name}: '{value}' is neither true nor false")
        return lowered in _TRUE

    def names(self, name: str, since: int = 1) -> tuple[str, ...] | None:
        """A comma-separated parameter."""
        value = self.text(name, since)
        if value is None:
            return None
        return tuple(part.strip() for part in value.split(",") if part.strip())

    def uuid(self, name: str, since: int = 1) -> UUID | None:
        """A parameter that is a UUID."""
        value = self.text(name, since)
        if value is None:
            return None
        if (uuid := as_uuid(value)) is None:
            raise InvalidInputError(f"Expected a UUID as {name} but received {value}.")
        return uuid

    def number(self, name: str) -> int | None:
        """A parameter that is a whole number."""
        value = self.text(name)
        if value is None:
            return None
        try:
            return int(value)
        except ValueError:
            raise InvalidInputError(f"{name} must be a whole number, not '{value}'") from None

    def fields(self, table: dict[str, Field]) -> tuple[str, ...] | None:
        """The parameter ``fields``; ``links`` always come along, as in Ironic."""
        asked = self.names("fields", 8)
        if asked is None:
            return None
        if unknown := [name for name in asked if name not in table]:
            raise InvalidInputError(
                f'Field(s) "{", ".join(unknown)}" are not valid; valid are: {", ".join(table)}'
            )
        for name in asked:
            if too_new(table, name, self._minor):
                require(self._minor, table[name].since)
        return tuple(dict.fromkeys((*asked, "links")))

    def page(self, shown: tuple[str, ...]) -> PageQuery:
        """The parameters every list takes."""
        sort_dir = self.text("sort_dir") or "asc"
        if sort_dir not in ("asc", "desc"):
            raise InvalidInputError(f"Invalid sort direction: {sort_dir}; use asc or desc")
        return PageQuery(
            fields=shown,
            limit=self.number("limit"),
            marker=self.uuid("marker"),
            sort_key=self.text("sort_key"),
            sort_dir=sort_dir,
        )

    def finish(self) -> None:
        """Refuse parameters nobody took."""
        if self._rest:
            raise InvalidInputError(f"Unexpected arguments: {', '.join(sorted(self._rest))}")

    def following(self, limit: int, marker: str) -> str:
        """The query string of the next page."""
        kept = {name: v for name, v in self._given.items() if name not in ("limit", "marker")}
        return urlencode({**kept, "limit": limit, "marker": marker})


def _has_nul(document: Json) -> bool:
    """Whether a text or key anywhere in it has a NUL, which PostgreSQL cannot keep."""
    pending: list[Json] = [document]
    while pending:
        value = pending.pop()
        if isinstance(value, str) and "\0" in value:
            return True
        if isinstance(value, dict):
            pending.extend(cast("dict[str, Json]", value))
            pending.extend(cast("dict[str, Json]", value).values())
        elif isinstance(value, list):
            pending.extend(cast("list[Json]", value))
    return False


TheCall: TypeAlias = NamedDependency[SkipValidation[Call]]  # named ``call``
Segment: TypeAlias = FromPath[str]
