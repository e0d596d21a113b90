"""Redfish (DMTF DSP0266, DSP0268): the actions of ``commands.Command`` on a ComputerSystem.

Every change is absolute, so that repeating it is harmless, and starts by reading
what it changes. A refusal of a change that is already in effect is no failure:
many BMCs answer so, and it is told apart by observing.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal

from holdfast.bmc.commands import Command
from holdfast.bmc.errors import BmcRefusedError
from holdfast.bmc.inspection import inventory_of
from holdfast.bmc.outbound import Connected
from holdfast.bmc.params import (
    InsertMedia,
    NoParams,
    Observe,
    SetBootDevice,
    SetPower,
    params_of,
)
from holdfast.bmc.redfish_http import ROOT, Link, Reply, Transport, origin_of
from holdfast.bmc.settings import BmcSettings
from holdfast.bmc.untrusted import inside, items, text
from holdfast.errors import InvalidInputError
from holdfast.store.model import Json

POWER_STATES: dict[str, tuple[str, bool]] = {
    # PowerState -> (where it is or goes to, still on its way)
    "On": ("power on", False),
    "Off": ("power off", False),
    "PoweringOn": ("power on", True),
    "PoweringOff": ("power off", True),
}
RESETS: dict[str, tuple[str, ...]] = {
    # Wanted state -> ResetTypes by preference. Never one that toggles (PushPowerButton).
    "power on": ("On", "ForceOn"),
    "power off": ("ForceOff",),
    "soft power off": ("GracefulShutdown",),
    "inject NMI": ("Nmi",),
}
BOOT_TARGETS: dict[str, str] = {"pxe": "Pxe", "disk": "Hdd", "cdrom": "Cd"}
BOOT_DEVICES: dict[str, str] = {target: device for device, target in BOOT_TARGETS.items()}
CD_TYPES = frozenset({"CD", "DVD"})
MANAGERS_MAX = 8  # looked at, of one system
DRIVES_MAX = 16  # looked at, of one collection of virtual media
MEMBERS_NAMED_MAX = 10  # named in an error
PRECONDITION_FAILED = 412
NOT_THERE = frozenset({404, 405, 410, 501})

Action = Callable[["Redfish", Link, Command], Awaitable[dict[str, Json]]]


@dataclass
class Layout:
    """Where a BMC keeps what we use; found once, forgotten when it turns out wrong."""

    system: str  # path of the ComputerSystem
    until: float  # loop time
    media: str | Literal[False] | None = None  # path of the virtual CD; False: there is none


class Redfish:
    """``gateway.Device`` for ``Target.protocol`` redfish. Make it inside the loop; close it."""

    def __init__(self, settings: BmcSettings, connected: Connected) -> None:
        self._settings = settings
        self._transport = Transport(settings, connected)
        self._layouts: OrderedDict[tuple[str, str | None], Layout] = OrderedDict()

    async def execute(self, command: Command, secrets: dict[str, Json]) -> dict[str, Json]:
        """Do one action. ``secrets``: ``username`` and ``password``, or neither."""
        action = ACTIONS.get(command.action)
        if action is None:
            raise InvalidInputError(
                f"Redfish has no action {command.action!r}; known: {', '.join(ACTIONS)}."
            )
        link = Link(self._transport, command, secrets)
        try:
            return await action(self, link, command)
        except BmcRefusedError as error:
            if error.details.get("bmc_status") in NOT_THERE:
                self._layouts.pop(_layout_key(command), None)
            raise

    async def close(self) -> None:
        """Close the sessions at the BMCs, and all connections."""
        await self._transport.close()

    # -- reading --------------------------------------------------------------------------

    async def observe(self, link: Link, command: Command) -> dict[str, Json]:
        """Power, boot override and virtual media, as the BMC says they are now."""
        power_only = params_of(command, Observe).power_only
        layout = await self._layout(link, command)
        system, _ = await link.get(layout.system)
        image: str | None = None
        device = None if power_only else await self._media_path(link, layout, system)
        if device is not None:
            media, _ = await link.get(device)
            image = (text(media, "Image") or "") if _inserted(media) else None
        state, moving = _power(system)
        return {
            "power_state": state,
            "powering": moving,
            "boot_device": _boot_device(system),
            "media": image,
        }

    async def verify(self, link: Link, command: Command) -> dict[str, Json]:
        """Prove that the address, the system and the credentials are right."""
        params_of(command, NoParams)
        layout = await self._layout(link, command)
        system, _ = await link.get(layout.system)
        return {
            "vendor": text(system, "Manufacturer"),
            "model": text(system, "Model"),
            "system_id": layout.system,
            "uuid": text(system, "UUID"),
        }

    async def inspect(self, link: Link, command: Command) -> dict[str, Json]:
        """The hardware, as the BMC knows it (``inspection.inventory_of``)."""
        params_of(command, NoParams)
        layout = await self._layout(link, command)
        system, _ = await link.get(layout.system)

        async def read(reference: Json) -> Json:
            if text(reference, "@odata.id") is None:
                return None
            return await self._get_if_there(link, link.path_of(reference, "a part of the machine"))

        return await inventory_of(system, read)

    # -- power ----------------------------------------------------------------------------

    async def set_power(self, link: Link, command: Command) -> dict[str, Json]:
        """Ask for a power state; that it is reached is for the caller to observe.

        Sent even when the state is already there: a change the BMC has accepted and
        not yet begun would otherwise win.
        """
        wanted = params_of(command, SetPower).state
        layout = await self._layout(link, command)
        kind, path, reply = await self._reset(link, layout, wanted)
        if reply.ok:
            return {}
        system, _ = await link.get(layout.system)
        reached = "power on" if wanted == "power on" else "power off"
        if _power(system)[0] == reached:
            return {}
        raise link.refusal(f"{kind} (POST {path})", reply)

    async def inject_nmi(self, link: Link, command: Command) -> dict[str, Json]:
        """Send the processor a non-maskable interrupt."""
        params_of(command, NoParams)
        layout = await self._layout(link, command)
        kind, path, reply = await self._reset(link, layout, "inject NMI")
        if not reply.ok:
            raise link.refusal(f"{kind} (POST {path})", reply)
        return {}

    async def _reset(self, link: Link, layout: Layout, wanted: str) -> tuple[str, str, Reply]:
        """Ask for the first of the wanted resets that is offered: which, where, the answer."""
        system, _ = await link.get(layout.system)
        reset = inside(system, "Actions", "#ComputerSystem.Reset")
        path = link.path_of(inside(reset, "target"), "ComputerSystem.Reset")
        offered = items(reset, "ResetType@Redfish.AllowableValues")
        kinds = [kind for kind in RESETS[wanted] if not offered or kind in offered]
        if not kinds:
            raise BmcRefusedError(
                f"The BMC at {link.address} cannot do {wanted!r}: of "
                f"{' or '.join(RESETS[wanted])} it offers none."
            )
        return kinds[0], path, await link.send("POST", path, {"ResetType": kinds[0]})

    # -- boot -----------------------------------------------------------------------------

    async def set_boot_device(self, link: Link, command: Command) -> dict[str, Json]:
        """Override the boot source, once or until changed."""
        wanted = params_of(command, SetBootDevice)
        layout = await self._layout(link, command)
        system, headers = await link.get(layout.system)
        body = {
            "Boot": {
                "BootSourceOverrideTarget": BOOT_TARGETS[wanted.device],
                "BootSourceOverrideEnabled": "Continuous" if wanted.persistent else "Once",
            }
        }
        etag = headers.get("ETag") or text(system, "@odata.etag")
        reply = await _patch(link, layout.system, body, etag)
        if not reply.ok:
            raise link.refusal(f"boot device {wanted.device} (PATCH {layout.system})", reply)
        return {}

    # -- virtual media --------------------------------------------------------------------

    async def insert_media(self, link: Link, command: Command) -> dict[str, Json]:
        """Put an image into the virtual CD drive, in place of what may be there."""
        url = params_of(command, InsertMedia).url
        device, media = await self._media(link, command)
        if _inserted(media):
            if media.get("Image") == url:
                return {}
            await self._eject(link, device, media)
        body = {"Image": url, "Inserted": True, "WriteProtected": True}
        path = _media_action(link, media, "InsertMedia")
        reply = await link.send("POST", path, body)
        if not reply.ok:
            media, _ = await link.get(device)
            if not _inserted(media) or media.get("Image") != url:
                raise link.refusal(f"to insert {url} (POST {path})", reply)
        return {}

    async def eject_media(self, link: Link, command: Command) -> dict[str, Json]:
        """Leave the virtual CD drive empty."""
        params_of(command, NoParams)
        device, media = await self._media(link, command)
        if _inserted(media):
            await self._eject(link, device, media)
        return {}

    async def _eject(self, link: Link, device: str, media: dict[str, Json]) -> None:
        path = _media_action(link, media, "EjectMedia")
        reply = await link.send("POST", path, {})
        if not reply.ok:
            media, _ = await link.get(device)
            if _inserted(media):
                raise link.refusal(f"to eject its media (POST {path})", reply)

    # -- finding things -------------------------------------------------------------------

    async def _layout(self, link: Link, command: Command) -> Layout:
        key = _layout_key(command)
        now = asyncio.get_running_loop().time()
        layout = self._layouts.get(key)
        if layout is None or layout.until < now:
            system = await self._system_path(link, command.target.system_id)
            layout = Layout(system=system, until=now + self._settings.discovery_s)
            self._layouts[key] = layout
            if len(self._layouts) > self._settings.bmcs_remembered_max:
                self._layouts.popitem(last=False)
        self._layouts.move_to_end(key)
        return layout

    async def _system_path(self, link: Link, system_id: str | None) -> str:
        if system_id is not None:
            if not system_id.startswith(ROOT):
                raise InvalidInputError(
                    f"The system id {system_id!r} must be the path of a system, as "
                    f"{ROOT}Systems/1; leave it out if the BMC has only one."
                )
            return link.path_of(system_id, "the system")
        root, _ = await link.get(ROOT)
        collection = link.path_of(inside(root, "Systems"), "its systems")
        systems, _ = await link.get(collection)
        members = items(systems, "Members")
        paths = [link.path_of(member, "a system") for member in members[:MEMBERS_NAMED_MAX]]
        if len(members) == 1:
            return paths[0]
        named = ", ".join(paths) or "none"
        raise BmcRefusedError(
            f"The BMC at {link.address} has {len(members)} systems ({named}); "
            "say which by the system id."
        )

    async def _media(self, link: Link, command: Command) -> tuple[str, dict[str, Json]]:
        layout = await self._layout(link, command)
        if layout.media is None:
            system, _ = await link.get(layout.system)
            await self._media_path(link, layout, system)
        if not layout.media:
            raise BmcRefusedError(
                f"The BMC at {link.address} has no virtual CD or DVD drive; boot by network."
            )
        media, _ = await link.get(layout.media)
        return layout.media, media

    async def _media_path(self, link: Link, layout: Layout, system: Json) -> str | None:
        """The virtual CD or DVD drive, of the system or of a manager of it."""
        if layout.media is None:
            layout.media = await self._find_media(link, system) or False
        return layout.media or None

    async def _find_media(self, link: Link, system: Json) -> str | None:
        device = await self._find_media_of(link, system)
        for manager in items(system, "Links", "ManagedBy")[:MANAGERS_MAX]:
            if device is not None:
                break
            holder = await self._get_if_there(link, link.path_of(manager, "a manager"))
            device = await self._find_media_of(link, holder)
        return device

    async def _find_media_of(self, link: Link, holder: Json) -> str | None:
        collection = inside(holder, "VirtualMedia")
        if collection is None:
            return None
        listed = await self._get_if_there(link, link.path_of(collection, "its virtual media"))
        for member in items(listed, "Members")[:DRIVES_MAX]:
            device = link.path_of(member, "a virtual media device")
            media = await self._get_if_there(link, device)
            kinds = (str(kind).upper() for kind in items(media, "MediaTypes"))
            if CD_TYPES.intersection(kinds):
                return device
        return None

    async def _get_if_there(self, link: Link, path: str) -> Json:
        try:
            document, _ = await link.get(path)
        except BmcRefusedError as error:
            if error.details.get("bmc_status") in NOT_THERE:
                return None
            raise
        return document


ACTIONS: dict[str, Action] = {
    "observe": Redfish.observe,
    "verify": Redfish.verify,
    "inspect": Redfish.inspect,
    "set_power": Redfish.set_power,
    "inject_nmi": Redfish.inject_nmi,
    "set_boot_device": Redfish.set_boot_device,
    "insert_media": Redfish.insert_media,
    "eject_media": Redfish.eject_media,
}


async def _patch(link: Link, path: str, body: dict[str, Json], etag: str | None) -> Reply:
    """PATCH under If-Match, for the BMCs that insist on it (DSP0266, 6.5).

    Some compare a weak tag as a strong one, and some refuse even their own; a
    further try is made only when the one before had no effect.
    """
    if etag is not None:
        for tag in dict.fromkeys((etag, etag.removeprefix("W/"))):
            reply = await link.send("PATCH", path, body, {"If-Match": tag})
            if reply.status != PRECONDITION_FAILED:
                return reply
    return await link.send("PATCH", path, body)


def _layout_key(command: Command) -> tuple[str, str | None]:
    return str(origin_of(command.target)), command.target.system_id


def _power(system: Json) -> tuple[str | None, bool]:
    """(power state, whether it is still being reached); None for one we do not know."""
    return POWER_STATES.get(text(system, "PowerState") or "", (None, False))


def _boot_device(system: Json) -> str | None:
    """The boot override in force; a target we never set keeps the BMC's own word for it."""
    if inside(system, "Boot", "BootSourceOverrideEnabled") not in ("Once", "Continuous"):
        return None
    target = text(system, "Boot", "BootSourceOverrideTarget")
    if target is None or target == "None":
        return None
    return BOOT_DEVICES.get(target, target)


def _inserted(media: Json) -> bool:
    """Whether there is something in the drive; some BMCs tell it by the image alone."""
    said = inside(media, "Inserted")
    return said if isinstance(said, bool) else text(media, "Image") is not None


def _media_action(link: Link, media: Json, name: str) -> str:
    target = inside(media, "Actions", f"#VirtualMedia.{name}", "target")
    if target is None:
        raise BmcRefusedError(f"The virtual drive of the BMC at {link.address} has no {name}.")
    return link.path_of(target, name)
