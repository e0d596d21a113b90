"""What an inventory means for a node: its properties, and the ports it gets. Pure.

Source of the inventory's shape: ``bmc.inspection``. What the machine does not tell
stays as it is on the node.
"""

from __future__ import annotations

import re
from typing import Any, cast

from holdfast.store.model import Json

_MAC = re.compile(r"(?:[0-9a-f]{2}:){5}[0-9a-f]{2}")
_GIB = 1024**3


def properties_of(inventory: dict[str, Json], present: dict[str, Json]) -> dict[str, Json]:
    """The node's ``properties`` with what was found in them (Ironic's names and units)."""
    cpu, memory, boot = (_part(inventory, name) for name in ("cpu", "memory", "boot"))
    vendor = _part(inventory, "system_vendor").get("manufacturer")
    sizes = [int(disk.get("size") or 0) for disk in _list(inventory, "disks")]
    found: dict[str, Json] = {
        "cpus": cpu.get("count"),
        "cpu_arch": cpu.get("architecture"),
        "memory_mb": memory.get("physical_mb"),
        "local_gb": max(sizes, default=0) // _GIB or None,
        "vendor": vendor,
    }
    if (mode := boot.get("current_boot_mode")) is not None:
        found["capabilities"] = _with_capability(present.get("capabilities"), "boot_mode", mode)
    return present | {name: value for name, value in found.items() if value is not None}


def boot_mode_of(inventory: dict[str, Json]) -> str | None:
    """``uefi``, ``bios``, or None if nobody knows."""
    return _part(inventory, "boot").get("current_boot_mode")


def addresses_of(inventory: dict[str, Json]) -> list[str]:
    """The hardware addresses of the network cards in use: each is to have a port."""
    said = [
        str(card.get("mac_address", "")).lower()
        for card in _list(inventory, "interfaces")
        if card.get("enabled")
    ]
    return list(dict.fromkeys(mac for mac in said if _MAC.fullmatch(mac)))


def _part(inventory: dict[str, Json], name: str) -> dict[str, Any]:
    return cast("dict[str, Any]", inventory.get(name) or {})


def _list(inventory: dict[str, Json], name: str) -> list[dict[str, Any]]:
    return cast("list[dict[str, Any]]", inventory.get(name) or [])


def _with_capability(present: Json, name: str, value: str) -> str:
    """Capabilities are ``name:value`` pairs, joined by commas; the others stay."""
    pairs = str(present).split(",") if present else []
    kept = [pair for pair in pairs if pair.partition(":")[0].strip() != name]
    return ",".join([*kept, f"{name}:{value}"])
