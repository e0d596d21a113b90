"""What the Bare Metal API has and this release does not: refused by name, never in silence."""

from __future__ import annotations

from litestar import HttpMethod, route

from holdfast.baremetal.api.call import Call
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


@route(["/v1/{rest:path}"], http_method=_ANY, opt={"policy": "authenticated"})
async def refuse(call: Call, rest: str) -> None:
    """Say whether the path is one of the API's that this release lacks, or none at all."""
    for part in reversed(rest.strip("/").split("/")):
        if part in _RESOURCES:
            raise NoSuchResourceError(f"{_RESOURCES[part]}: not supported yet (/v1{rest})")
    raise NoSuchResourceError(f"There is nothing at {call.url}/v1{rest}")


HANDLERS = (refuse,)
