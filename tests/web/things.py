"""An API with everything that can go wrong in one, and an error shape of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from litestar import Request, Router, get, post
from litestar.exceptions import NotFoundException
from litestar.params import FromPath, JSONBody

from holdfast.errors import ConflictError, StoreUnavailableError
from holdfast.identity.catalog import Service
from holdfast.identity.parameters import TheCaller
from holdfast.identity.policy import Policy, Role
from holdfast.web.apis import Api

POLICIES = (
    Policy("things:read", Role.READER),
    Policy("things:write", Role.MEMBER),
    Policy("things:rule", Role.ADMIN, everywhere=True),
)


class Thing(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    size: int = 0


@get("/", opt={"policy": "public"})
async def index(request: Request[Any, Any, Any]) -> dict[str, str]:
    return {"api": request.state.api_url, "address": request.state.address}


@get("/v1/things", opt={"policy": "things:read"})
async def listed(caller: TheCaller) -> dict[str, Any]:
    return {"caller": caller.label()}


@post("/v1/things", opt={"policy": "things:write"})
async def create(data: JSONBody[Thing]) -> Thing:
    return data


@get("/v1/things/{number:int}", opt={"policy": "things:read"})
async def show(number: FromPath[int]) -> dict[str, int]:
    if number > 1:
        raise NotFoundException
    return {"number": number}


@get("/v1/rule", opt={"policy": "things:rule"})
async def rule() -> dict[str, str]:
    return {}


@get("/v1/fail/{how:str}", opt={"policy": "public"})
async def fail(how: FromPath[str]) -> None:
    if how == "conflict":
        raise ConflictError("it is busy", headers={"X-Why": "busy"})
    if how == "database":
        raise StoreUnavailableError("the database did not answer")
    raise RuntimeError("a secret detail")


def error_body(status: int, code: str, message: str) -> dict[str, object]:
    return {"thing_error": {"status": status, "code": code, "message": message}}


def error_headers(headers: Mapping[bytes, bytes]) -> dict[str, str]:
    return {"X-Things-Version": headers.get(b"x-things-version", b"1").decode()}


def rewrite(path: str, headers: Mapping[bytes, bytes]) -> str:
    return f"/v1{path}" if path.startswith("/things") else path


def things() -> Api:
    return Api(
        name="things",
        prefix="/things",
        router=Router(path="/", route_handlers=[index, listed, create, show, rule, fail]),
        policies=POLICIES,
        error_body=error_body,
        error_headers=error_headers,
        rewrite=rewrite,
        service=Service(type="thing", name="things", path="/things"),
        media_types=frozenset({"application/x-things"}),
    )
