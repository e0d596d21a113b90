"""Asks with openstacksdk for routes of the Bare Metal API, each once, and says how it was answered.

    sdk_routes.py CLOUD '{"routes": [["GET", "/v1/chassis"], ...]}'

Each as a plain request, and some by the SDK's own methods too. Prints as one line of JSON what
was asked -> [status, the sentence of a refusal].
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import openstack  # pyright: ignore[reportMissingImports]  # there, not here

Asked = dict[str, Callable[[], Any]]


def answer_of(ask: Callable[[], Any]) -> tuple[int, str]:
    """Status, and the sentence of a refusal."""
    try:
        ask()
    except openstack.exceptions.HttpException as error:
        return error.status_code or 0, f"{error.message} {error.details or ''}"
    return 200, ""


def request(baremetal: Any, method: str, path: str) -> None:
    """A plain request; the endpoint has the version already."""
    answer = baremetal.request(
        path.removeprefix("/v1"),
        method,
        microversion="1.95",
        json={} if method in ("POST", "PUT", "PATCH") else None,
    )
    openstack.exceptions.raise_from_response(answer)


def methods(baremetal: Any, node: Any) -> Asked:
    """Of the routes of which a release may lack some, those with a method in the SDK."""
    return {
        "GET /v1/allocations": lambda: list(baremetal.allocations()),
        "GET /v1/chassis": lambda: list(baremetal.chassis()),
        "GET /v1/deploy_templates": lambda: list(baremetal.deploy_templates()),
        "GET /v1/portgroups": lambda: list(baremetal.port_groups()),
        "GET /v1/volume/connectors": lambda: list(baremetal.volume_connectors()),
        "GET /v1/nodes/{node}/inventory": lambda: baremetal.get_node_inventory(node),
        "GET /v1/nodes/{node}/firmware": lambda: baremetal.list_node_firmware(node),
        "GET /v1/nodes/{node}/vifs": lambda: baremetal.list_node_vifs(node),
        "PUT /v1/nodes/{node}/management/inject_nmi": lambda: baremetal.inject_nmi_to_node(node),
        "DELETE /v1/nodes/{node}/vmedia": lambda: baremetal.detach_vmedia_from_node(node),
    }


def main(cloud: str, told: dict[str, Any]) -> dict[str, tuple[int, str]]:
    """Ask for each."""
    baremetal = openstack.connect(cloud=cloud).baremetal
    node = baremetal.create_node(name="sdk-routes", driver="redfish")
    named = methods(baremetal, node)
    asked: Asked = {}
    for method, template in told["routes"]:
        path = template.replace("{node}", node.id).replace("{driver}", "redfish")
        path = path.replace("{", "").replace("}", "")
        name = f"{method} {template}"
        asked[name] = lambda m=method, p=path: request(baremetal, m, p)
        if name in named:
            asked[f"{name} by the SDK's method"] = named[name]
    seen = {what: answer_of(ask) for what, ask in asked.items()}
    baremetal.delete_node(node)
    return seen


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], json.loads(sys.argv[2]))))  # noqa: T201
