"""Stacks, resources and events as the Orchestration API shows them."""

from __future__ import annotations

from datetime import UTC, datetime

from holdfast.stacks.api.call import Call
from holdfast.stacks.model import Event, Resource, Stack
from holdfast.stacks.service.looks import Output, ResourceDetail
from holdfast.stacks.service.previews import Preview
from holdfast.stacks.service.reading import Listed
from holdfast.stacks.service.trees import TreeEvent, TreeResource
from holdfast.store.model import Json

Document = dict[str, Json]


def iso(at: float | None) -> str | None:
    """A moment as ``2026-01-31T12:00:00Z``."""
    if at is None:
        return None
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def link(href: str, rel: str = "self") -> dict[str, str]:
    """A link."""
    return {"href": href, "rel": rel}


def stack_brief(call: Call, listed: Listed, *, with_project: bool = False) -> Document:
    """A stack in a list."""
    stack = listed.stack
    shown: Document = {
        "id": str(stack.id),
        "links": [link(call.url_of(stack))],
        "stack_name": stack.name,
        "description": listed.description,
        "stack_status": f"{stack.action}_{stack.status}",
        "stack_status_reason": stack.reason,
        "creation_time": iso(stack.created_at),
        "updated_time": iso(stack.updated_at),
        "deletion_time": iso(stack.deleted_at),
        "stack_owner": stack.delegation.user_name,
        "parent": None if listed.parent is None else str(listed.parent),
        "stack_user_project_id": stack.project,
        "tags": list(stack.tags) or None,
    }
    if with_project:
        shown["project"] = stack.project
    return shown


def stack_whole(
    call: Call, listed: Listed, parameters: dict[str, str], outputs: list[Output] | None
) -> Document:
    """A stack by itself. ``outputs`` None: they were not asked for."""
    stack = listed.stack
    shown: Document = stack_brief(call, listed)
    shown |= {
        "template_description": listed.description,
        "capabilities": [],
        "notification_topics": [],
        "parameters": parameters,
        "disable_rollback": not stack.rollback,
        "timeout_mins": max(1, round(stack.timeout_s / 60)),
    }
    if outputs is not None:
        shown["outputs"] = [output_whole(one) for one in outputs]
    return shown


def output_brief(output: Output) -> Document:
    """An output without its value."""
    return {"output_key": output.name, "description": output.description or "No description given"}


def output_whole(output: Output) -> Document:
    """An output with its value; ``output_error`` says why there is none."""
    shown = output_brief(output) | {"output_value": output.value}
    return shown if output.error is None else shown | {"output_error": output.error}


def resource_brief(
    call: Call, stack: Stack, one: TreeResource, *, detail: bool = False
) -> Document:
    """A resource in a list. ``stack``: the one that was asked, at the top of the tree."""
    row = one.row
    own = (stack.project, one.stack_name, row.stack)
    links = [
        link(call.url_at(*own, "resources", row.name)),
        link(call.url_at(*own), "stack"),
    ]
    if one.nested is not None:
        ident, name = one.nested
        links.append(link(call.url_at(stack.project, name, ident), "nested"))
    shown = _resource(row) | {"links": links, "required_by": list(one.required_by)}
    if one.parent_resource is not None:
        shown["parent_resource"] = one.parent_resource
    if detail:
        shown["attributes"] = row.attributes
    return shown


def resource_whole(call: Call, listed: Listed, detail: ResourceDetail) -> Document:
    """A resource by itself."""
    stack, row = listed.stack, detail.row
    links = [
        link(call.url_of(stack, "resources", row.name)),
        link(call.url_of(stack), "stack"),
    ]
    if detail.nested is not None:
        links.append(link(call.url_of(detail.nested), "nested"))
    shown = _resource(row) | {
        "links": links,
        "required_by": list(detail.required_by),
        "description": detail.description,
        "attributes": detail.attributes,
    }
    if listed.parent_resource is not None:
        shown["parent_resource"] = listed.parent_resource
    return shown


def resource_preview(call: Call, stack: Stack, one: Preview) -> Document:
    """A resource that is not there yet, or is to be changed."""
    row = one.row or Resource(id=stack.id, stack=stack.id, name=one.name, type=one.type)
    return _resource(row) | {
        "resource_type": one.type,
        "stack_name": stack.name,
        "stack_identity": {
            "stack_name": stack.name,
            "stack_id": str(stack.id),
            "tenant": stack.project,
            "path": "",
        },
        "links": [
            link(call.url_of(stack, "resources", one.name)),
            link(call.url_of(stack), "stack"),
        ],
        "required_by": list(one.required_by),
        "description": one.description,
        "properties": one.properties,
        "metadata": one.metadata,
        "attributes": dict.fromkeys(one.attributes),
    }


def event_brief(call: Call, stack: Stack, one: TreeEvent, root: Stack | None) -> Document:
    """A line of history. ``root``: the stack whose tree was asked for."""
    event = one.event
    links = _event_links(call, stack, event, one.stack_name)
    if root is not None:
        links.append(link(call.url_of(root), "root_stack"))
    return {
        "id": str(event.id),
        "event_time": iso(event.at),
        "resource_name": event.name,
        "logical_resource_id": event.name,
        "physical_resource_id": event.physical_id,
        "resource_status": f"{event.action}_{event.status}",
        "resource_status_reason": event.reason,
        "links": links,
    }


def event_whole(call: Call, stack: Stack, one: TreeEvent, properties: Document) -> Document:
    """A line of history by itself, with what the resource was made of."""
    return event_brief(call, stack, one, None) | {
        "resource_type": one.event.type,
        "resource_properties": properties,
    }


def _event_links(call: Call, stack: Stack, event: Event, name: str) -> list[dict[str, str]]:
    own = (stack.project, name, event.stack)
    return [
        link(call.url_at(*own, "resources", event.name, "events", str(event.id))),
        link(call.url_at(*own, "resources", event.name), "resource"),
        link(call.url_at(*own), "stack"),
    ]


def _resource(row: Resource) -> Document:
    return {
        "resource_name": row.name,
        "logical_resource_id": row.name,
        "physical_resource_id": row.physical_id or "",
        "resource_status": f"{row.action}_{row.status}",
        "resource_status_reason": row.reason,
        "resource_type": row.type,
        "creation_time": iso(row.created_at),
        "updated_time": iso(row.updated_at or row.created_at),
    }
