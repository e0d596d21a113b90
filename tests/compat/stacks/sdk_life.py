"""A stack's life with the unmodified openstacksdk, in the clients' environment.

Arguments: the cloud's name, and JSON. The last line of the output is what was seen, as JSON.
"""

import json
import sys

import openstack  # pyright: ignore[reportMissingImports]

TEMPLATE = {
    "heat_template_version": "2021-04-16",
    "parameters": {"value": {"type": "string", "default": "a"}},
    "resources": {
        "one": {"type": "OS::Heat::TestResource", "properties": {"value": {"get_param": "value"}}}
    },
    "outputs": {"out": {"value": {"get_attr": ["one", "output"]}}},
}


def main() -> None:
    cloud, arguments = sys.argv[1], json.loads(sys.argv[2])
    heat = openstack.connect(cloud=cloud).orchestration
    name = arguments["name"]
    stack = heat.create_stack(name=name, template=TEMPLATE, timeout_mins=5, tags="sdk")
    stack = heat.wait_for_status(heat.get_stack(stack.id), "CREATE_COMPLETE", wait=60, interval=0.3)
    seen = {"created": stack.status}
    seen["outputs"] = [one["output_value"] for one in heat.get_stack(stack.id).outputs]
    seen["found"] = heat.find_stack(name).id == stack.id
    seen["listed"] = [one.name for one in heat.stacks()]
    seen["template"] = dict(heat.get_stack_template(stack).resources)["one"]["type"]
    seen["environment"] = heat.get_stack_environment(stack).parameters
    seen["files"] = heat.get_stack_files(stack)
    seen["resources"] = [one.name for one in heat.resources(stack)]
    seen["events"] = [one.resource_status for one in heat.stack_events(stack)]
    heat.update_stack(stack, template=TEMPLATE, parameters={"value": "b"})
    stack = heat.wait_for_status(heat.get_stack(stack.id), "UPDATE_COMPLETE", wait=60, interval=0.3)
    seen["updated"] = [one["output_value"] for one in stack.outputs]
    for action in ("suspend", "resume", "check"):
        getattr(heat, f"{action}_stack")(stack)
        wanted = f"{action.upper()}_COMPLETE"
        stack = heat.wait_for_status(heat.get_stack(stack.id), wanted, wait=60, interval=0.3)
    seen["checked"] = stack.status
    seen["valid"] = sorted(heat.validate_template(TEMPLATE).parameters)
    seen["export"] = sorted(heat.export_stack(stack)["resources"])
    heat.delete_stack(stack)
    heat.wait_for_delete(heat.get_stack(stack.id), interval=0.3, wait=60)
    seen["left"] = name in [one.name for one in heat.stacks()]
    config = heat.create_software_config(name="c", group="script", config="#!/bin/sh")
    deployment = heat.create_software_deployment(config_id=config.id, server_id="s")
    seen["software"] = [one.name for one in heat.software_configs()]
    heat.delete_software_deployment(deployment)
    heat.delete_software_config(config)
    print(json.dumps(seen, default=str))  # noqa: T201


main()
