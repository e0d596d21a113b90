"""What there is to make stacks of, and who makes them."""

from __future__ import annotations

from litestar import Response, get

from holdfast import __version__
from holdfast.stacks.api.call import Segment, TheCall
from holdfast.stacks.api.render import iso

TYPES = {"policy": "stacks:resource_types"}
SERVICES = {"policy": "stacks:services"}
INFO = {"policy": "stacks:build_info"}


@get("/v1/{project:str}/resource_types", opt=TYPES)
async def list_types(call: TheCall) -> Response[bytes]:
    """The names of the types, or with ``with_description`` what they are, too."""
    query = call.query
    found = call.stacks.catalogue.types(query.text("name"), query.text("support_status"))
    if not query.flag("with_description"):
        return call.answer({"resource_types": [kind.name for kind in found]})
    shown = [{"resource_type": kind.name, "description": kind.description} for kind in found]
    return call.answer({"resource_types": shown})


@get("/v1/{project:str}/resource_types/{kind:str}", opt=TYPES)
async def show_type(call: TheCall, kind: Segment) -> Response[bytes]:
    """A type's properties and attributes."""
    described = call.query.flag("with_description")
    return call.answer(call.stacks.catalogue.schema(kind, with_description=described))


@get("/v1/{project:str}/resource_types/{kind:str}/template", opt=TYPES)
async def show_type_template(call: TheCall, kind: Segment) -> Response[bytes]:
    """A template that wraps one resource of a type."""
    template_type = call.query.text("template_type") or "hot"
    return call.answer(call.stacks.catalogue.template(kind, template_type))


@get("/v1/{project:str}/template_versions", opt=TYPES)
async def list_versions(call: TheCall) -> Response[bytes]:
    """The versions that templates may name."""
    return call.answer({"template_versions": call.stacks.catalogue.versions()})


@get("/v1/{project:str}/template_versions/{version:str}/functions", opt=TYPES)
async def list_functions(call: TheCall, version: Segment) -> Response[bytes]:
    """The functions of a version."""
    found = call.stacks.catalogue.functions(
        version, with_conditions=call.query.flag("with_condition_func")
    )
    return call.answer({"template_functions": found})


@get("/v1/{project:str}/build_info", opt=INFO)
async def show_build(call: TheCall) -> Response[bytes]:
    """Which release answers."""
    build = {"revision": __version__}
    return call.answer({"api": build, "engine": build})


@get("/v1/{project:str}/services", opt=SERVICES)
async def list_services(call: TheCall) -> Response[bytes]:
    """Engines and APIs, and whether they are up (X21)."""
    shown = [
        {
            "id": one.id,
            "binary": one.binary,
            "engine_id": one.engine_id,
            "hostname": one.hostname,
            "host": one.host,
            "topic": one.topic,
            "report_interval": one.report_interval,
            "status": "up" if one.up else "down",
            "created_at": iso(one.created_at),
            "updated_at": iso(one.updated_at),
            "deleted_at": iso(one.deleted_at),
        }
        for one in await call.stacks.engines.services()
    ]
    return call.answer({"services": shown})


HANDLERS = (
    list_types,
    show_type,
    show_type_template,
    list_versions,
    list_functions,
    show_build,
    list_services,
)
