"""Routes of deploy templates (since 1.55) and runbooks (since 1.92)."""

from __future__ import annotations

from litestar import Response, delete, get, patch, post
from litestar.response.base import ASGIResponse

from holdfast.baremetal.api.call import SET_BY_ANSWER, Call, Segment, TheCall
from holdfast.baremetal.api.listing import (
    answer_changed,
    answer_created,
    answer_one,
    answer_page,
    names_of_page,
)
from holdfast.baremetal.api.versions import exists_since
from holdfast.baremetal.resources import DEPLOY_TEMPLATES, RUNBOOKS, Resource

TEMPLATE_GET = {"policy": "baremetal:deploy_template:get"}
TEMPLATE_CREATE = {"policy": "baremetal:deploy_template:create"}
TEMPLATE_UPDATE = {"policy": "baremetal:deploy_template:update"}
TEMPLATE_DELETE = {"policy": "baremetal:deploy_template:delete"}
RUNBOOK_GET = {"policy": "baremetal:runbook:get"}
RUNBOOK_CREATE = {"policy": "baremetal:runbook:create"}
RUNBOOK_UPDATE = {"policy": "baremetal:runbook:update"}
RUNBOOK_DELETE = {"policy": "baremetal:runbook:delete"}


async def _list(call: Call, resource: Resource) -> Response[bytes]:
    exists_since(call.minor, resource.since)
    names = names_of_page(call, resource, resource.since)
    return await answer_page(
        call,
        resource,
        resource.plural,
        names,
        lambda q: call.baremetal.read.page(resource, call.caller, q),
    )


@get("/v1/deploy_templates", opt=TEMPLATE_GET)
async def list_deploy_templates(call: TheCall) -> Response[bytes]:
    """A page of deploy templates."""
    return await _list(call, DEPLOY_TEMPLATES)


@post("/v1/deploy_templates", opt=TEMPLATE_CREATE)
async def create_deploy_template(call: TheCall) -> Response[bytes]:
    """Create a deploy template."""
    exists_since(call.minor, DEPLOY_TEMPLATES.since, changes=True)
    given = await call.object()
    call.query.finish()
    uuid = await call.baremetal.deploy_templates.create(given)
    return await answer_created(call, DEPLOY_TEMPLATES, uuid)


@get("/v1/deploy_templates/{ident:str}", opt=TEMPLATE_GET)
async def show_deploy_template(call: TheCall, ident: Segment) -> Response[bytes]:
    """One deploy template by UUID or name."""
    exists_since(call.minor, DEPLOY_TEMPLATES.since)
    return await answer_one(call, DEPLOY_TEMPLATES, ident)


@patch("/v1/deploy_templates/{ident:str}", opt=TEMPLATE_UPDATE)
async def update_deploy_template(call: TheCall, ident: Segment) -> Response[bytes]:
    """Apply a JSON patch."""
    exists_since(call.minor, DEPLOY_TEMPLATES.since, changes=True)
    operations = await call.json()
    call.query.finish()
    uuid = await call.baremetal.deploy_templates.update(call.caller, ident, operations)
    return await answer_changed(call, DEPLOY_TEMPLATES, uuid)


@delete("/v1/deploy_templates/{ident:str}", opt=TEMPLATE_DELETE, status_code=SET_BY_ANSWER)
async def delete_deploy_template(call: TheCall, ident: Segment) -> ASGIResponse:
    """Delete a deploy template."""
    exists_since(call.minor, DEPLOY_TEMPLATES.since, changes=True)
    call.query.finish()
    await call.baremetal.deploy_templates.delete(call.caller, ident)
    return call.done(204)


@get("/v1/runbooks", opt=RUNBOOK_GET)
async def list_runbooks(call: TheCall) -> Response[bytes]:
    """A page of runbooks: the caller's project's, and those that are public."""
    return await _list(call, RUNBOOKS)


@post("/v1/runbooks", opt=RUNBOOK_CREATE)
async def create_runbook(call: TheCall) -> Response[bytes]:
    """Create a runbook."""
    exists_since(call.minor, RUNBOOKS.since, changes=True)
    given = await call.object()
    call.query.finish()
    uuid = await call.baremetal.runbooks.create(call.caller, given)
    return await answer_created(call, RUNBOOKS, uuid)


@get("/v1/runbooks/{ident:str}", opt=RUNBOOK_GET)
async def show_runbook(call: TheCall, ident: Segment) -> Response[bytes]:
    """One runbook by UUID or name."""
    exists_since(call.minor, RUNBOOKS.since)
    return await answer_one(call, RUNBOOKS, ident)


@patch("/v1/runbooks/{ident:str}", opt=RUNBOOK_UPDATE)
async def update_runbook(call: TheCall, ident: Segment) -> Response[bytes]:
    """Apply a JSON patch."""
    exists_since(call.minor, RUNBOOKS.since, changes=True)
    operations = await call.json()
    call.query.finish()
    uuid = await call.baremetal.runbooks.update(call.caller, ident, operations)
    return await answer_changed(call, RUNBOOKS, uuid)


@delete("/v1/runbooks/{ident:str}", opt=RUNBOOK_DELETE, status_code=SET_BY_ANSWER)
async def delete_runbook(call: TheCall, ident: Segment) -> ASGIResponse:
    """Delete a runbook."""
    exists_since(call.minor, RUNBOOKS.since, changes=True)
    call.query.finish()
    await call.baremetal.runbooks.delete(call.caller, ident)
    return call.done(204)


HANDLERS = (
    list_deploy_templates,
    create_deploy_template,
    show_deploy_template,
    update_deploy_template,
    delete_deploy_template,
    list_runbooks,
    create_runbook,
    show_runbook,
    update_runbook,
    delete_runbook,
)
