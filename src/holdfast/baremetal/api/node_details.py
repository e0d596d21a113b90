"""Routes of nodes: what is known of their hardware, and what is set up around it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from litestar import Response, delete, get, post, put
from litestar.response.base import ASGIResponse

from holdfast.baremetal.api.call import SET_BY_ANSWER, Segment, TheCall
from holdfast.baremetal.api.versions import exists_since, require
from holdfast.baremetal.errors import MethodNotThereError, NotSupportedError
from holdfast.baremetal.service.vifs import Vif
from holdfast.errors import InvalidInputError, NotFoundError

INVENTORY = {"policy": "baremetal:node:inventory:get"}
BIOS = {"policy": "baremetal:node:bios:get"}
FIRMWARE = {"policy": "baremetal:node:firmware:get"}
RAID = {"policy": "baremetal:node:set_raid_state"}
BOOT_MODE = {"policy": "baremetal:node:set_boot_mode"}
SECURE_BOOT = {"policy": "baremetal:node:set_secure_boot"}
CONSOLE_GET = {"policy": "baremetal:node:get_console"}
CONSOLE_SET = {"policy": "baremetal:node:set_console_state"}
VIF_LIST = {"policy": "baremetal:node:vif:list"}
VIF_ATTACH = {"policy": "baremetal:node:vif:attach"}
VIF_DETACH = {"policy": "baremetal:node:vif:detach"}
VMEDIA_GET = {"policy": "baremetal:node:vmedia:get"}
VMEDIA_ATTACH = {"policy": "baremetal:node:vmedia:attach"}
VMEDIA_DETACH = {"policy": "baremetal:node:vmedia:detach"}
INJECT_NMI = {"policy": "baremetal:node:inject_nmi"}
SHARDS = {"policy": "baremetal:shards:get"}


@get("/v1/nodes/{ident:str}/inventory", opt=INVENTORY)
async def show_inventory(call: TheCall, ident: Segment) -> Response[bytes]:
    """What inspection found in the machine."""
    exists_since(call.minor, 81)
    return call.answer(await call.baremetal.upkeep.inventory(call.caller, ident))


@get("/v1/nodes/{ident:str}/bios", opt=BIOS)
async def list_bios_settings(call: TheCall, ident: Segment) -> Response[bytes]:
    """The BIOS settings that are known: none, as no driver here reads them."""
    exists_since(call.minor, 40)
    await call.baremetal.read.node(call.caller, ident, ("uuid",))
    return call.answer({"bios": []})


@get("/v1/nodes/{ident:str}/bios/{setting:str}", opt=BIOS)
async def show_bios_setting(call: TheCall, ident: Segment, setting: Segment) -> None:
    """One BIOS setting: none is known."""
    exists_since(call.minor, 40)
    await call.baremetal.read.node(call.caller, ident, ("uuid",))
    raise NotFoundError(f"Node {ident} doesn't have a BIOS setting '{setting}'")


@get("/v1/nodes/{ident:str}/firmware", opt=FIRMWARE)
async def list_firmware(call: TheCall, ident: Segment) -> Response[bytes]:
    """The firmware components that are known: none, as no driver here reads them."""
    exists_since(call.minor, 86)
    await call.baremetal.read.node(call.caller, ident, ("uuid",))
    return call.answer({"firmware": []})


@put("/v1/nodes/{ident:str}/states/raid", opt=RAID)
async def set_raid(call: TheCall, ident: Segment) -> ASGIResponse:
    """Say which RAID configuration the node is to get."""
    require(call.minor, 12)
    wanted = await call.object()
    await call.in_turn(lambda: call.baremetal.upkeep.set_raid(call.caller, ident, wanted))
    return call.done(204)


@put("/v1/nodes/{ident:str}/states/boot_mode", opt=BOOT_MODE)
async def set_boot_mode(call: TheCall, ident: Segment) -> None:
    """Change between UEFI and BIOS: refused, no driver here does."""
    exists_since(call.minor, 76)
    await call.baremetal.read.node(call.caller, ident, ("uuid",))
    raise NotSupportedError("Changing the boot mode is not supported yet: set it at the BMC")


@put("/v1/nodes/{ident:str}/states/secure_boot", opt=SECURE_BOOT)
async def set_secure_boot(call: TheCall, ident: Segment) -> None:
    """Switch secure boot on or off: refused, no driver here does."""
    exists_since(call.minor, 76)
    await call.baremetal.read.node(call.caller, ident, ("uuid",))
    raise NotSupportedError("Changing secure boot is not supported yet: set it at the BMC")


class Console(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of ``PUT /v1/nodes/{ident}/states/console``."""

    enabled: bool


@get("/v1/nodes/{ident:str}/states/console", opt=CONSOLE_GET)
async def show_console(call: TheCall, ident: Segment) -> Response[bytes]:
    """Whether the console is enabled, and how to reach it."""
    return call.answer(await call.baremetal.upkeep.console(call.caller, ident))


