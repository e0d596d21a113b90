"""What a config drive and a description of networks may be; nothing else gets in."""

from __future__ import annotations

import gzip
from base64 import b64encode, encodebytes
from typing import Any

import pytest
from tests.baremetal.people import ADMIN, BaremetalFixture

from holdfast.baremetal.service.drives import check_drive, check_network_data
from holdfast.errors import InvalidInputError

PACKED = gzip.compress(bytes(range(256)) * 20)
MAC = "52:54:00:12:34:56"
NETWORK: dict[str, Any] = {
    "links": [
        {"id": "eth0", "type": "phy", "ethernet_mac_address": MAC, "mtu": 1500},
        {
            "id": "bond0",
            "type": "bond",
            "ethernet_mac_address": MAC,
            "bond_mode": "802.1ad",
            "bond_links": ["eth0"],
        },
        {
            "id": "v7",
            "type": "vlan",
            "vlan_mac_address": MAC,
            "vlan_link": "bond0",
            "vlan_id": 7,
        },
    ],
    "networks": [{"id": "n", "link": "v7", "network_id": "x", "type": "ipv4_dhcp", "routes": []}],
    "services": [{"type": "dns", "address": "192.0.2.1"}],
}


@pytest.mark.parametrize(
    "drive",
    [
        None,
        "",
        {},
        b64encode(PACKED).decode(),
        encodebytes(PACKED).decode(),
        "http://images/drive.gz",
        "https://[2001:db8::1]:8443/d?sig=a",
        {"meta_data": {"a": 1}, "user_data": "#!/bin/sh"},
        {"network_data": NETWORK, "vendor_data": {}, "user_data": None},
    ],
)
def test_a_config_drive(drive: Any):
    check_drive("configdrive", drive)


@pytest.mark.parametrize(
    "drive",
    [
        "x",
        "hello world",
        "file:///etc/passwd",
        "ftp://images/drive",
        "http://",
        "http://[::1",
        b64encode(b"not compressed").decode(),
        b64encode(PACKED).decode()[:-2],
        b64encode(PACKED).decode() + "!",
        {"metadata": {}},
        {"meta_data": "text"},
        {"user_data": 7},
        ["meta_data"],
        7,
        True,
    ],
)
def test_what_is_no_config_drive(drive: Any):
    with pytest.raises(InvalidInputError, match="Invalid configdrive: "):
        check_drive("configdrive", drive)


def test_network_data():
    check_network_data({})
    check_network_data(NETWORK)


def without(name: str, key: str, item: int = 0) -> dict[str, Any]:
    """NETWORK with one item lacking a key."""
    items = [dict(one) for one in NETWORK[name]]
    del items[item][key]
    return {**NETWORK, name: items}


@pytest.mark.parametrize(
    ("value", "named"),
    [
        ({"a": 1}, "links"),
        ({"links": [], "networks": []}, "services"),
        ({**NETWORK, "links": {}}, "links"),
        ({**NETWORK, "services": ["8.8.8.8"]}, "services"),
        (without("links", "ethernet_mac_address"), "link eth0 of type phy lacks ethernet_mac"),
        (without("links", "bond_links", 1), "lacks bond_links"),
        (without("links", "vlan_id", 2), "lacks vlan_id"),
        (without("networks", "network_id"), "network_id"),
        ({**NETWORK, "links": [{"id": "a", "type": "warp"}]}, "warp"),
        (
            {**NETWORK, "links": [{"id": "a", "type": "phy", "ethernet_mac_address": "x"}]},
            "ethernet_mac_address",
        ),
    ],
)
def test_what_is_no_network_data(value: dict[str, Any], named: str):
    with pytest.raises(InvalidInputError, match=named):
        check_network_data(value)


@pytest.mark.parametrize(
    ("field", "bad"),
    [("network_data", {"netwroks": []}), ("instance_info", {"configdrive": "hello world"})],
)
async def test_neither_is_stored_unchecked_at_creation_or_later(
    fixture: BaremetalFixture, field: str, bad: dict[str, Any]
):
    with pytest.raises(InvalidInputError, match=f"Invalid {field}"):
        await fixture.node(ADMIN, "enroll", **{field: bad})
    uuid = str(await fixture.node())
    patch = [{"op": "add", "path": f"/{field}", "value": bad}]
    with pytest.raises(InvalidInputError, match=f"Invalid {field}"):
        await fixture.baremetal.nodes.update(ADMIN, uuid, patch)
