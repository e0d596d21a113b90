"""The Identity API v3 (Keystone's), mounted by ``web`` under ``/identity``.

Paths here are relative to the API's root. ``web`` sets ``request.state.api_url`` (the
URL of that root as the client sees it) and ``request.state.address`` (scheme, host
and port) before any handler runs.
"""

from __future__ import annotations

from typing import Any

from litestar import Request, Response, Router, get
from litestar.di import Provide

from holdfast.identity import (
    api_auth,
    api_catalog,
    api_credentials,
    api_directory,
    api_grants,
    wire,
)
from holdfast.identity.catalog import Catalog
from holdfast.identity.policies import POLICIES
from holdfast.identity.service import Identity
from holdfast.identity.wire import error_body

__all__ = ["POLICIES", "error_body", "router"]


@get("/", opt={"policy": "public"}, status_code=300)
async def versions(request: Request[Any, Any, Any]) -> dict[str, Any]:
    """All versions: 300 Multiple Choices, as Keystone answers."""
    return {"versions": {"values": [wire.version_view(f"{request.state.api_url}/v3")]}}


@get("/v3", opt={"policy": "public"})
async def version(request: Request[Any, Any, Any]) -> dict[str, Any]:
    """The one version."""
    return {"version": wire.version_view(f"{request.state.api_url}/v3")}


async def _not_cached(response: Response[Any]) -> Response[Any]:
    """Tokens must not stay in caches, and every answer depends on who asks."""
    response.headers["Vary"] = "X-Auth-Token"
    response.headers["Cache-Control"] = "no-store"
    return response


def router(identity: Identity, catalog: Catalog) -> Router:
    """All routes of the API over one identity service."""
    return Router(
        path="/",
        route_handlers=[
            versions,
            version,
            *api_auth.HANDLERS,
            *api_catalog.HANDLERS,
            *api_credentials.HANDLERS,
            *api_directory.HANDLERS,
            *api_grants.HANDLERS,
        ],
        dependencies={
            "identity": Provide(lambda: identity, sync_to_thread=False),
            "catalog": Provide(lambda: catalog, sync_to_thread=False),
        },
        after_request=_not_cached,
    )
