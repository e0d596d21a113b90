"""Routes of nodes: what is done with them. Verbs answer 202 with an empty body."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Response, delete, get, put
from litestar.response.base import ASGIResponse

from holdfast.baremetal.api.call import SET_BY_ANSWER, Call, Segment, TheCall
from holdfast.baremetal.api.nodes import GET
from holdfast.baremetal.api.versions import exists_since, require
from holdfast.baremetal.service.verbs import BootDevice, PowerRequest, ProvisionRequest
from holdfast.errors import InvalidInputError, NotFoundError
from holdfast.store.model import Json

PROVISION = {"policy": "baremetal:node:set_provision_state"}
POWER = {"policy": "baremetal:node:set_power_state"}
VALIDATE = {"policy": "baremetal:node:validate"}
BOOT_DEVICE_GET = {"policy": "baremetal:node:get_boot_device"}
PASSTHRU = {"policy": "baremetal:node:vendor_passthru"}
BOOT_DEVICE = {"policy": "baremetal:node:set_boot_device"}
MAINTENANCE = {"policy": "baremetal:node:set_maintenance"}
TRAITS = {"policy": "baremetal:node:traits:set"}

_VERB_SINCE = {
    "manage": 4,
    "provide": 4,
    "inspect": 6,
    "abort": 13,
    "clean": 15,
    "adopt": 17,
    "rescue": 38,
    "unrescue": 38,
    "deploy": 73,
    "undeploy": 73,
    "unhold": 85,
    "service": 87,
}


@put("/v1/nodes/{ident:str}/states/provision", opt=PROVISION)
async def set_provision_state(call: TheCall, ident: Segment) -> ASGIResponse:
    """Start a provision verb."""
    asked = await call.body(ProvisionRequest)
    require(call.minor, _VERB_SINCE.get(asked.target, 1))
    require(call.minor, 69 if asked.deploy_steps is not None else 1)
    require(call.minor, 70 if asked.disable_ramdisk is not None else 1)
    require(call.minor, 92 if asked.runbook is not None else 1)
    if asked.configdrive is not None:
        require(call.minor, 56 if isinstance(asked.configdrive, dict) else 1)
        require(call.minor, 35 if asked.target == "rebuild" else 1)
    await call.in_turn(lambda: call.baremetal.verbs.provision(call.caller, ident, asked))
    return call.done(202)


@put("/v1/nodes/{ident:str}/states/power", opt=POWER)
async def set_power_state(call: TheCall, ident: Segment) -> ASGIResponse:
    """Start a change of power state."""
    asked = await call.body(PowerRequest)
    soft = asked.target.startswith("soft") or asked.timeout is not None
    require(call.minor, 27 if soft else 1)
    await call.in_turn(lambda: call.baremetal.verbs.power(call.caller, ident, asked))
    return call.done(202)


class Reason(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of ``PUT /v1/nodes/{ident}/maintenance``."""

    reason: str | None = None


@put("/v1/nodes/{ident:str}/maintenance", opt=MAINTENANCE)
async def set_maintenance(call: TheCall, ident: Segment) -> ASGIResponse:
    """Put the node in maintenance."""
    body = await call.json()
    reason = Reason() if body is None else await call.body(Reason)
    await call.baremetal.upkeep.set_maintenance(call.caller, ident, True, reason.reason)
    return call.done(202)


@delete("/v1/nodes/{ident:str}/maintenance", opt=MAINTENANCE, status_code=SET_BY_ANSWER)
async def unset_maintenance(call: TheCall, ident: Segment) -> ASGIResponse:
    """Take the node out of maintenance."""
    await call.baremetal.upkeep.set_maintenance(call.caller, ident, False)
    return call.done(202)


@get("/v1/nodes/{ident:str}/validate", opt=VALIDATE)
async def validate_node(call: TheCall, ident: Segment) -> Response[bytes]:
    """Per interface: whether the node has what it needs, and what it lacks."""
    return call.answer(await call.baremetal.upkeep.validate(call.caller, ident))


