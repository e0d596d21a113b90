"""What the Bare Metal API has and this release does not: refused by name, never in silence."""

from __future__ import annotations

from litestar import HttpMethod, route

from holdfast.baremetal.api.call import TheCall
from holdfast.baremetal.errors import MethodNotThereError, NoSuchResourceError

_RESOURCES = {
    "connectors": "Volume connectors",
    "continue_inspection": "Inspection",
    "events": "External events",
    "indicators": "Indicators",
    "inspection_rules": "Inspection rules",
    "targets": "Volume targets",
    "vendor_passthru": "Vendor passthru",
    "volume": "Volumes",
}

_ANY = [
    HttpMethod.DELETE,
    HttpMethod.GET,
    HttpMethod.PATCH,
    HttpMethod.POST,
    HttpMethod.PUT,
]


# The router does not go back once a longer prefix has matched, so each has its own.
_PATHS = [
    "/v1/{rest:path}",
    "/v1/drivers/{name:str}/{rest:path}",
    "/v1/drivers/{name:str}/vendor_passthru",
    "/v1/drivers/{name:str}/vendor_passthru/{rest:path}",
    "/v1/nodes/{ident:str}/{rest:path}",
    "/v1/nodes/{ident:str}/management/{rest:path}",
    "/v1/nodes/{ident:str}/states/{rest:path}",
    "/v1/nodes/{ident:str}/vendor_passthru",
    "/v1/nodes/{ident:str}/vendor_passthru/{rest:path}",
    "/v1/allocations/{ident:str}/{rest:path}",
    "/v1/chassis/{ident:str}/{rest:path}",
    "/v1/deploy_templates/{ident:str}/{rest:path}",
    "/v1/portgroups/{ident:str}/{rest:path}",
    "/v1/ports/{ident:str}/{rest:path}",
    "/v1/runbooks/{ident:str}/{rest:path}",
]


@route(_PATHS, http_method=_ANY, opt={"policy": "authenticated"})
async def refuse(call: TheCall) -> None:
    """Say whether the path is one of the API's that this release lacks, or none at all."""
    for part in reversed(call.path.strip("/").split("/")):
        if part in _RESOURCES:
            raise NoSuchResourceError(f"{_RESOURCES[part]}: not supported yet ({call.path})")
    if call.method == "PUT" and "/states/" in call.path:
        raise MethodNotThereError(f"There is no state to be set at {call.path}")
    raise NoSuchResourceError(f"There is nothing at {call.path}")


HANDLERS = (refuse,)
