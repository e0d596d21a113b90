"""What the front tells the layers behind it about a request, in ``scope["state"]``.

Handlers read ``request.state.api_url`` and ``request.state.address``; the rest is for
``web`` itself.
"""

from __future__ import annotations

from typing import Any, cast

from litestar.types import Scope

from holdfast.web.apis import Api

REQUEST_ID = "request_id"  # req-<uuid>, as OpenStack's clients show it
ADDRESS = "address"  # scheme://host:port by which the client reached us, or the public URL
API_URL = "api_url"  # URL of the root of the API that serves the request, no slash at its end
API = "api"  # the Api itself, or None outside every prefix


def state_of(scope: Scope) -> dict[str, Any]:
    """The request's state, as the front filled it."""
    return scope["state"]


def api_of(scope: Scope) -> Api | None:
    """The API under whose prefix the request is."""
    return cast("Api | None", state_of(scope).get(API))