@get("/v1/nodes/{ident:str}/management/boot_device", opt=BOOT_DEVICE_GET)
async def show_boot_device(call: TheCall, ident: Segment) -> Response[bytes]:
    """The boot device that was last set."""
    return call.answer(await call.baremetal.upkeep.boot_device(call.caller, ident))


@put("/v1/nodes/{ident:str}/management/boot_device", opt=BOOT_DEVICE)
async def set_boot_device(call: TheCall, ident: Segment) -> ASGIResponse:
    """Start setting the boot device."""
    asked = await call.body(BootDevice)
    await call.in_turn(lambda: call.baremetal.verbs.set_boot_device(call.caller, ident, asked))
    return call.done(204)


@get("/v1/nodes/{ident:str}/management/boot_device/supported", opt=BOOT_DEVICE_GET)
async def show_boot_devices(call: TheCall, ident: Segment) -> Response[bytes]:
    """The devices the node's driver can boot from."""
    devices = await call.baremetal.upkeep.boot_devices(call.caller, ident)
    return call.answer({"supported_boot_devices": devices})


class Traits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of ``PUT /v1/nodes/{ident}/traits``."""

    traits: list[str]


@get("/v1/nodes/{ident:str}/traits", opt=GET)
async def list_traits(call: TheCall, ident: Segment) -> Response[bytes]:
    """The node's traits."""
    require(call.minor, 37)
    return call.answer({"traits": await call.baremetal.read.traits(call.caller, ident)})


@put("/v1/nodes/{ident:str}/traits", opt=TRAITS)
async def set_traits(call: TheCall, ident: Segment) -> ASGIResponse:
    """Replace the node's traits."""
    exists_since(call.minor, 37, changes=True)
    asked = await call.body(Traits)
    await call.in_turn(
        lambda: call.baremetal.upkeep.set_traits(call.caller, ident, lambda _: asked.traits)
    )
    return call.done(204)


@put("/v1/nodes/{ident:str}/traits/{trait:str}", opt=TRAITS)
async def add_trait(call: TheCall, ident: Segment, trait: Segment) -> ASGIResponse:
    """Add one trait."""
    exists_since(call.minor, 37, changes=True)
    if await _has_content(call):
        raise InvalidInputError("No body is expected when a trait is added by its name")
    await call.in_turn(
        lambda: call.baremetal.upkeep.set_traits(
            call.caller, ident, lambda present: [*present, trait]
        )
    )
    return call.done(204)


async def _has_content(call: Call) -> bool:
    body: Json = await call.json()
    return body not in (None, {})


@delete("/v1/nodes/{ident:str}/traits", opt=TRAITS, status_code=SET_BY_ANSWER)
async def remove_traits(call: TheCall, ident: Segment) -> ASGIResponse:
    """Remove all traits."""
    exists_since(call.minor, 37)
    await call.in_turn(lambda: call.baremetal.upkeep.set_traits(call.caller, ident, lambda _: []))
    return call.done(204)


@delete("/v1/nodes/{ident:str}/traits/{trait:str}", opt=TRAITS, status_code=SET_BY_ANSWER)
async def remove_trait(call: TheCall, ident: Segment, trait: Segment) -> ASGIResponse:
    """Remove one trait."""
    exists_since(call.minor, 37)

    def without(present: list[str]) -> list[str]:
        if trait not in present:
            raise NotFoundError(f"Node {ident} doesn't have a trait '{trait}'")
        return [name for name in present if name != trait]

    await call.in_turn(lambda: call.baremetal.upkeep.set_traits(call.caller, ident, without))
    return call.done(204)


@get("/v1/nodes/{ident:str}/vendor_passthru/methods", opt=PASSTHRU)
async def list_vendor_methods(call: TheCall, ident: Segment) -> Response[bytes]:
    """The driver's own methods: this release's drivers have none."""
    await call.baremetal.read.node(call.caller, ident, ("uuid",))
    none: dict[str, Any] = {}
    return call.answer(none)


HANDLERS = (
    set_provision_state,
    set_power_state,
    set_maintenance,
    unset_maintenance,
    validate_node,
    show_boot_device,
    set_boot_device,
    show_boot_devices,
    list_traits,
    set_traits,
    add_trait,
    remove_traits,
    remove_trait,
    list_vendor_methods,
)
