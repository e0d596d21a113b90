"""Routes of the catalog as administrators see it: services, endpoints, and the one region."""

from __future__ import annotations

from typing import Any

from litestar import get

from holdfast.errors import NotFoundError
from holdfast.identity import wire
from holdfast.identity.catalog import Catalog
from holdfast.identity.parameters import AnyRequest, PathId, TheCatalog

_LIST = {"policy": "identity:list"}
_SELF = {"policy": "identity:self"}


def _v3(request: AnyRequest) -> str:
    return f"{request.state.api_url}/v3"


def _linked(request: AnyRequest, plural: str, views: list[dict[str, Any]]) -> list[dict[str, Any]]:
    url = f"{_v3(request)}/{plural}"
    return [{**view, "links": {"self": f"{url}/{view['id']}"}} for view in views]


def _services(request: AnyRequest, catalog: Catalog) -> list[dict[str, Any]]:
    views = [
        {"id": s.id, "type": s.type, "name": s.name, "description": "", "enabled": True}
        for s in catalog.services
    ]
    return _linked(request, "services", views)


def _endpoints(request: AnyRequest, catalog: Catalog) -> list[dict[str, Any]]:
    views = [
        {**endpoint, "service_id": service.id, "enabled": True}
        for service in catalog.services
        for endpoint in catalog.endpoints(service, request.state.address)
    ]
    return _linked(request, "endpoints", views)


def _regions(request: AnyRequest, catalog: Catalog) -> list[dict[str, Any]]:
    region = {"id": catalog.region, "description": "", "parent_region_id": None}
    return _linked(request, "regions", [region])


def _page(request: AnyRequest, plural: str, found: list[dict[str, Any]], *by: str) -> Any:
    """Those that are as the query's parameters ``by`` say."""
    asked = {name: request.query_params[name] for name in by if name in request.query_params}
    fitting = [view for view in found if all(view[name] == asked[name] for name in asked)]
    return wire.collection(plural, fitting, f"{_v3(request)}/{plural}")


def _one(kind: str, found: list[dict[str, Any]], ident: str) -> dict[str, Any]:
    """Raises ``NotFoundError``."""
    for view in found:
        if view["id"] == ident:
            return {kind: view}
    raise NotFoundError(f"Could not find {kind}: {ident}.")


@get("/v3/services", opt=_LIST)
async def list_services(request: AnyRequest, catalog: TheCatalog) -> dict[str, Any]:
    """The APIs of this deployment, filtered by ``type`` and ``name``."""
    return _page(request, "services", _services(request, catalog), "type", "name")


@get("/v3/services/{service_id:str}", opt=_LIST)
async def show_service(
    request: AnyRequest, service_id: PathId, catalog: TheCatalog
) -> dict[str, Any]:
    """One of them."""
    return _one("service", _services(request, catalog), service_id)


@get("/v3/endpoints", opt=_LIST)
async def list_endpoints(request: AnyRequest, catalog: TheCatalog) -> dict[str, Any]:
    """Where they are, filtered by ``service_id``, ``interface`` and ``region_id``."""
    by = ("service_id", "interface", "region_id")
    return _page(request, "endpoints", _endpoints(request, catalog), *by)


@get("/v3/endpoints/{endpoint_id:str}", opt=_LIST)
async def show_endpoint(
    request: AnyRequest, endpoint_id: PathId, catalog: TheCatalog
) -> dict[str, Any]:
    """One of these."""
    return _one("endpoint", _endpoints(request, catalog), endpoint_id)


@get("/v3/regions", opt=_SELF)
async def list_regions(request: AnyRequest, catalog: TheCatalog) -> dict[str, Any]:
    """The one region."""
    return _page(request, "regions", _regions(request, catalog))


@get("/v3/regions/{region_id:str}", opt=_SELF)
async def show_region(
    request: AnyRequest, region_id: PathId, catalog: TheCatalog
) -> dict[str, Any]:
    """The one region, by its name."""
    return _one("region", _regions(request, catalog), region_id)


HANDLERS = [
    list_services,
    show_service,
    list_endpoints,
    show_endpoint,
    list_regions,
    show_region,
]
