"""Asks with openstacksdk for what the Bare Metal API has and this release does not.

    sdk_absent.py CLOUD '{}'

Prints as one line of JSON what was asked -> the sentence it was refused with.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import openstack  # pyright: ignore[reportMissingImports]  # there, not here


def refusal(ask: Callable[[], Any]) -> str:
    """The sentence that a call was refused with."""
    try:
        answer = ask()
        found = list(answer) if hasattr(answer, "__next__") else answer
    except openstack.exceptions.HttpException as error:
        return f"{error.status_code}: {error.message} {error.details or ''}"
    return f"answered: {found}"


def main(cloud: str) -> dict[str, str]:
    """Ask for each."""
    connection = openstack.connect(cloud=cloud)
    baremetal = connection.baremetal
    node = baremetal.create_node(name="sdk-absent", driver="redfish")
    asked: dict[str, Callable[[], Any]] = {
        "allocations": baremetal.allocations,
        "chassis": baremetal.chassis,
        "deploy templates": baremetal.deploy_templates,
        "inspection rules": baremetal.inspection_rules,
        "port groups": baremetal.port_groups,
        "runbooks": baremetal.runbooks,
        "volume connectors": baremetal.volume_connectors,
        "volume targets": baremetal.volume_targets,
        "node inventory": lambda: baremetal.get_node_inventory(node),
        "node firmware": lambda: baremetal.list_node_firmware(node),
        "node VIFs": lambda: baremetal.list_node_vifs(node),
        "node console": lambda: baremetal.get_node_console(node),
        "NMI": lambda: baremetal.inject_nmi_to_node(node),
        "boot mode": lambda: baremetal.set_node_boot_mode(node, "uefi"),
        "secure boot": lambda: baremetal.set_node_secure_boot(node, True),
        "virtual media": lambda: baremetal.detach_vmedia_from_node(node),
    }
    # Only the routes that the SDK has no method for.
    paths = ("bios", "history", "portgroups", "management/indicators")
    for path in paths:
        asked[f"node {path}"] = lambda path=path: openstack.exceptions.raise_from_response(
            baremetal.get(f"/nodes/{node.id}/{path}", microversion="1.90")
        )
    asked["shards"] = lambda: openstack.exceptions.raise_from_response(
        baremetal.get("/shards", microversion="1.90")
    )
    seen = {what: refusal(ask) for what, ask in asked.items()}
    baremetal.delete_node(node)
    return seen


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1])))  # noqa: T201
