"""Hardware types: what a node's ``driver_info`` must and may have, and what it then can do.

A table per driver, pure. The words of ``properties`` are what
``GET /v1/drivers/{name}/properties`` answers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import urlsplit

import msgspec

from holdfast.baremetal.errors import NotSupportedError
from holdfast.errors import InvalidInputError
from holdfast.store.model import Json

INTERFACES = (
    "bios",
    "boot",
    "console",
    "deploy",
    "firmware",
    "inspect",
    "management",
    "network",
    "power",
    "raid",
    "rescue",
    "storage",
    "vendor",
)
"""Kinds of interfaces a driver is made of, in the order of the API's answers."""

_SECRET = re.compile(
    r"password|passwd|secret|token|credential|private_key|community", re.IGNORECASE
)

_AUTH_TYPES = ("auto", "basic", "session")


class Driver(msgspec.Struct, frozen=True, kw_only=True):
    """One hardware type. ``interfaces``: per kind the enabled implementations, default first."""

    name: str
    interfaces: dict[str, tuple[str, ...]]
    properties: dict[str, str]
    required: tuple[str, ...]
    boot_devices: tuple[str, ...]

    def default(self, kind: str) -> str:
        """The implementation a node gets when it names none."""
        return self.interfaces[kind][0]

    def supports(self, kind: str) -> bool:
        """Whether there is an implementation that does something."""
        return not self.default(kind).startswith("no-")


REDFISH = Driver(
    name="redfish",
    interfaces={
        "bios": ("no-bios",),
        "boot": ("redfish-virtual-media", "ipxe", "pxe"),
        "console": ("no-console",),
        "deploy": ("direct",),
        "firmware": ("no-firmware",),
        "inspect": ("no-inspect",),
        "management": ("redfish",),
        "network": ("noop",),
        "power": ("redfish",),
        "raid": ("no-raid",),
        "rescue": ("no-rescue",),
        "storage": ("noop",),
        "vendor": ("no-vendor",),
    },
    properties={
        "redfish_address": "URL of the BMC: http(s)://host[:port], https if it names no "
        "scheme. Required.",
        "redfish_username": "User account of the BMC with administrator or operator rights.",
        "redfish_password": "Password of that account. Written only, never shown.",
        "redfish_system_id": "Path of the system, such as /redfish/v1/Systems/1. "
        "Needed only if the BMC has several.",
        "redfish_verify_ca": "Whether to verify the BMC's certificate (true or false), "
        "or the path of a CA bundle on the gateway. Default true.",
        "redfish_auth_type": "basic, session or auto (session, falling back to basic). "
        "Default auto.",
        "deploy_iso": "URL of the ramdisk's image for boot by virtual media. "
        "Without it the ramdisk is booted from the network.",
    },
    required=("redfish_address",),
    boot_devices=("pxe", "disk", "cdrom"),
)

DRIVERS: dict[str, Driver] = {REDFISH.name: REDFISH}

LATER: frozenset[str] = frozenset(
    {"ipmi", "idrac", "ilo", "ilo5", "irmc", "snmp", "fake-hardware", "manual-management"}
)
"""Drivers of the reference that this release refuses by name."""


def driver_named(name: str) -> Driver:
    """The driver, or ``InvalidInputError`` (400) naming those there are."""
    if (driver := DRIVERS.get(name)) is not None:
        return driver
    known = ", ".join(DRIVERS)
    if name in LATER:
        raise NotSupportedError(f"The driver '{name}' is not supported yet; use one of: {known}")
    raise InvalidInputError(f"There is no driver '{name}'; use one of: {known}")


def is_secret(key: str) -> bool:
    """Whether a ``driver_info`` key holds a secret: stored sealed, never shown."""
    return _SECRET.search(key) is not None


def missing_info(driver: Driver, driver_info: Mapping[str, Json]) -> list[str]:
    """Required keys that are absent or empty."""
    return [key for key in driver.required if not driver_info.get(key)]


def info_fault(driver: Driver, driver_info: Mapping[str, Json]) -> str | None:
    """Why the driver cannot work with this ``driver_info``; None if it can."""
    if missing := missing_info(driver, driver_info):
        return f"missing in driver_info: {', '.join(missing)}"
    address = driver_info["redfish_address"]
    if not isinstance(address, str) or not _is_address(address):
        return "driver_info/redfish_address must be the BMC's URL: http(s)://host[:port]"
    if driver_info.get("redfish_auth_type", "auto") not in _AUTH_TYPES:
        return f"driver_info/redfish_auth_type must be one of: {', '.join(_AUTH_TYPES)}"
    if not isinstance(driver_info.get("redfish_system_id", ""), str):
        return "driver_info/redfish_system_id must be a path such as /redfish/v1/Systems/1"
    return None


def _is_address(address: str) -> bool:
    """A URL with a host; without a scheme https is meant."""
    try:
        parts = urlsplit(address if "://" in address else f"https://{address}")
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.username is None
