"""What ``web`` needs to know of an API in order to serve it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from litestar import Router

from holdfast.identity.catalog import Service
from holdfast.identity.policy import Policy

ErrorBody = Callable[[int, str, str], Any]
"""(HTTP status, stable code, sentence) -> the JSON document of an error."""


def plain_error(_status: int, code: str, message: str) -> dict[str, str]:
    """Our own shape: a stable code for machines and a sentence for people."""
    return {"code": code, "message": message}


def _same(path: str) -> str:
    return path


def _none(_request_headers: Mapping[bytes, bytes]) -> dict[str, str]:
    return {}


@dataclass(frozen=True, kw_only=True)
class Api:
    """One API: its routes (relative to its own root), and where and how they are served.

    ``prefix`` begins with a slash and does not end in one. ``service``: its entry in the
    catalog, if clients look for it there. ``rewrite``: maps a path relative to the API's
    root to the one that is routed (aliases that clients use). ``media_types``: what
    bodies may be, besides JSON.
    """

    name: str
    prefix: str
    router: Router
    policies: tuple[Policy, ...]
    error_body: ErrorBody = plain_error
    error_headers: Callable[[Mapping[bytes, bytes]], dict[str, str]] = _none
    service: Service | None = None
    rewrite: Callable[[str], str] = _same
    media_types: frozenset[str] = field(default_factory=frozenset[str])