@put("/v1/nodes/{ident:str}/states/console", opt=CONSOLE_SET)
async def set_console(call: TheCall, ident: Segment) -> ASGIResponse:
    """Enable or disable the console."""
    asked = await call.body(Console)
    await call.in_turn(lambda: call.baremetal.upkeep.set_console(call.caller, ident, asked.enabled))
    return call.done(202)


@get("/v1/nodes/{ident:str}/vifs", opt=VIF_LIST)
async def list_vifs(call: TheCall, ident: Segment) -> Response[bytes]:
    """The virtual interfaces attached to the node."""
    exists_since(call.minor, 28)
    found = await call.baremetal.vifs.all(call.caller, ident)
    return call.answer({"vifs": [{"id": vif} for vif in found]})


@post("/v1/nodes/{ident:str}/vifs", opt=VIF_ATTACH)
async def attach_vif(call: TheCall, ident: Segment) -> ASGIResponse:
    """Attach a virtual interface to a free port."""
    exists_since(call.minor, 28)
    vif = await call.body(Vif)
    require(call.minor, 67 if vif.port_uuid or vif.portgroup_uuid else 28)
    await call.in_turn(lambda: call.baremetal.vifs.attach(call.caller, ident, vif))
    return call.done(204)


@delete("/v1/nodes/{ident:str}/vifs/{vif:str}", opt=VIF_DETACH, status_code=SET_BY_ANSWER)
async def detach_vif(call: TheCall, ident: Segment, vif: Segment) -> ASGIResponse:
    """Detach a virtual interface."""
    exists_since(call.minor, 28)
    await call.in_turn(lambda: call.baremetal.vifs.detach(call.caller, ident, vif))
    return call.done(204)


@get("/v1/shards", opt=SHARDS)
async def list_shards(call: TheCall) -> Response[bytes]:
    """The shards that nodes say they are of, each with how many say so."""
    exists_since(call.minor, 82)
    call.query.finish()
    found: list[dict[str, Any]] = await call.baremetal.read.shards()
    return call.answer({"shards": found})


class Media(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of ``POST /v1/nodes/{ident}/vmedia``: the BMC fetches the image itself."""

    device_type: Literal["cdrom"]
    image_url: Annotated[str, msgspec.Meta(pattern=r"^https?://[!-~]+\Z", max_length=2048)]
    image_download_source: Literal["http"] = "http"


@get("/v1/nodes/{ident:str}/vmedia", opt=VMEDIA_GET)
async def list_vmedia(call: TheCall, ident: Segment) -> None:
    """What is in the virtual drives: refused, as nothing here records it."""
    exists_since(call.minor, 93)
    await call.baremetal.read.node(call.caller, ident, ("uuid",))
    raise NotSupportedError("Listing virtual media is not supported yet: ask the BMC")


@post("/v1/nodes/{ident:str}/vmedia", opt=VMEDIA_ATTACH)
async def attach_vmedia(call: TheCall, ident: Segment) -> ASGIResponse:
    """Start inserting an image into the virtual CD drive."""
    exists_since(call.minor, 89)
    media = await call.body(Media)
    await call.in_turn(lambda: call.baremetal.verbs.set_media(call.caller, ident, media.image_url))
    return call.done(204)


@put("/v1/nodes/{ident:str}/vmedia", opt=VMEDIA_ATTACH)
async def put_vmedia(call: TheCall, ident: Segment) -> None:
    """Not a method of it; before there were virtual media, not even that."""
    exists_since(call.minor, 89)
    raise MethodNotThereError(f"Media are attached to node {ident} by POST")


@delete("/v1/nodes/{ident:str}/vmedia", opt=VMEDIA_DETACH, status_code=SET_BY_ANSWER)
async def detach_vmedia(call: TheCall, ident: Segment) -> ASGIResponse:
    """Start emptying the virtual CD drive."""
    exists_since(call.minor, 89)
    kinds = call.query.names("device_types") or ("cdrom",)
    call.query.finish()
    if kinds != ("cdrom",):
        raise InvalidInputError(f"device_types can only be cdrom, not {', '.join(kinds)}")
    await call.in_turn(lambda: call.baremetal.verbs.set_media(call.caller, ident, None))
    return call.done(204)


@put("/v1/nodes/{ident:str}/management/inject_nmi", opt=INJECT_NMI)
async def inject_nmi(call: TheCall, ident: Segment) -> ASGIResponse:
    """Start sending the machine a non-maskable interrupt."""
    exists_since(call.minor, 29)
    if await call.object():
        raise InvalidInputError("Injecting an NMI takes no arguments: send {}")
    await call.in_turn(lambda: call.baremetal.verbs.inject_nmi(call.caller, ident))
    return call.done(204)


HANDLERS = (
    list_vmedia,
    attach_vmedia,
    put_vmedia,
    detach_vmedia,
    inject_nmi,
    show_inventory,
    list_bios_settings,
    show_bios_setting,
    list_firmware,
    set_raid,
    set_boot_mode,
    set_secure_boot,
    show_console,
    set_console,
    list_vifs,
    attach_vif,
    detach_vif,
    list_shards,
)
