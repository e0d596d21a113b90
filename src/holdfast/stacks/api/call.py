"""One request to the Orchestration API, read strictly, and its answer."""

from __future__ import annotations

from typing import Any, TypeAlias, cast
from urllib.parse import quote, urlencode
from uuid import UUID

import msgspec
from litestar import Request, Response
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.params import FromPath, SkipValidation
from litestar.response.base import ASGIResponse

from holdfast.errors import ForbiddenError, InvalidInputError
from holdfast.identity.policy import Caller
from holdfast.stacks.api.doors import Doors
from holdfast.stacks.hot.documents import NUL, nul_in
from holdfast.stacks.hot.errors import render_path
from holdfast.stacks.model import Stack
from holdfast.stacks.service import Stacks
from holdfast.stacks.service.reading import Listed
from holdfast.stacks.service.requests import flag_of
from holdfast.store.model import Json
from holdfast.store.pg.database import without_nul

HttpRequest = Request[Any, Any, State]

SET_BY_ANSWER = 200
"""Status of a route's declaration where Litestar's default (204) would forbid an answer object."""

_NUMBER_MAX = 2**31 - 1


class Call:
    """A request. ``url``: the API's root, for links. ``project``: whose stacks it is about."""

    __slots__ = ("_request", "doors", "project", "query", "stacks", "url")

    def __init__(self, request: HttpRequest, stacks: Stacks, doors: Doors) -> None:
        self._request = request
        self.doors = doors
        self.stacks = stacks
        self.url: str = request.state.api_url
        self.query = Query(request)
        self.project: str = cast("str", request.path_params.get("project", ""))
        if self.project and "user" in request.scope:
            self._check_project(cast("Caller", request.user))

    def _check_project(self, caller: Caller) -> None:
        if not caller.may_see(self.project):
            raise ForbiddenError(
                f"the token is of another project than the path: {self.project}; "
                "use an endpoint of the token's own catalog"
            )

    @property
    def caller(self) -> Caller:
        """Who asks. Not there on public routes."""
        return cast("Caller", self._request.user)

    def header(self, name: str) -> str | None:
        """A header of the request."""
        return self._request.headers.get(name)

    async def listed(self, name: str, ident: str, *, deleted: bool = False) -> Listed:
        """The stack that the path names. Raises ``EntityNotFoundError``."""
        return await self.stacks.read.named(self.project, name, ident, deleted=deleted)

    async def stack(self, name: str, ident: str, *, deleted: bool = False) -> Stack:
        """The same, alone."""
        return (await self.listed(name, ident, deleted=deleted)).stack

    async def json(self) -> Json:
        """The body as JSON. Raises ``InvalidInputError``; an empty body is null."""
        body = await self._request.body()
        if not body:
            return None
        try:
            return msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError) as fault:
            raise InvalidInputError(f"The body is not valid JSON: {fault}") from None

    async def object(self, *, from_machine: bool = False) -> dict[str, Json]:
        """The body as a JSON object, of which everything can be kept.

        A NUL is a fault of whoever wrote it; in what a machine reports (the output of a
        script) it becomes U+FFFD, for a machine does not try again with something else.
        """
        body = await self.json()
        if not isinstance(body, dict):
            raise InvalidInputError("The body must be a JSON object")
        found = cast("dict[str, Json]", body)
        if from_machine:
            return cast("dict[str, Json]", without_nul(found))
        if b"\\u0000" in await self._request.body() and (path := nul_in(found)) is not None:
            raise InvalidInputError(f"{render_path(path)}: {NUL}")
        return found

    def url_of(self, stack: Stack, *rest: str) -> str:
        """The address of a stack, or of something of it."""
        return self.url_at(stack.project, stack.name, stack.id, *rest)

    def url_at(self, project: str, name: str, ident: UUID, *rest: str) -> str:
        """The same, of a stack of which only this is known."""
        parts = ("v1", project, "stacks", name, str(ident), *rest)
        return "/".join([self.url, *(quote(part, safe=":") for part in parts)])

    def answer(
        self, content: object, status: int = 200, headers: dict[str, str] | None = None
    ) -> Response[bytes]:
        """An answer with a JSON body."""
        return Response(
            msgspec.json.encode(content, enc_hook=str),
            status_code=status,
            headers=headers or {},
            media_type="application/json",
        )

    def done(self, status: int, headers: dict[str, str] | None = None) -> ASGIResponse:
        """An answer without a body: 202 for what was accepted, 204 for what is done."""
        answer = ASGIResponse(status_code=status, headers=headers or {})
        if "content-type" in answer.headers:
            del answer.headers["content-type"]
        return answer


class Query:
    """The query string. What a route does not know it leaves alone, as Heat does."""

    __slots__ = ("_given",)

    def __init__(self, request: HttpRequest) -> None:
        self._given: dict[str, list[str]] = {}
        for name, value in request.query_params.multi_items():
            self._given.setdefault(name, []).append(value)

    def names(self) -> set[str]:
        """All that were given."""
        return set(self._given)

    def all(self, name: str) -> tuple[str, ...]:
        """Every value of a parameter. Raises ``InvalidInputError``: nothing here has a NUL."""
        found = tuple(self._given.get(name, ()))
        if any("\0" in value for value in found):
            raise InvalidInputError(f"Invalid {name}: {NUL}")
        return found

    def text(self, name: str) -> str | None:
        """The first value; None if there is none, or an empty one."""
        found = self.all(name)
        return found[0] if found and found[0] else None

    def flag(self, name: str, default: bool = False) -> bool:
        """A boolean parameter. Raises ``InvalidInputError``."""
        value = self.text(name)
        return default if value is None else flag_of(name, value)

    def number(self, name: str) -> int | None:
        """A whole number, zero or more. Raises ``InvalidInputError``."""
        value = self.text(name)
        if value is None:
            return None
        if not (value.isascii() and value.isdigit()) or int(value) > _NUMBER_MAX:
            raise InvalidInputError(
                f"Only integer is allowed as the value of '{name}', zero or more: not {value!r}"
            )
        return int(value)

    def split(self, name: str) -> tuple[str, ...]:
        """A parameter with commas between its values."""
        value = self.text(name)
        return () if value is None else tuple(part for part in value.split(",") if part)

    def filters(self, known: dict[str, str]) -> dict[str, tuple[str, ...]]:
        """The filters among the parameters, by what they are called within."""
        found: dict[str, tuple[str, ...]] = {}
        for name, inner in known.items():
            values = tuple(value for value in self.all(name) if value)
            if values:
                found[inner] = (*found.get(inner, ()), *values)
        return found

    def direction(self) -> str | None:
        """``sort_dir``. Raises ``InvalidInputError``."""
        value = self.text("sort_dir")
        if value not in (None, "asc", "desc"):
            raise InvalidInputError(f"Unknown sort direction {value!r}: use asc or desc")
        return value

    def encoded(self, **changed: object) -> str:
        """The query string, with some of it changed."""
        kept = {name: values for name, values in self._given.items() if name not in changed}
        return urlencode({**kept, **changed}, doseq=True)


TheCall: TypeAlias = NamedDependency[SkipValidation[Call]]  # named ``call``
Segment: TypeAlias = FromPath[str]
