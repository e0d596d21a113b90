"""Calls every method of openstacksdk's bare-metal proxy, on a node of fake-hardware.

    sdk_proxy.py CLOUD '{"name": ..., "mac": ...}'

Prints as one line of JSON, by the method's name, "works" or the sentence it was refused with;
and the methods that were not called.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import openstack  # pyright: ignore[reportMissingImports]  # there, not here
from openstack import proxy as base  # pyright: ignore[reportMissingImports]
from openstack.baremetal.v1 import _proxy as bare  # pyright: ignore[reportMissingImports]

WAIT_S = 60
STEPS = [{"interface": "deploy", "step": "erase_devices", "args": {}}]
NOTED = [{"op": "add", "path": "/extra/patched", "value": True}]
REFUSALS = (openstack.exceptions.SDKException,)


class Recorder:
    """The proxy, noting how each call of it ended. A refusal is an answer, too."""

    def __init__(self, proxy: Any) -> None:
        self._proxy = proxy
        self.seen: dict[str, str] = {}

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._proxy, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            try:
                answer = method(*args, **kwargs)
                if hasattr(answer, "__next__"):
                    answer = list(answer)
            except REFUSALS as refusal:
                status = getattr(refusal, "status_code", None)
                self.seen[name] = f"refused {status or ''}: {refusal}"
                return None
            self.seen.setdefault(name, "works")
            return answer

        return call

    def plain(self, method: str, path: str) -> None:
        """A request for which the SDK has no method."""
        answer = self._proxy.request(path, method, microversion="1.95")
        openstack.exceptions.raise_from_response(answer)

    def missed(self) -> list[str]:
        """Public methods that nobody called."""
        own = [n for n in dir(bare.Proxy) if not n.startswith("_") and n not in dir(base.Proxy)]
        generic = {"api_version", "wait_for_delete", "wait_for_status"}  # no request of their own
        return sorted(set(own) - set(self.seen) - generic)


def crud(proxy: Recorder, one: str, many: str, made: Any, *, find: bool = False) -> None:
    """Read, list, update and patch what was created."""
    getattr(proxy, f"get_{one}")(made.id)
    if find:
        assert getattr(proxy, f"find_{one}")(made.id).id == made.id
    assert made.id in [each.id for each in getattr(proxy, many)()]
    getattr(proxy, f"update_{one}")(made, extra={"updated": True})
    getattr(proxy, f"patch_{one}")(made, NOTED)
    assert getattr(proxy, f"get_{one}")(made.id).extra == {"updated": True, "patched": True}


def provisioning(proxy: Recorder, node: Any) -> None:
    """States, and what is waited for."""
    for verb in ("manage", "inspect", "provide"):
        proxy.set_node_provision_state(node, verb, wait=True, timeout=WAIT_S)
    proxy.wait_for_nodes_provision_state([node], "available", timeout=WAIT_S)
    proxy.set_node_power_state(node, "power on")
    proxy.wait_for_node_power_state(node, "power on", timeout=WAIT_S)
    proxy.wait_for_node_reservation(node, timeout=WAIT_S)
    proxy.set_node_maintenance(node, reason="dust")
    proxy.unset_node_maintenance(node)
    proxy.validate_node(node)


def around(proxy: Recorder, node: Any) -> None:
    """What is set up around a node, and known of its hardware."""
    proxy.set_node_traits(node, ["CUSTOM_A"])
    proxy.add_node_trait(node, "CUSTOM_B")
    proxy.remove_node_trait(node, "CUSTOM_B")
    proxy.set_node_boot_device(node, "pxe")
    proxy.get_node_boot_device(node)
    proxy.get_node_supported_boot_devices(node)
    proxy.set_node_boot_mode(node, "uefi")
    proxy.set_node_secure_boot(node, target=True)
    proxy.enable_node_console(node)
    proxy.get_node_console(node)
    proxy.disable_node_console(node)
    proxy.inject_nmi_to_node(node)
    proxy.attach_vmedia_to_node(node, "cdrom", "http://images/tool.iso", "http")
    proxy.detach_vmedia_from_node(node)
    proxy.get_node_inventory(node)
    proxy.list_node_firmware(node)
    vif = str(uuid4())
    proxy.attach_vif_to_node(node, vif)
    assert proxy.list_node_vifs(node) == [vif]
    proxy.detach_vif_from_node(node, vif)


def belongings(proxy: Recorder, node: Any, mac: str) -> None:
    """Ports and groups of them, with what needs a port in between."""
    group = proxy.create_port_group(node_id=node.id, name="sdk-bond")
    crud(proxy, "port_group", "port_groups", group, find=True)
    port = proxy.create_port(node_id=node.id, address=mac, port_group_id=group.id)
    crud(proxy, "port", "ports", port, find=True)
    proxy.plain("GET", f"/portgroups/{group.id}/ports")
    around(proxy, node)
    proxy.delete_port(port)
    proxy.delete_port_group(group)


def others(proxy: Recorder, node: Any) -> None:
    """Allocations, chassis, templates, runbooks; drivers and conductors."""
    proxy.update_node(node.id, resource_class="sdk-gold")
    allocation = proxy.create_allocation(name="sdk-a", resource_class="sdk-gold")
    assert proxy.wait_for_allocation(allocation, timeout=WAIT_S).node_id == node.id
    crud(proxy, "allocation", "allocations", allocation)
    proxy.delete_allocation(allocation)
    another = proxy.create_allocation(name="sdk-b", resource_class="sdk-gold")
    proxy.wait_for_allocation(another, timeout=WAIT_S)
    for method in ("GET", "DELETE"):
        proxy.plain(method, f"/nodes/{node.id}/allocation")
    chassis = proxy.create_chassis(description="row 7")
    crud(proxy, "chassis", "chassis", chassis, find=True)
    proxy.delete_chassis(chassis)
    template = proxy.create_deploy_template(
        name="CUSTOM_SDK", steps=[step | {"priority": 10} for step in STEPS]
    )
    crud(proxy, "deploy_template", "deploy_templates", template, find=True)
    proxy.delete_deploy_template(template)
    runbook = proxy.create_runbook(
        name="CUSTOM_SDK", steps=[step | {"order": 10} for step in STEPS]
    )
    crud(proxy, "runbook", "runbooks", runbook)
    proxy.set_runbook_traits(runbook, ["CUSTOM_A"])
    proxy.add_runbook_trait(runbook, "CUSTOM_B")
    proxy.remove_runbook_trait(runbook, "CUSTOM_B")
    proxy.delete_runbook(runbook)
    proxy.get_driver(proxy.drivers()[0].name)
    proxy.get_conductor(proxy.conductors()[0].hostname)


def absent(proxy: Recorder, node: Any) -> None:
    """What this release lacks: each method is to be refused in a sentence."""
    for thing in ("volume_connector", "volume_target", "inspection_rule"):
        getattr(proxy, f"{thing}s")()
        getattr(proxy, f"create_{thing}")(node_id=node.id)
        for verb in ("get", "update", "patch", "delete"):
            extra = (NOTED,) if verb == "patch" else ()
            more = {"extra": {}} if verb == "update" else {}
            more |= {"ignore_missing": False} if verb == "delete" else {}
            getattr(proxy, f"{verb}_{thing}")(str(uuid4()), *extra, **more)
        if thing != "inspection_rule":
            getattr(proxy, f"find_{thing}")(str(uuid4()), ignore_missing=False)
    proxy.list_driver_vendor_passthru("fake-hardware")
    proxy.call_driver_vendor_passthru("fake-hardware", "GET", "fly")
    proxy.list_node_vendor_passthru(node)
    proxy.call_node_vendor_passthru(node, "GET", "fly")


def main(cloud: str, told: dict[str, Any]) -> dict[str, Any]:
    """Create, try everything, remove."""
    proxy = Recorder(openstack.connect(cloud=cloud).baremetal)
    node = proxy.create_node(name=told["name"], driver="fake-hardware")
    crud(proxy, "node", "nodes", node, find=True)
    provisioning(proxy, node)
    belongings(proxy, node, told["mac"])
    others(proxy, node)
    absent(proxy, node)
    proxy.delete_node(node)
    return {"seen": proxy.seen, "missed": proxy.missed()}


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], json.loads(sys.argv[2]))))  # noqa: T201
