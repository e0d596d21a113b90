"""Every route of the Bare Metal API v1 (up to 1.95), and of Identity v3 what its clients need.

Source: the APIs' own references. Literal paths stand before those with parts in braces
that would match them too; HEAD is answered as GET.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
from typing import Final, NamedTuple

BARE_METAL: Final = "/baremetal"
_PART = re.compile(r"\{[^}]*\}")


class Route(NamedTuple):
    """A method and a path below an API's root; ``prefix`` is where that is mounted."""

    prefix: str
    method: str
    path: str


def _routes(prefix: str, text: str) -> list[Route]:
    """One line per path: the methods, separated by commas, then the path."""
    return [
        Route(prefix, method, path)
        for methods, path in (line.split() for line in text.strip().splitlines())
        for method in methods.split(",")
    ]


def _served() -> set[tuple[str, str]]:
    """Method and path of what this release has of the Bare Metal API, "{}" for each part."""
    from holdfast.baremetal import api

    modules = [
        importlib.import_module(f"{api.__name__}.{module.name}")
        for module in pkgutil.iter_modules(api.__path__)
        if module.name != "absent"
    ]
    handlers = [api.root, api.v1, *(h for m in modules for h in getattr(m, "HANDLERS", ()))]
    return {
        (method, _PART.sub("{}", path))
        for handler in handlers
        for path in handler.paths
        for method in handler.http_methods
    }


_VERSIONS = """
GET /
GET /v1
"""

_NODES = """
GET,POST /v1/nodes
GET /v1/nodes/detail
GET,PATCH,DELETE /v1/nodes/{node}
GET /v1/nodes/{node}/validate
PUT,DELETE /v1/nodes/{node}/maintenance
GET /v1/nodes/{node}/states
PUT /v1/nodes/{node}/states/power
PUT /v1/nodes/{node}/states/provision
PUT /v1/nodes/{node}/states/raid
GET,PUT /v1/nodes/{node}/states/console
PUT /v1/nodes/{node}/states/boot_mode
PUT /v1/nodes/{node}/states/secure_boot
GET,PUT /v1/nodes/{node}/management/boot_device
GET /v1/nodes/{node}/management/boot_device/supported
PUT /v1/nodes/{node}/management/inject_nmi
GET /v1/nodes/{node}/management/indicators
GET /v1/nodes/{node}/management/indicators/{component}
GET,PUT /v1/nodes/{node}/management/indicators/{component}/{indicator}
GET,PUT,DELETE /v1/nodes/{node}/traits
PUT,DELETE /v1/nodes/{node}/traits/{trait}
GET,POST /v1/nodes/{node}/vifs
DELETE /v1/nodes/{node}/vifs/{vif}
GET,POST,DELETE /v1/nodes/{node}/vmedia
GET /v1/nodes/{node}/bios
GET /v1/nodes/{node}/bios/{setting}
GET /v1/nodes/{node}/firmware
GET /v1/nodes/{node}/history
GET /v1/nodes/{node}/history/{event}
GET /v1/nodes/{node}/inventory
GET /v1/nodes/{node}/children
GET /v1/nodes/{node}/ports
GET /v1/nodes/{node}/ports/detail
GET /v1/nodes/{node}/portgroups
GET /v1/nodes/{node}/portgroups/detail
GET /v1/nodes/{node}/volume
GET /v1/nodes/{node}/volume/connectors
GET /v1/nodes/{node}/volume/targets
GET,DELETE /v1/nodes/{node}/allocation
GET /v1/nodes/{node}/vendor_passthru/methods
GET,POST,PUT,DELETE /v1/nodes/{node}/vendor_passthru
"""

_PORTS = """
GET,POST /v1/ports
GET /v1/ports/detail
GET,PATCH,DELETE /v1/ports/{port}
GET,POST /v1/portgroups
GET /v1/portgroups/detail
GET,PATCH,DELETE /v1/portgroups/{portgroup}
GET /v1/portgroups/{portgroup}/ports
"""

_DRIVERS = """
GET /v1/drivers
GET /v1/drivers/{driver}
GET /v1/drivers/{driver}/properties
GET /v1/drivers/{driver}/raid/logical_disk_properties
GET /v1/drivers/{driver}/vendor_passthru/methods
GET,POST,PUT,DELETE /v1/drivers/{driver}/vendor_passthru
GET /v1/conductors
GET /v1/conductors/{conductor}
GET /v1/shards
"""

_OTHERS = """
GET,POST /v1/allocations
GET,PATCH,DELETE /v1/allocations/{allocation}
GET,POST /v1/chassis
GET /v1/chassis/detail
GET,PATCH,DELETE /v1/chassis/{chassis}
GET,POST /v1/deploy_templates
GET,PATCH,DELETE /v1/deploy_templates/{template}
GET,POST /v1/runbooks
GET,PATCH,DELETE /v1/runbooks/{runbook}
GET,POST,DELETE /v1/inspection_rules
GET,PATCH,DELETE /v1/inspection_rules/{rule}
GET /v1/volume
GET,POST /v1/volume/connectors
GET,PATCH,DELETE /v1/volume/connectors/{connector}
GET,POST /v1/volume/targets
GET,PATCH,DELETE /v1/volume/targets/{target}
POST /v1/events
"""

_RAMDISK = """
GET /v1/lookup
POST /v1/heartbeat/{node}
POST /v1/continue_inspection
"""

_IDENTITY = """
GET /v3
GET,POST,DELETE /v3/auth/tokens
GET /v3/auth/catalog
GET /v3/auth/projects
GET /v3/auth/system
GET /v3/auth/domains
GET,POST /v3/projects
GET,PATCH,DELETE /v3/projects/{project}
GET,POST /v3/users
GET,PATCH,DELETE /v3/users/{user}
POST /v3/users/{user}/password
GET /v3/users/{user}/projects
GET /v3/roles
GET /v3/roles/{role}
GET /v3/projects/{project}/users/{user}/roles
GET,PUT,DELETE /v3/projects/{project}/users/{user}/roles/{role}
GET /v3/system/users/{user}/roles
GET,PUT,DELETE /v3/system/users/{user}/roles/{role}
GET /v3/role_assignments
GET /v3/domains
GET /v3/domains/{domain}
GET /v3/services
GET /v3/services/{service}
GET /v3/endpoints
GET /v3/endpoints/{endpoint}
GET /v3/regions
GET /v3/regions/{region}
GET,POST /v3/users/{user}/application_credentials
GET,DELETE /v3/users/{user}/application_credentials/{credential}
"""

GROUPS: Final[dict[str, list[Route]]] = {
    "Bare metal: versions": _routes(BARE_METAL, _VERSIONS),
    "Bare metal: nodes": _routes(BARE_METAL, _NODES),
    "Bare metal: ports and port groups": _routes(BARE_METAL, _PORTS),
    "Bare metal: drivers and conductors": _routes(BARE_METAL, _DRIVERS),
    "Bare metal: what else there is": _routes(BARE_METAL, _OTHERS),
    "Bare metal: ramdisk agents": _routes(BARE_METAL, _RAMDISK),
    "Identity": _routes("/identity", _IDENTITY),
}


def bare_metal() -> tuple[list[Route], list[Route]]:
    """Of the Bare Metal API: what this release has, and what it lacks."""
    served = _served()
    both: tuple[list[Route], list[Route]] = ([], [])
    for routes in GROUPS.values():
        for route in routes:
            if route.prefix == BARE_METAL:
                both[(route.method, _PART.sub("{}", route.path)) not in served].append(route)
    return both
