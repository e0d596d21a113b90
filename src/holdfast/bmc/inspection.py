"""What a Redfish BMC knows of its machine's hardware, in the words of the Bare Metal API.

Each collection is optional, bounded, and read one document after the other: BMCs
are slow, and an inspection is in no hurry. What a BMC does not say is null or left
out, never guessed (DSP0268: Processor, Drive, SimpleStorage, EthernetInterface).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import cast

from holdfast.bmc.untrusted import inside, items, text
from holdfast.store.model import Json

Read = Callable[[Json], Awaitable[Json]]
"""Reads what a link of the BMC's leads to; None where it leads nowhere."""

MEMBERS_MAX = 64  # looked at, of one collection
DISKS_MAX = 128
ARCHITECTURES = {
    "x86-64": "x86_64",
    "x86": "i686",
    "IA-64": "ia64",
    "ARM-A32": "armv7l",
    "ARM-A64": "aarch64",
    "PowerISA": "ppc64le",
    "RV64": "riscv64",
}
BOOT_MODES = {"UEFI": "uefi", "Legacy": "bios"}


async def inventory_of(system: Json, read: Read) -> dict[str, Json]:
    """The hardware of one system.

    ``{"cpu": {architecture, count, frequency (MHz), model_name}, "memory": {physical_mb},
    "disks": [{name, model, serial, size (bytes), rotational}], "interfaces": [{name,
    mac_address, speed_mbps, enabled}], "system_vendor": {…}, "boot": {current_boot_mode}}``
    """
    return {
        "cpu": await _cpu(system, read),
        "memory": {"physical_mb": _memory_mb(system)},
        "disks": await _disks(system, read),
        "interfaces": await _interfaces(system, read),
        "system_vendor": {
            "manufacturer": text(system, "Manufacturer"),
            "product_name": text(system, "Model"),
            "serial_number": text(system, "SerialNumber"),
        },
        "boot": {"current_boot_mode": _boot_mode(system)},
    }


async def _members(holder: Json, name: str, read: Read) -> list[Json]:
    """The documents in the collection that ``holder`` links to as ``name``."""
    collection = inside(holder, name)
    if collection is None:
        return []
    listed = await read(collection)
    found = [await read(member) for member in items(listed, "Members")[:MEMBERS_MAX]]
    return [document for document in found if document is not None]


def _enabled(document: Json) -> bool:
    """Whether a part is there and in use; one that does not say so is."""
    return text(document, "Status", "State") in (None, "Enabled")


def _number(document: Json, *path: str | int) -> int | None:
    """A whole number that says something."""
    value = inside(document, *path)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 2**62:
        return None
    return int(value)


async def _cpu(system: Json, read: Read) -> dict[str, Json]:
    parts = await _members(system, "Processors", read)
    found = [p for p in parts if _enabled(p) and text(p, "ProcessorType") in (None, "CPU")]
    first = found[0] if found else None
    threads = sum(_number(p, "TotalThreads") or _number(p, "TotalCores") or 0 for p in found)
    said = text(first, "InstructionSet") or ""
    return {
        "architecture": ARCHITECTURES.get(said, said.lower() or None),
        "count": threads
        or _number(system, "ProcessorSummary", "LogicalProcessorCount")
        or _number(system, "ProcessorSummary", "Count"),
        "frequency": _number(first, "MaxSpeedMHz"),
        "model_name": text(first, "Model") or text(system, "ProcessorSummary", "Model"),
    }


def _memory_mb(system: Json) -> int | None:
    gib = inside(system, "MemorySummary", "TotalSystemMemoryGiB")
    if isinstance(gib, bool) or not isinstance(gib, int | float) or not 0 < gib < 2**40:
        return None
    return round(gib * 1024)


async def _disks(system: Json, read: Read) -> list[Json]:
    """The drives of each storage; of simple storage only where there is no other."""
    disks: list[Json] = []
    for storage in await _members(system, "Storage", read):
        for drive in items(storage, "Drives")[:MEMBERS_MAX]:
            document = await read(drive)
            size = _number(document, "CapacityBytes")
            if len(disks) < DISKS_MAX and _enabled(document) and size is not None:
                media = text(document, "MediaType")
                about = {"rotational": media == "HDD"} if media in ("HDD", "SSD") else {}
                disks.append({**_disk(document, size), **about})
    if disks:
        return disks
    for storage in await _members(system, "SimpleStorage", read):
        for device in items(storage, "Devices")[:MEMBERS_MAX]:
            size = _number(device, "CapacityBytes")
            if len(disks) < DISKS_MAX and _enabled(device) and size is not None:
                disks.append(_disk(device, size))
    return disks


def _disk(document: Json, size: int) -> dict[str, Json]:
    return {
        "name": text(document, "Name"),
        "model": text(document, "Model"),
        "serial": text(document, "SerialNumber"),
        "size": size,
    }


async def _interfaces(system: Json, read: Read) -> list[Json]:
    found: list[Json] = []
    for document in await _members(system, "EthernetInterfaces", read):
        address = text(document, "MACAddress") or text(document, "PermanentMACAddress")
        if address is None:
            continue
        on = cast("object", inside(document, "InterfaceEnabled"))
        found.append(
            {
                "name": text(document, "Id") or text(document, "Name"),
                "mac_address": address.lower(),
                "speed_mbps": _number(document, "SpeedMbps"),
                "enabled": _enabled(document) and on is not False,
            }
        )
    return found


def _boot_mode(system: Json) -> str | None:
    return BOOT_MODES.get(text(system, "Boot", "BootSourceOverrideMode") or "")
