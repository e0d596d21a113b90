"""The Redfish documents of a mock BMC, built from a machine's state (DMTF DSP0266, DSP0268)."""

from __future__ import annotations

from typing import TypeAlias

from holdfast.sim.fleet.http import Response, json_response
from holdfast.sim.fleet.machine import (
    OVERRIDE_ENABLED,
    OVERRIDE_TARGETS,
    RESET_TYPES,
    Machine,
    Running,
)

Document: TypeAlias = dict[str, object]

ROOT = "/redfish/v1"
MESSAGES = "Base.1.12"


def error(status: int, message_id: str, message: str, resolution: str = "None") -> Response:
    """An error in Redfish's extended-information form (DSP0266, 8.6)."""
    name = f"{MESSAGES}.{message_id}"
    info = {
        "@odata.type": "#Message.v1_1_1.Message",
        "MessageId": name,
        "Message": message,
        "Severity": "Critical" if status >= 500 else "Warning",
        "Resolution": resolution,
    }
    document = {"error": {"code": name, "message": message, "@Message.ExtendedInfo": [info]}}
    headers = (("WWW-Authenticate", 'Basic realm="bmc"'),) if status == 401 else ()
    return json_response(document, status, headers)


def link(path: str) -> Document:
    """A reference to another resource of the same BMC."""
    return {"@odata.id": f"{ROOT}/{path}"}


def resource(kind: str, version: str, path: str, name: str, **fields: object) -> Document:
    """What every resource has, and its own ``fields``."""
    document: Document = {
        "@odata.id": f"{ROOT}/{path}".rstrip("/"),
        "@odata.type": f"#{kind}.{version}.{kind}",
        "Id": path.rpartition("/")[2] or "RootService",
        "Name": name,
    }
    document.update(fields)
    return document


def collection(kind: str, path: str, members: list[str]) -> Document:
    """A collection of ``members`` by id."""
    return {
        "@odata.id": f"{ROOT}/{path}",
        "@odata.type": f"#{kind}Collection.{kind}Collection",
        "Name": f"{kind} Collection",
        "Members@odata.count": len(members),
        "Members": [link(f"{path}/{member}") for member in members],
    }


def service_root(uuid: str) -> Document:
    """/redfish/v1."""
    return resource(
        "ServiceRoot",
        "v1_5_0",
        "",
        "Mock BMC",
        RedfishVersion="1.8.0",
        UUID=uuid,
        Vendor="Holdfast",
        Product="Mock BMC fleet",
        Systems=link("Systems"),
        Managers=link("Managers"),
        Chassis=link("Chassis"),
        SessionService=link("SessionService"),
        Links={"Sessions": link("SessionService/Sessions")},
    )


def session_service(idle_s: float) -> Document:
    """SessionService."""
    return resource(
        "SessionService",
        "v1_1_6",
        "SessionService",
        "Session Service",
        ServiceEnabled=True,
        SessionTimeout=max(1, round(idle_s)),
        Status={"State": "Enabled", "Health": "OK"},
        Sessions=link("SessionService/Sessions"),
    )


def session(session_id: str, username: str) -> Document:
    """SessionService/Sessions/{id}."""
    path = f"SessionService/Sessions/{session_id}"
    return resource("Session", "v1_3_0", path, "User Session", UserName=username)


def system(system_id: str, machine: Machine) -> Document:
    """Systems/{id}."""
    path = f"Systems/{system_id}"
    target, enabled = machine.override
    return resource(
        "ComputerSystem",
        "v1_13_0",
        path,
        machine.name,
        UUID=str(machine.uuid),
        Manufacturer="Holdfast",
        Model="Mock machine",
        SerialNumber=f"{machine.index:08d}",
        SystemType="Physical",
        PowerState=machine.power.value,
        Status={"State": "Enabled", "Health": "OK"},
        BootProgress={"LastState": _progress(machine.running)},
        ProcessorSummary={"Count": 2},
        MemorySummary={"TotalSystemMemoryGiB": 64},
        Processors=link(f"{path}/Processors"),
        Storage=link(f"{path}/Storage"),
        Boot={
            "BootSourceOverrideEnabled": enabled,
            "BootSourceOverrideEnabled@Redfish.AllowableValues": OVERRIDE_ENABLED,
            "BootSourceOverrideTarget": target,
            "BootSourceOverrideTarget@Redfish.AllowableValues": OVERRIDE_TARGETS,
            "BootSourceOverrideMode": machine.override_mode,
        },
        EthernetInterfaces=link(f"{path}/EthernetInterfaces"),
        Links={
            "Chassis": [link(f"Chassis/{system_id}")],
            "ManagedBy": [link(f"Managers/{system_id}")],
        },
        Actions={
            "#ComputerSystem.Reset": {
                "target": f"{ROOT}/{path}/Actions/ComputerSystem.Reset",
                "ResetType@Redfish.AllowableValues": RESET_TYPES,
            }
        },
    )


def _progress(running: Running) -> str:
    return {
        Running.DARK: "None",
        Running.BOOTING: "SystemHardwareInitializationComplete",
        Running.RAMDISK: "OSRunning",
        Running.INSTANCE: "OSRunning",
        Running.NOTHING: "OSBootStarted",
    }[running]


def manager(system_id: str, machine: Machine) -> Document:
    """Managers/{id}."""
    path = f"Managers/{system_id}"
    return resource(
        "Manager",
        "v1_9_0",
        path,
        f"{machine.name} manager",
        ManagerType="BMC",
        FirmwareVersion="1.0",
        UUID=str(machine.uuid),
        Status={"State": "Enabled", "Health": "OK"},
        PowerState="On",
        VirtualMedia=link(f"{path}/VirtualMedia"),
        Links={
            "ManagerForServers": [link(f"Systems/{system_id}")],
            "ManagerForChassis": [link(f"Chassis/{system_id}")],
        },
    )


def virtual_media(system_id: str, machine: Machine) -> Document:
    """Managers/{id}/VirtualMedia/Cd."""
    path = f"Managers/{system_id}/VirtualMedia/Cd"
    media = machine.media
    action = f"{ROOT}/{path}/Actions/VirtualMedia"
    return resource(
        "VirtualMedia",
        "v1_3_2",
        path,
        "Virtual CD",
        MediaTypes=["CD", "DVD"],
        Image=media.image if media else None,
        ImageName=media.image.rpartition("/")[2] if media else None,
        Inserted=media is not None,
        WriteProtected=media.write_protected if media else True,
        ConnectedVia="URI" if media else "NotConnected",
        Actions={
            "#VirtualMedia.InsertMedia": {"target": f"{action}.InsertMedia"},
            "#VirtualMedia.EjectMedia": {"target": f"{action}.EjectMedia"},
        },
    )


def chassis(system_id: str, machine: Machine) -> Document:
    """Chassis/{id}."""
    return resource(
        "Chassis",
        "v1_14_0",
        f"Chassis/{system_id}",
        f"{machine.name} chassis",
        ChassisType="RackMount",
        Manufacturer="Holdfast",
        Model="Mock machine",
        PowerState=machine.power.value,
        Status={"State": "Enabled", "Health": "OK"},
        Links={
            "ComputerSystems": [link(f"Systems/{system_id}")],
            "ManagedBy": [link(f"Managers/{system_id}")],
        },
    )
