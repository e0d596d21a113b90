"""Every failure becomes an answer in the shape of the API it happened in; never a traceback."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, cast

import msgspec
import structlog
from litestar import Request, Response
from litestar.exceptions import (
    HTTPException,
    MethodNotAllowedException,
    NotFoundException,
    ValidationException,
)
from litestar.exceptions.http_exceptions import RequestEntityTooLarge

from holdfast.errors import HoldfastError
from holdfast.web.apis import plain_error
from holdfast.web.context import ADDRESS, REQUEST_ID, api_of, state_of

_LOG = structlog.get_logger("holdfast.web")


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """What went wrong, before it takes an API's shape."""

    status: int
    code: str
    message: str
    headers: dict[str, str] = {}


def answer(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    """The one exception handler of the application."""
    failure = describe(request, error)
    api = api_of(request.scope)
    headers = dict(failure.headers)
    if failure.status == HTTPStatus.UNAUTHORIZED:
        address = state_of(request.scope)[ADDRESS]
        headers["WWW-Authenticate"] = f'Keystone uri="{address}/identity"'
    if failure.status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers.setdefault("Retry-After", "1")
    shape = plain_error
    if api is not None:
        shape = api.error_body
        headers.update(api.error_headers(dict(request.scope["headers"])))
    body = shape(failure.status, failure.code, failure.message)
    return Response(
        body, status_code=failure.status, headers=headers, media_type="application/json"
    )


def describe(request: Request[Any, Any, Any], error: Exception) -> Failure:
    """Status, code and sentence for any exception; the unexpected are logged and hidden."""
    if isinstance(error, HoldfastError):
        if error.status < 500 or error.status == HTTPStatus.SERVICE_UNAVAILABLE:
            return _of_ours(error)
        _LOG.warning("request failed", request_id=_id(request), code=error.code, why=error.message)
        return _of_ours(error)
    if isinstance(error, HTTPException) and error.status_code < 500:
        return _of_litestar(request, error)
    if isinstance(error, RecursionError):
        return Failure(status=400, code="invalid", message="the request is nested too deeply")
    _LOG.error("request crashed", request_id=_id(request), path=request.url.path, exc_info=error)
    return Failure(
        status=500,
        code="internal",
        message=f"an internal error, which has been logged: quote {_id(request)} to report it",
    )


def _id(request: Request[Any, Any, Any]) -> str:
    return cast("str", state_of(request.scope)[REQUEST_ID])


def _of_ours(error: HoldfastError) -> Failure:
    extra = error.details.get("headers")
    headers: dict[str, str] = {}
    if isinstance(extra, Mapping):
        pairs = cast("Mapping[object, object]", extra)
        headers = {str(name): str(value) for name, value in pairs.items()}
    return Failure(status=error.status, code=error.code, message=error.message, headers=headers)


def _of_litestar(request: Request[Any, Any, Any], error: HTTPException) -> Failure:
    """The framework's own refusals, in sentences that help."""
    status, path = error.status_code, request.url.path
    headers = dict(error.headers or {})
    if isinstance(error, ValidationException):
        return Failure(status=400, code="invalid", message=_faults(error))
    if isinstance(error, MethodNotAllowedException):
        allowed = headers.get("allow", "")
        message = f"{request.method} is not allowed on {path}; allowed: {allowed}"
        return Failure(
            status=405, code="method_not_allowed", message=message, headers={"Allow": allowed}
        )
    if isinstance(error, RequestEntityTooLarge):
        return Failure(status=413, code="too_large", message="the request body is too large")
    if type(error) is NotFoundException:
        return Failure(status=404, code="not_found", message=f"there is nothing at {path}")
    code = {415: "unsupported_media_type", 401: "not_authenticated", 403: "forbidden"}
    return Failure(status=status, code=code.get(status, "invalid"), message=error.detail)


def _faults(error: ValidationException) -> str:
    """All faults of a request in one sentence, each with the field it concerns."""
    extra: object = error.extra
    if not isinstance(extra, list) or not extra:
        return error.detail
    parts: list[str] = []
    for fault in cast("list[object]", extra):
        if isinstance(fault, dict):
            said = cast("dict[str, object]", fault)
            key = said.get("key")
            parts.append(f"{key}: {said.get('message')}" if key else str(said.get("message")))
    return "the request is not valid: " + "; ".join(parts)
