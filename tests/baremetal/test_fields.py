from __future__ import annotations

import pytest

from holdfast.baremetal.fields import NODE, PORT, checked, too_new, writable
from holdfast.baremetal.resources import NODES, PORTS
from holdfast.errors import InvalidInputError

# From the API's version history: the microversion that brought each field.
BROUGHT = {
    "driver_internal_info": 3,
    "name": 5,
    "inspection_finished_at": 6,
    "clean_step": 7,
    "raid_config": 12,
    "states": 14,
    "network_interface": 20,
    "resource_class": 21,
    "portgroups": 24,
    "boot_interface": 31,
    "power_interface": 31,
    "volume": 32,
    "storage_interface": 33,
    "traits": 37,
    "rescue_interface": 38,
    "bios_interface": 40,
    "fault": 42,
    "deploy_step": 44,
    "conductor_group": 46,
    "automated_clean": 47,
    "protected": 48,
    "conductor": 49,
    "owner": 50,
    "description": 51,
    "allocation_uuid": 52,
    "retired": 61,
    "lessee": 65,
    "network_data": 66,
    "boot_mode": 75,
    "shard": 82,
    "parent_node": 83,
    "firmware_interface": 86,
    "service_step": 87,
    "disable_power_off": 95,
}


@pytest.mark.parametrize(("name", "minor"), BROUGHT.items())
def test_a_field_appears_with_its_microversion(name: str, minor: int):
    assert name not in NODES.shown(minor - 1)
    assert name in NODES.shown(minor)
    assert too_new(NODE, name, minor - 1)
    assert not too_new(NODE, name, minor)


def test_the_highest_version_shows_every_field_that_clients_know():
    assert len(NODES.shown(95)) == len(NODE) == 67


def test_ports_grow_by_microversion_too():
    assert {"uuid", "address", "node_uuid", "extra"} <= set(PORTS.shown(1))
    assert "local_link_connection" not in PORTS.shown(18)
    assert set(PORTS.shown(95)) == set(PORT)


def test_what_the_owner_writes_no_client_may_write():
    for create in (True, False):
        allowed = set(writable(NODE, create=create))
        assert not allowed & {
            "provision_state",
            "target_provision_state",
            "power_state",
            "last_error",
            "driver_internal_info",
            "reservation",
            "conductor",
            "traits",
            "created_at",
            "links",
        }
    assert "uuid" in writable(NODE, create=True)
    assert "uuid" not in writable(NODE, create=False)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("extra", []),
        ("extra", "text"),
        ("driver", None),
        ("name", 7),
        ("name", "x" * 256),
        ("instance_uuid", "not a uuid"),
        ("automated_clean", "perhaps"),
        ("maintenance", None),
    ],
)
def test_a_value_of_a_wrong_type_is_refused_by_its_field(name: str, value: object):
    with pytest.raises(InvalidInputError, match=f"'{name}'"):
        checked(NODE[name], value)


@pytest.mark.parametrize(("spelled", "value"), [("true", True), ("False", False), (True, True)])
def test_booleans_are_read_as_command_lines_spell_them(spelled: object, value: bool):
    assert checked(NODE["automated_clean"], spelled) is value
