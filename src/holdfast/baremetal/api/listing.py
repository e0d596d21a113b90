"""What every list and every single thing of this API has in common on the wire."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from litestar import Response

from holdfast.baremetal.api.call import Call
from holdfast.baremetal.api.render import rendered
from holdfast.baremetal.api.versions import require
from holdfast.baremetal.resources import Resource
from holdfast.baremetal.service.filters import PageQuery
from holdfast.baremetal.service.reading import Document
from holdfast.errors import InvalidInputError

DETAIL_SINCE = 43  # the parameter ``detail`` of lists that had a path for it before


def names_of_page(call: Call, resource: Resource, detail_since: int) -> tuple[str, ...]:
    """The fields a list shows: in brief, unless ``detail`` or ``fields`` is given."""
    asked = call.query.fields(resource.fields)
    detail = call.query.flag("detail", detail_since)
    if detail and asked is not None:
        raise InvalidInputError("Can't fetch a subset of fields with 'detail' set")
    return resource.shown(call.minor) if detail else asked or resource.in_brief(call.minor)


Fetch = Callable[[PageQuery], Awaitable[list[Document]]]


async def answer_page(
    call: Call, resource: Resource, path: str, names: tuple[str, ...], fetch: Fetch
) -> Response[bytes]:
    """Answer with a page. ``path``: the collection's, such as ``nodes/detail``.

    What else the query has must have been taken before, or in ``fetch``'s making.
    """
    query = call.query.page(names)
    call.query.finish()
    documents = await fetch(query)
    size = call.baremetal.read.page_size(query.limit)
    last = documents[-1]["_uuid"] if len(documents) == size else None
    body: dict[str, Any] = {resource.plural: rendered(call, resource, names, documents)}
    if last is not None:
        body["next"] = f"{call.url}/v1/{path}?{call.query.following(size, last)}"
    return call.answer(body)


async def document(
    call: Call, resource: Resource, ident: str, names: tuple[str, ...]
) -> dict[str, Any]:
    """One thing as it goes out."""
    found = await call.baremetal.read.one(resource, call.caller, ident, names)
    return rendered(call, resource, names, [found])[0]


async def answer_one(call: Call, resource: Resource, ident: str) -> Response[bytes]:
    """Answer with one thing, or the asked fields of it."""
    names = call.query.fields(resource.fields) or resource.shown(call.minor)
    call.query.finish()
    return call.answer(await document(call, resource, ident, names))


async def answer_changed(call: Call, resource: Resource, uuid: object) -> Response[bytes]:
    """Answer a change with the thing as it is now."""
    return call.answer(await document(call, resource, str(uuid), resource.shown(call.minor)))


async def answer_created(call: Call, resource: Resource, uuid: object) -> Response[bytes]:
    """Answer a creation with the new thing and where it is."""
    body = await document(call, resource, str(uuid), resource.shown(call.minor))
    return call.answer(body, 201, {"Location": f"{call.url}/v1/{resource.plural}/{uuid}"})


def require_fields(call: Call, resource: Resource, names: Iterable[str]) -> None:
    """Raise ``NotAcceptableError`` for a field that came later than the version asked for."""
    for name in names:
        if name in resource.fields:
            require(call.minor, resource.fields[name].since)
