"""Documents as they go out: links made from the UUID, the rest as the database gave it."""

from __future__ import annotations

from functools import lru_cache

import msgspec

from holdfast.baremetal.api.call import Call
from holdfast.baremetal.resources import NODES, Resource
from holdfast.baremetal.service.reading import Document
from holdfast.baremetal.states import Provision

Template = tuple[str, str]  # field, JSON text with %s wherever the UUID belongs


@lru_cache(maxsize=1024)
def _templates(url: str, resource: Resource, names: tuple[str, ...]) -> tuple[Template, ...]:
    """The link fields among ``names``."""
    safe = msgspec.json.encode(url).decode()[1:-1].replace("%", "%%")

    def links(below: str) -> str:
        return (
            f'[{{"href":"{safe}/v1/{resource.plural}/%s{below}","rel":"self"}},'
            f'{{"href":"{safe}/{resource.plural}/%s{below}","rel":"bookmark"}}]'
        )

    return tuple(
        (name, links("" if name == "links" else f"/{name}"))
        for name in names
        if resource.fields[name].kind == "links"
    )


def rendered(
    call: Call, resource: Resource, names: tuple[str, ...], documents: list[Document]
) -> list[Document]:
    """Add the links, in place, and take ``_uuid`` out."""
    templates = _templates(call.url, resource, names)
    raw = msgspec.Raw
    for document in documents:
        uuid = document.pop("_uuid")
        for name, template in templates:
            document[name] = raw(template % (uuid, uuid))
    if call.minor < 2 and resource is NODES:
        _without_available(documents)
    return documents


def _without_available(documents: list[Document]) -> None:
    """1.1 did not know the state "available": such a node had none."""
    for document in documents:
        if document.get("provision_state") == Provision.AVAILABLE:
            document["provision_state"] = None
