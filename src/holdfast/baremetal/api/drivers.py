"""Routes of drivers and conductors: views of a table and of the core's members."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from litestar import Response, get

from holdfast.baremetal.api.call import Call, Segment, TheCall
from holdfast.baremetal.api.versions import exists_since, require
from holdfast.baremetal.drivers import INTERFACES, Driver
from holdfast.baremetal.service.conductors import Conductor
from holdfast.errors import InvalidInputError

DRIVER_GET = {"policy": "baremetal:driver:get"}
CONDUCTOR_GET = {"policy": "baremetal:conductor:get"}

_DYNAMIC_SINCE = 30
_CONDUCTORS_SINCE = 49


def _links(call: Call, path: str) -> list[dict[str, str]]:
    return [
        {"href": f"{call.url}/v1/{path}", "rel": "self"},
        {"href": f"{call.url}/{path}", "rel": "bookmark"},
    ]


def _driver_view(call: Call, driver: Driver, hosts: list[str], *, detail: bool) -> dict[str, Any]:
    view: dict[str, Any] = {
        "name": driver.name,
        "hosts": hosts,
        "links": _links(call, f"drivers/{driver.name}"),
    }
    if call.minor >= 14:
        view["properties"] = _links(call, f"drivers/{driver.name}/properties")
    if call.minor >= _DYNAMIC_SINCE:
        view["type"] = "dynamic"
        for kind in INTERFACES if detail else ():
            view[f"default_{kind}_interface"] = driver.default(kind)
            view[f"enabled_{kind}_interfaces"] = list(driver.interfaces[kind])
    return view


def _only(view: dict[str, Any], names: tuple[str, ...] | None) -> dict[str, Any]:
    """The asked fields of a view, and the links."""
    if names is None:
        return view
    if unknown := [name for name in names if name not in view]:
        raise InvalidInputError(f'Field(s) "{", ".join(unknown)}" are not valid')
    return {name: value for name, value in view.items() if name in names or name == "links"}


@get("/v1/drivers", opt=DRIVER_GET)
async def list_drivers(call: TheCall) -> Response[bytes]:
    """Every driver, with the conductors that are up."""
    kind = call.query.text("type", _DYNAMIC_SINCE)
    detail = call.query.flag("detail", _DYNAMIC_SINCE)
    names = call.query.names("fields", 77)
    call.query.finish()
    if kind not in (None, "classic", "dynamic"):
        raise InvalidInputError(f"Invalid driver type {kind}; use classic or dynamic")
    if detail and names is not None:
        raise InvalidInputError("Can't fetch a subset of fields with 'detail' set")
    hosts = await call.baremetal.conductors.alive()
    found = [] if kind == "classic" else call.baremetal.conductors.drivers()
    whole = bool(detail) or names is not None
    views = [_only(_driver_view(call, driver, hosts, detail=whole), names) for driver in found]
    return call.answer({"drivers": views})


@get("/v1/drivers/{name:str}", opt=DRIVER_GET)
async def show_driver(call: TheCall, name: Segment) -> Response[bytes]:
    """One driver with its interfaces."""
    names = call.query.names("fields", 77)
    call.query.finish()
    driver = call.baremetal.conductors.driver(name)
    hosts = await call.baremetal.conductors.alive()
    return call.answer(_only(_driver_view(call, driver, hosts, detail=True), names))


@get("/v1/drivers/{name:str}/properties", opt=DRIVER_GET)
async def show_driver_properties(call: TheCall, name: Segment) -> Response[bytes]:
    """What ``driver_info`` may have, each key with its meaning."""
    return call.answer(call.baremetal.conductors.driver(name).properties)


@get("/v1/drivers/properties", opt=DRIVER_GET)
async def show_properties(call: TheCall) -> Response[bytes]:
    """The same, with the driver in the query."""
    name = call.query.text("driver_name")
    call.query.finish()
    if name is None:
        raise InvalidInputError("Missing mandatory argument: driver_name")
    return call.answer(call.baremetal.conductors.driver(name).properties)


@get("/v1/drivers/{name:str}/raid/logical_disk_properties", opt=DRIVER_GET)
async def show_raid_properties(call: TheCall, name: Segment) -> Response[bytes]:
    """What a logical disk of a RAID configuration may have, each key with its meaning."""
    require(call.minor, 12)
    call.query.finish()
    driver = call.baremetal.conductors.driver(name)
    if not driver.raid_properties:
        raise InvalidInputError(
            f"Driver {name} does not support get_raid_logical_disk_properties "
            "(disabled or not implemented)."
        )
    return call.answer(driver.raid_properties)


@get("/v1/drivers/{name:str}/vendor_passthru/methods", opt=DRIVER_GET)
async def list_driver_methods(call: TheCall, name: Segment) -> Response[bytes]:
    """The driver's own methods: this release's drivers have none."""
    call.baremetal.conductors.driver(name)
    none: dict[str, Any] = {}
    return call.answer(none)


def _conductor_view(call: Call, conductor: Conductor, *, detail: bool) -> dict[str, Any]:
    view: dict[str, Any] = {
        "hostname": conductor.hostname,
        "conductor_group": conductor.group,
        "alive": conductor.alive,
        "links": _links(call, f"conductors/{conductor.hostname}"),
    }
    if detail:
        view["drivers"] = list(call.baremetal.conductors.hardware_types)
        view["created_at"] = _time(conductor.registered_at)
        view["updated_at"] = None
    return view


def _time(epoch_s: float) -> str:
    return datetime.fromtimestamp(epoch_s, UTC).isoformat()


@get("/v1/conductors", opt=CONDUCTOR_GET)
async def list_conductors(call: TheCall) -> Response[bytes]:
    """A page of conductors by hostname."""
    exists_since(call.minor, _CONDUCTORS_SINCE)
    query = call.query
    names, detail = query.names("fields"), query.flag("detail")
    limit, marker = query.number("limit"), query.text("marker")
    sort_key, sort_dir = query.text("sort_key"), query.text("sort_dir")
    query.finish()
    if sort_key not in (None, "id", "hostname", "alive", "conductor_group"):
        raise InvalidInputError(f"The sort_key value '{sort_key}' is an invalid field for sorting")
    found = await call.baremetal.conductors.all()
    if sort_key in ("alive", "conductor_group"):
        found.sort(key=lambda c: (c.alive if sort_key == "alive" else c.group, c.hostname))
    if sort_dir == "desc":
        found.reverse()
    if marker is not None:
        await call.baremetal.conductors.named(marker)
        found = found[[c.hostname for c in found].index(marker) + 1 :]
    size = call.baremetal.read.page_size(limit)
    whole = bool(detail) or names is not None
    views = [_only(_conductor_view(call, c, detail=whole), names) for c in found[:size]]
    body: dict[str, Any] = {"conductors": views}
    if len(found) > size:
        following = query.following(size, found[size - 1].hostname)
        body["next"] = f"{call.url}/v1/conductors?{following}"
    return call.answer(body)


@get("/v1/conductors/{hostname:str}", opt=CONDUCTOR_GET)
async def show_conductor(call: TheCall, hostname: Segment) -> Response[bytes]:
    """One conductor."""
    exists_since(call.minor, _CONDUCTORS_SINCE)
    names = call.query.names("fields")
    call.query.finish()
    conductor = await call.baremetal.conductors.named(hostname)
    return call.answer(_only(_conductor_view(call, conductor, detail=True), names))


HANDLERS = (
    list_drivers,
    show_driver,
    show_driver_properties,
    show_properties,
    show_raid_properties,
    list_driver_methods,
    list_conductors,
    show_conductor,
)
