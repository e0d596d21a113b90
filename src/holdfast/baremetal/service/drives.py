"""What the system on a machine is told at its first boot: config drive and network data. Pure.

The shapes are those of the Bare Metal API: ``configdrive`` of the provision request, and the
network metadata of OpenStack (``network_data.json``) as far as it has to be filled in.
"""

from __future__ import annotations

import binascii
from base64 import b64decode
from typing import Annotated, Literal
from urllib.parse import urlsplit

import msgspec

from holdfast.baremetal.credentials import MASK
from holdfast.errors import InvalidInputError
from holdfast.store.model import Json

_GZIP = b"\x1f\x8b"  # RFC 1952, 2.3.1
_MAC = r"^([0-9A-Fa-f]{2}[:-]){5}[0-9A-Fa-f]{2}$"
_Mac = Annotated[str, msgspec.Meta(pattern=_MAC)]
_NEEDED = {
    "bond": ("ethernet_mac_address", "bond_mode", "bond_links"),
    "vlan": ("vlan_mac_address", "vlan_link", "vlan_id"),
}
_NEEDED_ELSE = ("ethernet_mac_address",)
_LinkType = Literal[
    "bond", "bridge", "dvs", "hw_veb", "hyperv", "ovs", "phy", "tap", "vhostuser", "vif", "vlan"
]


class _Drive(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    meta_data: dict[str, Json] = {}
    network_data: dict[str, Json] = {}
    vendor_data: dict[str, Json] = {}
    user_data: dict[str, Json] | list[Json] | str | None = None


class _Link(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    type: _LinkType
    ethernet_mac_address: _Mac | msgspec.UnsetType = msgspec.UNSET
    bond_mode: str | msgspec.UnsetType = msgspec.UNSET
    bond_links: list[str] | msgspec.UnsetType = msgspec.UNSET
    vlan_mac_address: _Mac | msgspec.UnsetType = msgspec.UNSET
    vlan_link: str | msgspec.UnsetType = msgspec.UNSET
    vlan_id: int | msgspec.UnsetType = msgspec.UNSET


class _Network(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    link: str
    network_id: str
    type: Literal["ipv4", "ipv4_dhcp", "ipv6", "ipv6_dhcp", "ipv6_slaac"]


class _Service(msgspec.Struct, frozen=True, kw_only=True):
    address: str
    type: Literal["dns"]


class _NetworkData(msgspec.Struct, frozen=True, kw_only=True):
    links: list[_Link]
    networks: list[_Network]
    services: list[_Service]


def check_drive(where: str, drive: Json) -> None:
    """Whether a config drive is one. ``where`` names it in the message.

    An object of meta_data, network_data, user_data and vendor_data; or a text: the URL of a
    finished one, or itself, compressed by gzip and in base64. None, "" and {} stand for
    none, the mask for the one that is there. Raises ``InvalidInputError``.
    """
    if not drive or drive == MASK:
        return
    if isinstance(drive, dict):
        try:
            msgspec.convert(drive, _Drive)
        except msgspec.ValidationError as fault:
            raise InvalidInputError(f"Invalid {where}: {fault}") from None
    elif not (isinstance(drive, str) and (_is_url(drive) or _is_packed(drive))):
        raise InvalidInputError(
            f"Invalid {where}: it is an object of meta_data, network_data, user_data and "
            "vendor_data, or an http(s) URL, or an image compressed by gzip and in base64"
        )


def check_network_data(value: dict[str, Json]) -> None:
    """Whether it describes a network. {} stands for none. Raises ``InvalidInputError``."""
    if not value:
        return
    try:
        found = msgspec.convert(value, _NetworkData)
    except msgspec.ValidationError as fault:
        raise InvalidInputError(f"Invalid network_data: {fault}") from None
    for link in found.links:
        needed = _NEEDED.get(link.type, _NEEDED_ELSE)
        if missing := [name for name in needed if getattr(link, name) is msgspec.UNSET]:
            raise InvalidInputError(
                f"Invalid network_data: link {link.id} of type {link.type} lacks "
                f"{', '.join(missing)}"
            )


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)


def _is_packed(text: str) -> bool:
    try:
        # Line breaks are what some encoders put in; nothing else is passed over.
        return b64decode("".join(text.split()), validate=True).startswith(_GZIP)
    except (binascii.Error, ValueError):
        return False
