"""Hardware types: what a node's ``driver_info`` must and may have, and what it then can do.

A table per driver, pure. The words of ``properties`` are what
``GET /v1/drivers/{name}/properties`` answers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from urllib.parse import unquote, urlsplit

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
    r"password|passwd|passphrase|secret|token|credential|private_?key|api_?key|community",
    re.IGNORECASE,
)

# Control characters (urlsplit drops some), blanks, backslashes, query and fragment.
_ASTRAY = re.compile(r"[\x00-\x20\x7f-\xa0\\?#]")

CONFIGDRIVE = "configdrive"
"""The key of ``instance_info`` that holds the user data for the instance."""

_AUTH_TYPES = ("auto", "basic", "session")


Info = Mapping[str, Json]


class Driver(msgspec.Struct, frozen=True, kw_only=True):
    """One hardware type. ``interfaces``: per kind the enabled implementations, default first.

    ``fault``: why it cannot work with a ``driver_info``, or None. ``boot_device``: what
    its machines boot from until somebody says otherwise; None: nobody knows.
    """

    name: str
    interfaces: dict[str, tuple[str, ...]]
    properties: dict[str, str]
    required: tuple[str, ...] = ()
    boot_devices: tuple[str, ...] = ("pxe", "disk", "cdrom")
    boot_device: str | None = None
    raid_properties: dict[str, str] = {}
    fault: Callable[[Info], str | None] = lambda _: None

    def default(self, kind: str) -> str:
        """The implementation a node gets when it names none."""
        return self.interfaces[kind][0]


def does_something(implementation: str) -> bool:
    """Whether an implementation of an interface is one at all ("no-raid" is none)."""
    return not implementation.startswith("no-")


def _redfish_fault(info: Info) -> str | None:
    if fault := connection_fault(info):
        return fault
    if info.get("redfish_auth_type", "auto") not in _AUTH_TYPES:
        return f"driver_info/redfish_auth_type must be one of: {', '.join(_AUTH_TYPES)}"
    return None


REDFISH = Driver(
    name="redfish",
    interfaces={
        "bios": ("no-bios",),
        "boot": ("redfish-virtual-media", "ipxe", "pxe"),
        "console": ("no-console",),
        "deploy": ("direct",),
        "firmware": ("no-firmware",),
        "inspect": ("redfish", "no-inspect"),
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
        "scheme. Required. Whoever changes it, redfish_verify_ca or redfish_auth_type "
        "gives redfish_password again along with it.",
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
    fault=_redfish_fault,
)


def _fake_fault(info: Info) -> str | None:
    delay_s = info.get(FAKE_POWER_DELAY, 0)
    if isinstance(delay_s, bool) or not isinstance(delay_s, int | float) or not 0 <= delay_s <= 60:
        return f"driver_info/{FAKE_POWER_DELAY} must be a number of seconds from 0 to 60"
    return None


FAKE_POWER_DELAY = "fake_power_delay_s"

FAKE = Driver(
    name="fake-hardware",
    interfaces={
        "bios": ("no-bios",),
        "boot": ("fake",),
        "console": ("fake", "no-console"),
        "deploy": ("fake",),
        "firmware": ("no-firmware",),
        "inspect": ("fake", "no-inspect"),
        "management": ("fake",),
        "network": ("noop",),
        "power": ("fake",),
        "raid": ("fake", "no-raid"),
        "rescue": ("no-rescue",),
        "storage": ("noop",),
        "vendor": ("fake", "no-vendor"),
    },
    properties={
        FAKE_POWER_DELAY: "How many seconds a change of power takes, from 0 to 60. Default 0.",
    },
    boot_device="pxe",
    raid_properties={
        "size_gb": "Size in GiB (integer) of the logical disk, or MAX. Required.",
        "raid_level": "RAID level of the logical disk. Required.",
        "is_root_volume": "Whether this logical disk is the root device (true or false).",
    },
    fault=_fake_fault,
)
"""Machines that exist in the database only, for trying a client out. Off unless it is enabled."""

DRIVERS: dict[str, Driver] = {driver.name: driver for driver in (REDFISH, FAKE)}

LATER: frozenset[str] = frozenset(
    {"ipmi", "idrac", "ilo", "ilo5", "irmc", "snmp", "manual-management"}
)
"""Drivers of the reference that this release refuses by name."""


def driver_named(name: str, enabled: Collection[str] = DRIVERS) -> Driver:
    """The driver, or ``InvalidInputError`` (400) naming those there are."""
    if name in enabled:
        return DRIVERS[name]
    known = ", ".join(enabled)
    if name in DRIVERS:
        raise InvalidInputError(
            f"The driver '{name}' is not enabled ([baremetal] enabled_hardware_types); "
            f"use one of: {known}"
        )
    if name in LATER:
        raise NotSupportedError(f"The driver '{name}' is not supported yet; use one of: {known}")
    raise InvalidInputError(f"There is no driver '{name}'; use one of: {known}")


def is_secret(key: str) -> bool:
    """Whether a ``driver_info`` key holds a secret: stored sealed, never shown."""
    return _SECRET.search(key) is not None


def is_instance_secret(key: str) -> bool:
    """Whether an ``instance_info`` key holds a secret, as a config drive does."""
    return key == CONFIGDRIVE or is_secret(key)


def missing_info(driver: Driver, driver_info: Info) -> list[str]:
    """Required keys that are absent or empty."""
    return [key for key in driver.required if not driver_info.get(key)]


def info_fault(driver: Driver, driver_info: Info) -> str | None:
    """Why the driver cannot work with this ``driver_info``; None if it can."""
    if missing := missing_info(driver, driver_info):
        return f"missing in driver_info: {', '.join(missing)}"
    return driver.fault(driver_info)


CONNECTION = ("redfish_address", "redfish_verify_ca", "redfish_auth_type")
"""The keys of ``driver_info`` that decide who gets to see the BMC's password."""


def connection_fault(driver_info: Info) -> str | None:
    """Why no BMC can be reached by what is given; None if it can. What is not given is fine."""
    address = driver_info.get("redfish_address")
    if address and not (isinstance(address, str) and _is_address(address)):
        return (
            "driver_info/redfish_address must be the BMC's URL: http(s)://host[:port], "
            "without account, query, fragment and '..'"
        )
    system = driver_info.get("redfish_system_id")
    if system is not None and not (isinstance(system, str) and _stays_below(system)):
        return (
            "driver_info/redfish_system_id must be a path such as /redfish/v1/Systems/1, "
            "without query, fragment and '..'"
        )
    return None


def _is_address(address: str) -> bool:
    """A URL with a host; without a scheme https is meant."""
    if not _stays_below(address):
        return False
    try:
        parts = urlsplit(address if "://" in address else f"https://{address}")
        reachable = bool(parts.hostname) and parts.port != 0  # .port raises past 65535
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and reachable and "@" not in parts.netloc


def _stays_below(path: str) -> bool:
    """Whether a URL or path has nothing that leads a reader of it elsewhere."""
    plain = unquote(path)
    if _ASTRAY.search(path) or _ASTRAY.search(plain):
        return False
    return ".." not in plain.split("/")
