"""Documents as they go out: links made from the UUID, the rest as the database gave it."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import msgspec

from holdfast.baremetal.api.call import Call
from holdfast.baremetal.fields import NODE, PORT
from holdfast.baremetal.service.filters import PageQuery
from holdfast.baremetal.service.reading import Document, Reader
from holdfast.baremetal.states import Provision

Template = tuple[str, str]  # field, JSON text with %s wherever the UUID belongs


@lru_cache(maxsize=1024)
def _templates(url: str, resource: str, names: tuple[str, ...]) -> tuple[Template, ...]:
    """The link fields among ``names``."""
    table = NODE if resource == "nodes" else PORT
    safe = msgspec.json.encode(url).decode()[1:-1].replace("%", "%%")

    def links(below: str) -> str:
        return (
            f'[{{"href":"{safe}/v1/{resource}/%s{below}","rel":"self"}},'
            f'{{"href":"{safe}/{resource}/%s{below}","rel":"bookmark"}}]'
        )

    return tuple(
        (name, links("" if name == "links" else f"/{name}"))
        for name in names
        if table[name].kind == "links"
    )


def rendered(
    call: Call, resource: str, names: tuple[str, ...], documents: list[Document]
) -> list[Document]:
    """Add the links, in place, and take ``_uuid`` out."""
    templates = _templates(call.url, resource, names)
    raw = msgspec.Raw
    for document in documents:
        uuid = document.pop("_uuid")
        for name, template in templates:
            document[name] = raw(template % (uuid, uuid))
    if call.minor < 2:
        _without_available(documents)
    return documents


def _without_available(documents: list[Document]) -> None:
    """1.1 did not know the state "available": such a node had none."""
    for document in documents:
        if document.get("provision_state") == Provision.AVAILABLE:
            document["provision_state"] = None


def page(
    call: Call,
    reader: Reader,
    path: str,
    resource: str,
    query: PageQuery,
    documents: list[Document],
) -> dict[str, Any]:
    """A page of a list. ``path``: the collection's, such as ``nodes/detail``."""
    size = reader.page_size(query.limit)
    last = documents[-1]["_uuid"] if len(documents) == size else None
    body: dict[str, Any] = {resource: rendered(call, resource, query.fields, documents)}
    if last is not None:
        body["next"] = f"{call.url}/v1/{path}?{call.query.following(size, last)}"
    return body
