"""What ``web`` needs to know of an API in order to serve it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any

from litestar import Router

from holdfast.identity.catalog import Service
from holdfast.identity.policy import Caller, Policy

ErrorBody = Callable[[int, str, str], Any]
"""(HTTP status, stable code, sentence) -> the JSON document of an error."""


def plain_error(_status: int, code: str, message: str) -> dict[str, str]:
    """Our own shape: a stable code for machines and a sentence for people."""
    return {"code": code, "message": message}


def _same(path: str, _request_headers: Mapping[bytes, bytes]) -> str:
    return path


async def _nothing_hidden(_caller: Caller, _path: str) -> None:
    return None


def _none(_request_headers: Mapping[bytes, bytes]) -> dict[str, str]:
    return {}


@dataclass(frozen=True, kw_only=True)
class Api:
    """One API: its routes (relative to its own root), and where and how they are served.

    ``prefix`` begins with a slash and does not end in one. ``service``: its entry in the
    catalog, if clients look for it there. ``rewrite``: maps a path relative to the API's
    root to the one that is routed (aliases that clients use). ``hide``: called before
    somebody is told that they may not do something at such a path; raises
    ``NotFoundError`` if they may not even know of what is there. ``background``: what
    runs for as long as the API is served. ``media_types``: what bodies may be, besides JSON.
    """

    name: str
    prefix: str
    router: Router
    policies: tuple[Policy, ...]
    error_body: ErrorBody = plain_error
    error_headers: Callable[[Mapping[bytes, bytes]], dict[str, str]] = _none
    service: Service | None = None
    rewrite: Callable[[str, Mapping[bytes, bytes]], str] = _same
    hide: Callable[[Caller, str], Awaitable[None]] = _nothing_hidden
    background: tuple[Callable[[], Coroutine[Any, Any, None]], ...] = ()
    media_types: frozenset[str] = field(default_factory=frozenset[str])
