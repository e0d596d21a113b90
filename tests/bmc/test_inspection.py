"""What a BMC tells of its machine's hardware, well or badly, becomes an inventory."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.bmc.inspection import inventory_of
from holdfast.bmc.untrusted import text

ENABLED = {"State": "Enabled"}


def ref(path: str) -> dict[str, str]:
    return {"@odata.id": path}


def listed(*paths: str) -> dict[str, Any]:
    return {"Members": [ref(path) for path in paths]}


SYSTEM: dict[str, Any] = {
    "Manufacturer": "Mock",
    "Model": "One",
    "SerialNumber": "7",
    "MemorySummary": {"TotalSystemMemoryGiB": 31.5},
    "ProcessorSummary": {"Count": 2, "Model": "Summary"},
    "Boot": {"BootSourceOverrideMode": "UEFI"},
    "Processors": ref("/cpus"),
    "Storage": ref("/storage"),
    "SimpleStorage": ref("/simple"),
    "EthernetInterfaces": ref("/nics"),
}
PARTS: dict[str, Any] = {
    "/cpus": listed("/cpu/1", "/cpu/2", "/gpu", "/gone"),
    "/cpu/1": {
        "ProcessorType": "CPU",
        "InstructionSet": "x86-64",
        "TotalThreads": 32,
        "TotalCores": 16,
        "MaxSpeedMHz": 2600,
        "Model": "Fast",
        "Status": ENABLED,
    },
    "/cpu/2": {"TotalCores": 16, "Status": ENABLED},
    "/gpu": {"ProcessorType": "GPU", "TotalThreads": 4096},
    "/storage": listed("/raid"),
    "/raid": {"Drives": [ref("/drive/1"), ref("/drive/2"), ref("/drive/3")]},
    "/drive/1": {"Name": "a", "CapacityBytes": 10**12, "MediaType": "SSD", "SerialNumber": "s"},
    "/drive/2": {"Name": "b", "CapacityBytes": 10**12, "Status": {"State": "Absent"}},
    "/drive/3": {"Name": "c", "CapacityBytes": None},
    "/simple": listed("/simple/1"),
    "/simple/1": {"Devices": [{"Name": "d", "CapacityBytes": 5}]},
    "/nics": listed("/nic/1", "/nic/2", "/nic/3", "/nic/4"),
    "/nic/1": {"Id": "1", "MACAddress": "AA:BB:CC:00:00:01", "SpeedMbps": 10000, "Status": ENABLED},
    "/nic/2": {"Id": "2", "PermanentMACAddress": "AA:BB:CC:00:00:02", "InterfaceEnabled": False},
    "/nic/3": {"Id": "3", "MACAddress": "AA:BB:CC:00:00:03", "Status": {"State": "Disabled"}},
    "/nic/4": {"Id": "4"},
}


async def inventory(system: Any = SYSTEM, parts: Any = PARTS) -> dict[str, Any]:
    async def read(reference: Any) -> Any:
        return parts.get(text(reference, "@odata.id"))

    return await inventory_of(system, read)


async def test_the_hardware_is_told_in_the_words_of_the_bare_metal_api():
    assert await inventory() == {
        "cpu": {
            "architecture": "x86_64",
            "count": 48,
            "frequency": 2600,
            "model_name": "Fast",
        },
        "memory": {"physical_mb": 32256},
        "disks": [
            {"name": "a", "model": None, "serial": "s", "size": 10**12, "rotational": False},
        ],
        "interfaces": [
            {
                "name": "1",
                "mac_address": "aa:bb:cc:00:00:01",
                "speed_mbps": 10000,
                "enabled": True,
            },
            {"name": "2", "mac_address": "aa:bb:cc:00:00:02", "speed_mbps": None, "enabled": False},
            {"name": "3", "mac_address": "aa:bb:cc:00:00:03", "speed_mbps": None, "enabled": False},
        ],
        "system_vendor": {"manufacturer": "Mock", "product_name": "One", "serial_number": "7"},
        "boot": {"current_boot_mode": "uefi"},
    }


async def test_simple_storage_counts_where_there_is_no_other():
    parts = PARTS | {"/raid": {"Drives": []}}
    assert [disk["name"] for disk in (await inventory(parts=parts))["disks"]] == ["d"]


async def test_a_summary_stands_in_for_processors_that_are_not_told():
    parts = {k: v for k, v in PARTS.items() if "cpu" not in k}
    cpu = (await inventory(parts=parts))["cpu"]
    assert (cpu["count"], cpu["model_name"], cpu["architecture"]) == (2, "Summary", None)


async def test_a_bmc_that_says_nothing_leaves_the_inventory_empty():
    assert await inventory({}, {}) == {
        "cpu": {"architecture": None, "count": None, "frequency": None, "model_name": None},
        "memory": {"physical_mb": None},
        "disks": [],
        "interfaces": [],
        "system_vendor": {"manufacturer": None, "product_name": None, "serial_number": None},
        "boot": {"current_boot_mode": None},
    }


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["Members", "Drives", "CapacityBytes", "Status", "MACAddress", "Id"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=12,
)


@pytest.mark.parametrize("wrong", ["/cpus", "/cpu/1", "/raid", "/drive/1", "/nics", "/nic/1"])
@given(nonsense=JSON)
async def test_nonsense_in_any_part_is_no_failure(wrong: str, nonsense: Any):
    found = await inventory(parts=PARTS | {wrong: nonsense})
    assert set(found) == {"cpu", "memory", "disks", "interfaces", "system_vendor", "boot"}
