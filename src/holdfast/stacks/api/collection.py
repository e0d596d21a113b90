"""The stacks of a project: listed, created, previewed, looked up."""

from __future__ import annotations

from typing import Literal, cast

from litestar import HttpMethod, Response, get, post, route
from litestar.params import FromPath
from litestar.response.base import ASGIResponse

from holdfast.errors import ForbiddenError
from holdfast.identity.policy import Role
from holdfast.stacks.api.call import SET_BY_ANSWER, Call, Segment, TheCall
from holdfast.stacks.api.render import (
    Document,
    link,
    resource_preview,
    stack_brief,
    stack_whole,
)
from holdfast.stacks.hot.describe import describe_template
from holdfast.stacks.service.reading import Listed, StackQuery
from holdfast.stacks.service.requests import read_request

INDEX = {"policy": "stacks:index"}
LOOKUP = {"policy": "stacks:lookup"}
CREATE = {"policy": "stacks:create"}
PREVIEW = {"policy": "stacks:preview"}
VALIDATE = {"policy": "stacks:validate_template"}

_FILTERS = {
    "id": "id",
    "name": "name",
    "stack_name": "name",
    "status": "status",
    "stack_status": "status",
    "action": "action",
    "stack_action": "action",
    "stack_status_reason": "reason",
    "username": "owner",
    "stack_owner": "owner",
    "owner_id": "parent",
    "parent": "parent",
    "tenant": "project",
}


@get("/v1/{project:str}/stacks", opt=INDEX)
async def list_stacks(call: TheCall) -> Response[bytes]:
    """A page of stacks, the newest first; of all projects for whoever reaches everywhere."""
    return await _page(call)


@get("/v1/{project:str}/stacks/detail", opt=INDEX)
async def list_stacks_in_detail(call: TheCall) -> Response[bytes]:
    """The same."""
    return await _page(call)


async def _page(call: Call) -> Response[bytes]:
    query, text = _query(call), call.query
    listed = await call.stacks.read.page(query)
    everywhere = query.project is None
    shown: Document = {
        "stacks": [stack_brief(call, one, with_project=everywhere) for one in listed]
    }
    if query.limit and len(listed) == query.limit:
        path = f"{call.url}/v1/{call.project}/stacks"
        following = text.encoded(marker=str(listed[-1].stack.id))
        shown["links"] = [link(f"{path}?{following}", "next")]
    if text.flag("with_count"):
        shown["count"] = await call.stacks.read.count(query)
    return call.answer(shown)


def _query(call: Call) -> StackQuery:
    query = call.query
    everywhere = query.flag("global_tenant")
    if everywhere and not (call.caller.everywhere and call.caller.has(Role.ADMIN)):
        raise ForbiddenError(
            "stacks of all projects are for administrators of the admin project or the system"
        )
    return StackQuery(
        project=None if everywhere else call.project,
        filters=query.filters(_FILTERS),
        tags=query.split("tags"),
        tags_any=query.split("tags_any"),
        not_tags=query.split("not_tags"),
        not_tags_any=query.split("not_tags_any"),
        show_deleted=query.flag("show_deleted"),
        show_nested=query.flag("show_nested"),
        show_hidden=query.flag("show_hidden"),
        limit=query.number("limit"),
        marker=query.text("marker"),
        sort_keys=tuple(
            part for value in query.all("sort_keys") for part in value.split(",") if part
        ),
        sort_dir=cast("Literal['asc', 'desc'] | None", query.direction()),
    )


@post("/v1/{project:str}/stacks", opt=CREATE)
async def create_stack(call: TheCall) -> Response[bytes]:
    """Begin a stack, or adopt one. With an Idempotency-Key the same request makes one stack."""
    request = read_request(await call.object())
    key = call.header("idempotency-key")
    stack = await call.stacks.life.create(call.caller, call.project, request, key)
    href = call.url_of(stack)
    return call.answer(
        {"stack": {"id": str(stack.id), "links": [link(href)]}}, 201, {"Location": href}
    )


@post("/v1/{project:str}/stacks/preview", opt=PREVIEW, status_code=SET_BY_ANSWER)
async def preview_stack(call: TheCall) -> Response[bytes]:
    """What a stack would be made of."""
    request = read_request(await call.object())
    stack, prepared = await call.stacks.life.preview(call.caller, call.project, request)
    listed = Listed(
        stack=stack, parent=None, parent_resource=None, description=prepared.plan.description
    )
    shown = stack_whole(call, listed, call.stacks.looks.texts(prepared.plan), None)
    for name in ("stack_status", "stack_status_reason", "creation_time"):
        del shown[name]
    previews = call.stacks.previews.of(prepared.plan)
    shown["resources"] = [resource_preview(call, stack, one) for one in previews]
    return call.answer({"stack": shown})


@post("/v1/{project:str}/validate", opt=VALIDATE, status_code=SET_BY_ANSWER)
async def validate_template(call: TheCall) -> Response[bytes]:
    """Whether a template is one, and which parameters it has."""
    request = read_request(await call.object())
    planner = call.stacks.planner
    template = "" if request.template is None else request.template
    environment = planner.environment(request, template, request.files, None)
    nested = call.query.flag("show_nested")
    size = len(str(template)) + sum(map(len, request.files.values()))
    shown = await planner.aside(
        size,
        lambda: describe_template(
            template,
            files=request.files,
            environment=environment,
            limits=planner.limits,
            show_nested=nested,
        ),
    )
    return call.answer(shown)


METHODS = [HttpMethod.GET, HttpMethod.POST, HttpMethod.PUT, HttpMethod.PATCH, HttpMethod.DELETE]


@route(
    "/v1/{project:str}/lookup/{name:str}",
    http_method=METHODS,
    opt=LOOKUP,
    status_code=SET_BY_ANSWER,
)
async def look_stack_up(call: TheCall, name: Segment) -> ASGIResponse:
    """Where a stack is that was named by its name or id alone (``rewrite`` leads here)."""
    return await _elsewhere(call, name, "")


@route(
    "/v1/{project:str}/lookup/{name:str}/{rest:path}",
    http_method=METHODS,
    opt=LOOKUP,
    status_code=SET_BY_ANSWER,
)
async def look_within_stack_up(call: TheCall, name: Segment, rest: FromPath[str]) -> ASGIResponse:
    """The same, of something of a stack."""
    return await _elsewhere(call, name, str(rest))


async def _elsewhere(call: Call, name: str, rest: str) -> ASGIResponse:
    stack = (await call.stacks.read.find(call.project, name)).stack
    parts = [part for part in rest.split("/") if part]
    query = call.query.encoded()
    location = call.url_of(stack, *parts) + (f"?{query}" if query else "")
    return call.done(302, {"Location": location})


HANDLERS = (
    list_stacks,
    list_stacks_in_detail,
    create_stack,
    preview_stack,
    validate_template,
    look_stack_up,
    look_within_stack_up,
)
