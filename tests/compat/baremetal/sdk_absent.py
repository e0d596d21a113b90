"""Asks with openstacksdk for what these APIs have and this release does not.

    sdk_absent.py CLOUD '{"routes": [["GET", "baremetal", "/chassis"], ...]}'

Each route once as a plain request, and some by the SDK's own methods too. Prints as one line
of JSON what was asked -> the sentence it was refused with.
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


def request(connection: Any, method: str, service: str, path: str) -> None:
    """A request without a method of its own in the SDK."""
    answer = getattr(connection, service).request(
        path,
        method,
        microversion="1.95" if service == "baremetal" else None,
        json={} if method in ("POST", "PUT", "PATCH") else None,
    )
    openstack.exceptions.raise_from_response(answer)


def main(cloud: str, told: dict[str, Any]) -> dict[str, str]:
    """Ask for each."""
    connection = openstack.connect(cloud=cloud)
    baremetal = connection.baremetal
    node = baremetal.create_node(name="sdk-absent", driver="redfish")
    parts = {"node": node.id, "driver": "redfish", "user": connection.current_user_id}
    asked: dict[str, Callable[[], Any]] = {}
    methods: dict[str, Callable[[], Any]] = {
        "GET /allocations": lambda: list(baremetal.allocations()),
        "GET /chassis": lambda: list(baremetal.chassis()),
        "GET /deploy_templates": lambda: list(baremetal.deploy_templates()),
        "GET /portgroups": lambda: list(baremetal.port_groups()),
        "GET /volume/connectors": lambda: list(baremetal.volume_connectors()),
        "GET /nodes/{node}/inventory": lambda: baremetal.get_node_inventory(node),
        "GET /nodes/{node}/firmware": lambda: baremetal.list_node_firmware(node),
        "GET /nodes/{node}/vifs": lambda: baremetal.list_node_vifs(node),
        "PUT /nodes/{node}/management/inject_nmi": lambda: baremetal.inject_nmi_to_node(node),
        "PUT /nodes/{node}/states/boot_mode": lambda: baremetal.set_node_boot_mode(node, "uefi"),
        "DELETE /nodes/{node}/vmedia": lambda: baremetal.detach_vmedia_from_node(node),
    }
    for method, service, template in told["routes"]:
        path = template
        for name, value in parts.items():
            path = path.replace(f"{{{name}}}", value)
        path = path.replace("{", "").replace("}", "")
        name = f"{method} {template}"
        asked[name] = lambda m=method, s=service, p=path: request(connection, m, s, p)
        if name in methods:
            asked[f"{name} by the SDK's method"] = methods[name]
    seen = {what: refusal(ask) for what, ask in asked.items()}
    baremetal.delete_node(node)
    return seen


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], json.loads(sys.argv[2]))))  # noqa: T201
