"""What is inside a simulated machine, as its BMC tells it: processors, drives, network cards."""

from __future__ import annotations

from holdfast.sim.fleet.documents import Document, collection, link, resource
from holdfast.sim.fleet.machine import Machine

PROCESSORS = 2
CORES = 16
DRIVES = 2
DRIVE_BYTES = 480 * 10**9
MEMORY_GIB = 64

_OK = {"State": "Enabled", "Health": "OK"}


def part(system_id: str, machine: Machine, rest: list[str]) -> Document | None:
    """The document below Systems/{id}; None if there is nothing of that path."""
    path = f"Systems/{system_id}"
    match rest:
        case ["Processors"]:
            return collection("Processor", f"{path}/Processors", _numbers(PROCESSORS))
        case ["Processors", number] if number in _numbers(PROCESSORS):
            return _processor(f"{path}/Processors/{number}", number)
        case ["Storage"]:
            return collection("Storage", f"{path}/Storage", ["1"])
        case ["Storage", "1"]:
            drives = [link(f"{path}/Storage/1/Drives/{n}") for n in _numbers(DRIVES)]
            where = f"{path}/Storage/1"
            return resource("Storage", "v1_8_1", where, "Storage", Drives=drives, Status=_OK)
        case ["Storage", "1", "Drives", number] if number in _numbers(DRIVES):
            return _drive(f"{path}/Storage/1/Drives/{number}", machine, number)
        case ["EthernetInterfaces"]:
            return collection("EthernetInterface", f"{path}/EthernetInterfaces", ["1", "2"])
        case ["EthernetInterfaces", "1"]:
            return _interface(f"{path}/EthernetInterfaces/1", machine.mac, "Enabled")
        case ["EthernetInterfaces", "2"]:
            return _interface(f"{path}/EthernetInterfaces/2", _second_mac(machine), "Disabled")
        case _:
            return None


def _numbers(count: int) -> list[str]:
    return [str(number) for number in range(1, count + 1)]


def _processor(path: str, number: str) -> Document:
    return resource(
        "Processor",
        "v1_11_0",
        path,
        f"CPU {number}",
        ProcessorType="CPU",
        InstructionSet="x86-64",
        Manufacturer="Holdfast",
        Model="Mock CPU",
        MaxSpeedMHz=2600,
        TotalCores=CORES,
        TotalThreads=2 * CORES,
        Status=_OK,
    )


def _drive(path: str, machine: Machine, number: str) -> Document:
    return resource(
        "Drive",
        "v1_11_0",
        path,
        f"Drive {number}",
        CapacityBytes=DRIVE_BYTES,
        MediaType="SSD",
        Model="Mock SSD",
        SerialNumber=f"{machine.index:06d}-{number}",
        Status=_OK,
    )


def _second_mac(machine: Machine) -> str:
    """The first card's address with another first byte: no other machine has it."""
    return f"06{machine.mac[2:]}"


def _interface(path: str, mac: str, state: str) -> Document:
    return resource(
        "EthernetInterface",
        "v1_5_1",
        path,
        f"NIC {path.rpartition('/')[2]}",
        MACAddress=mac,
        PermanentMACAddress=mac,
        SpeedMbps=10_000,
        Status={"State": state, "Health": "OK"},
    )
