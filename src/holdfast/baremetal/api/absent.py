"""What the Bare Metal API has and this release does not: refused by name, never in silence."""

from __future__ import annotations

from litestar import HttpMethod, route

from holdfast.baremetal.api.call import TheCall
from holdfast.baremetal.errors import NoSuchResourceError

_RESOURCES = {
    "allocations": "Allocations",
    "bios": "BIOS settings",
    "chassis": "Chassis",
    "connectors": "Volume connectors",
    "console": "Consoles",
    "continue_inspection": "Inspection",
    "allocation": "Allocations",
    "boot_mode": "Changing the boot mode",
    "deploy_templates": "Deploy templates",
    "events": "External events",
    "firmware": "Firmware components",
    "history": "Node history",
    "indicators": "Indicators",
    "inject_nmi": "Injecting NMI",
    "inspection_rules": "Inspection rules",
    "inventory": "Inventory",
    "portgroups": "Port groups",
    "raid": "RAID configuration",
    "runbooks": "Runbooks",
    "secure_boot": "Changing secure boot",
    "shards": "Shard lists",
    "targets": "Volume targets",
    "vendor_passthru": "Vendor passthru",
    "vifs": "Virtual network interfaces",
    "vmedia": "Virtual media",
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
    "/v1/ports/{ident:str}/{rest:path}",
]


@route(_PATHS, http_method=_ANY, opt={"policy": "authenticated"})
async def refuse(call: TheCall) -> None:
    """Say whether the path is one of the API's that this release lacks, or none at all."""
    for part in reversed(call.path.strip("/").split("/")):
        if part in _RESOURCES:
            raise NoSuchResourceError(f"{_RESOURCES[part]}: not supported yet ({call.path})")
    raise NoSuchResourceError(f"There is nothing at {call.path}")


HANDLERS = (refuse,)
