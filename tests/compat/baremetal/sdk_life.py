"""A node's whole life with openstacksdk: a script, run in the clients' own environment.

    sdk_life.py CLOUD '{"name": ..., "mac": ..., "driver_info": {...}, "whole": true}'

Prints what it saw as one line of JSON.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import openstack  # pyright: ignore[reportMissingImports]  # there, not here

WAIT_S = 200


def main(cloud: str, told: dict[str, Any]) -> dict[str, Any]:
    """Create, provision, try, remove."""
    baremetal = openstack.connect(cloud=cloud).baremetal
    node = baremetal.create_node(
        name=told["name"], driver="redfish", driver_info=told["driver_info"]
    )
    port = baremetal.create_port(node_id=node.id, address=told["mac"])
    seen: dict[str, Any] = {"created": node.provision_state, "port": port.address, "states": []}
    for verb in ("manage", "provide"):
        node = baremetal.set_node_provision_state(node, verb, wait=True, timeout=WAIT_S)
        seen["states"].append(node.provision_state)
    if told["whole"]:
        seen |= look_around(baremetal, node) | look_at_parts(baremetal, node)
    for verb in ("active", "deleted"):
        node = baremetal.set_node_provision_state(node, verb, wait=True, timeout=WAIT_S)
        seen["states"].append(node.provision_state)
        seen[verb] = baremetal.get_node(node.id).power_state
        if verb == "active":
            node = baremetal.update_node(node, is_automated_clean_enabled=False)
    baremetal.delete_node(node)
    seen["gone"] = baremetal.find_node(told["name"]) is None
    return seen


def look_around(baremetal: Any, node: Any) -> dict[str, Any]:
    """What does not change a node's provision state."""
    baremetal.set_node_maintenance(node, reason="dust")
    dusty = baremetal.get_node(node.id)
    baremetal.unset_node_maintenance(node)
    baremetal.add_node_trait(node, "CUSTOM_QUIET")
    baremetal.set_node_boot_device(node, "pxe", persistent=False)
    power = []
    for target in ("power on", "power off"):
        settle(baremetal, node)
        baremetal.set_node_power_state(node, target, wait=True, timeout=WAIT_S)
        power.append(settle(baremetal, node).power_state)
    return {
        "maintenance": [dusty.is_maintenance, dusty.maintenance_reason],
        "traits": baremetal.get_node(node.id).traits,
        "valid": baremetal.validate_node(node)["power"].result,
        "boot_device": baremetal.get_node_boot_device(node)["boot_device"],
        "devices": baremetal.get_node_supported_boot_devices(node)["supported_boot_devices"],
        "power": power,
        "listed": [n.name for n in baremetal.nodes(details=True, driver="redfish")],
        "ports": [p.address for p in baremetal.ports(details=True, node=node.id)],
        "drivers": [d.name for d in baremetal.drivers()],
        "driver": baremetal.get_driver("redfish").name,
        "conductors": [c.alive for c in baremetal.conductors()],
    }


def look_at_parts(baremetal: Any, node: Any) -> dict[str, Any]:
    """Ports, traits, drivers and conductors, one by one; what the SDK lacks as plain requests."""
    port = baremetal.create_port(node_id=node.id, address="52:54:02:00:00:01")
    port = baremetal.update_port(port, is_pxe_enabled=False)
    on_port = baremetal.get_port(port.id).is_pxe_enabled
    baremetal.delete_port(port)
    baremetal.set_node_traits(node, ["CUSTOM_A", "CUSTOM_B"])
    baremetal.remove_node_trait(node, "CUSTOM_A")
    left = baremetal.get_node(node.id).traits
    conductor = next(iter(baremetal.conductors()))
    paths = (
        *(f"/nodes/{node.id}/{part}" for part in ("states", "traits", "children", "ports")),
        f"/nodes/{node.id}/ports/detail",
        f"/nodes/{node.id}/vendor_passthru/methods",
        *("/nodes/detail", "/ports/detail", "/ports"),
        *("/drivers/redfish/properties", "/drivers/redfish/vendor_passthru/methods"),
    )
    answers = {path: baremetal.get(path, microversion="1.95").status_code for path in paths}
    traits = f"/nodes/{node.id}/traits"
    return {
        "pxe": on_port,
        "traits_left": left,
        "traits_removed": baremetal.delete(traits, microversion="1.95").status_code,
        "conductor": baremetal.get_conductor(conductor.hostname).hostname == conductor.hostname,
        "faults": {path: status for path, status in answers.items() if status != 200},
    }


def settle(baremetal: Any, node: Any) -> Any:
    """The node, once nothing is being done with it."""
    deadline = time.monotonic() + WAIT_S
    while True:
        now = baremetal.get_node(node.id)
        if now.reservation is None and now.target_power_state is None:
            return now
        if time.monotonic() > deadline:
            raise TimeoutError(f"{now.name} is still reserved by {now.reservation}")
        time.sleep(0.2)


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], json.loads(sys.argv[2]))))  # noqa: T201
