"""Software configurations and deployments."""

from __future__ import annotations

from litestar import Response, delete, get, post, put
from litestar.response.base import ASGIResponse

from holdfast.stacks.api.call import SET_BY_ANSWER, Segment, TheCall
from holdfast.stacks.api.render import Document, iso
from holdfast.stacks.service.software import Config, Deployment

READ = {"policy": "stacks:software:get"}
WRITE = {"policy": "stacks:software:write"}
CONFIGS = "/v1/{project:str}/software_configs"
DEPLOYMENTS = "/v1/{project:str}/software_deployments"


def _brief(config: Config) -> Document:
    return {
        "id": str(config.id),
        "name": config.name,
        "group": config.group,
        "creation_time": iso(config.created_at),
    }


def _whole(config: Config) -> Document:
    return _brief(config) | config.content


def _deployment(one: Deployment) -> Document:
    shown: Document = {
        "id": str(one.id),
        "server_id": one.server,
        "config_id": None if one.config is None else str(one.config),
        "action": one.action,
        "status": one.status,
        "status_reason": one.status_reason,
        "input_values": one.input_values,
        "output_values": one.output_values or None,
        "creation_time": iso(one.created_at),
    }
    return shown if one.updated_at is None else shown | {"updated_time": iso(one.updated_at)}


@get(CONFIGS, opt=READ)
async def list_configs(call: TheCall) -> Response[bytes]:
    """A page of configurations, without their content."""
    found = await call.stacks.software.configs(
        call.project, call.query.number("limit"), call.query.text("marker")
    )
    return call.answer({"software_configs": [_brief(one) for one in found]})


@post(CONFIGS, opt=WRITE, status_code=SET_BY_ANSWER)
async def create_config(call: TheCall) -> Response[bytes]:
    """Keep a configuration."""
    config = await call.stacks.software.add_config(call.project, await call.object())
    return call.answer({"software_config": _whole(config)})


@get(f"{CONFIGS}/{{ident:str}}", opt=READ)
async def show_config(call: TheCall, ident: Segment) -> Response[bytes]:
    """One configuration."""
    config = await call.stacks.software.config(call.project, ident)
    return call.answer({"software_config": _whole(config)})


@delete(f"{CONFIGS}/{{ident:str}}", opt=WRITE, status_code=SET_BY_ANSWER)
async def delete_config(call: TheCall, ident: Segment) -> ASGIResponse:
    """Drop one that is not deployed."""
    await call.stacks.software.drop_config(call.project, ident)
    return call.done(204)


@get(DEPLOYMENTS, opt=READ)
async def list_deployments(call: TheCall) -> Response[bytes]:
    """Deployments, of one server if ``server_id`` is given."""
    found = await call.stacks.software.many(call.project, call.query.text("server_id"))
    return call.answer({"software_deployments": [_deployment(one) for one in found]})


@get(f"{DEPLOYMENTS}/metadata/{{server:str}}", opt=READ)
async def list_for_server(call: TheCall, server: Segment) -> Response[bytes]:
    """The configurations that are deployed to a server, whole."""
    found = await call.stacks.software.for_server(call.project, server)
    return call.answer({"metadata": [_whole(one) for one in found]})


@post(DEPLOYMENTS, opt=WRITE, status_code=SET_BY_ANSWER)
async def create_deployment(call: TheCall) -> Response[bytes]:
    """Deploy a configuration to a server."""
    one = await call.stacks.software.add(call.project, await call.object())
    return call.answer({"software_deployment": _deployment(one)})


@get(f"{DEPLOYMENTS}/{{ident:str}}", opt=READ)
async def show_deployment(call: TheCall, ident: Segment) -> Response[bytes]:
    """One deployment."""
    one = await call.stacks.software.one(call.project, ident)
    return call.answer({"software_deployment": _deployment(one)})


@put(f"{DEPLOYMENTS}/{{ident:str}}", opt=WRITE, status_code=SET_BY_ANSWER)
async def update_deployment(call: TheCall, ident: Segment) -> Response[bytes]:
    """Say how it went, or what it shall be."""
    one = await call.stacks.software.change(
        call.project, ident, await call.object(from_machine=True)
    )
    return call.answer({"software_deployment": _deployment(one)})


@delete(f"{DEPLOYMENTS}/{{ident:str}}", opt=WRITE, status_code=SET_BY_ANSWER)
async def delete_deployment(call: TheCall, ident: Segment) -> ASGIResponse:
    """Drop it."""
    await call.stacks.software.drop(call.project, ident)
    return call.done(204)


HANDLERS = (
    list_configs,
    create_config,
    show_config,
    delete_config,
    list_deployments,
    list_for_server,
    create_deployment,
    show_deployment,
    update_deployment,
    delete_deployment,
)
