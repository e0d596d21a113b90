"""What clients write, checked: the same for everything that the API keeps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from holdfast.baremetal import fields
from holdfast.baremetal.fields import Field
from holdfast.baremetal.resources import Resource
from holdfast.baremetal.service import patch
from holdfast.baremetal.service.rules import default_of
from holdfast.errors import ConflictError, HoldfastError, InvalidInputError
from holdfast.store.model import Json

Values = dict[str, Json]


def require_writable(resource: Resource, names: Iterable[str], *, create: bool) -> None:
    """Raise ``InvalidInputError`` naming every field a client may not write."""
    allowed = fields.writable(resource.fields, create=create)
    if unknown := [name for name in names if name not in allowed]:
        raise InvalidInputError(
            f"A {resource.name.lower()} has no field {', '.join(unknown)} that can be written; "
            f"it has: {', '.join(allowed)}"
        )


def checked(resource: Resource, values: Mapping[str, Json]) -> Values:
    """Each value in its field's type. Raises ``InvalidInputError`` naming the field."""
    return {name: fields.checked(resource.fields[name], value) for name, value in values.items()}


def check_sizes(table: Mapping[str, Field], values: Values, bytes_max: int) -> None:
    """Raise ``InvalidInputError`` naming a document of more than ``bytes_max``, as JSON.

    Lists show documents whole, so their sizes bound what a page costs. A configdrive is
    never shown; the request's limit is its own.
    """
    for name, value in values.items():
        if table[name].kind != "json":
            continue
        weighed = value
        if name == "instance_info" and value:
            weighed = {key: inner for key, inner in value.items() if key != "configdrive"}
        if len(msgspec.json.encode(weighed)) > bytes_max:
            raise InvalidInputError(
                f"{name} is too large: it may have {bytes_max} bytes as JSON "
                "([baremetal] document_bytes_max)"
            )


def required(document: Mapping[str, Json], *names: str) -> None:
    """Raise ``InvalidInputError`` naming what must be given and is not."""
    if missing := [name for name in names if not document.get(name)]:
        raise InvalidInputError(f"Missing mandatory attribute: {', '.join(missing)}")


def patched(resource: Resource, operations: list[patch.Operation], present: Values) -> Values:
    """The touched fields as the patch leaves them, checked; removed ones at their default."""
    wanted = patch.apply(operations, present)
    return checked(
        resource,
        {
            name: default_of(resource.fields[name]) if value is patch.REMOVED else value
            for name, value in wanted.items()
        },
    )


Broken = Mapping[str, tuple[type[HoldfastError], str]]
"""Constraint -> what to raise instead, and its message over the given fields."""


def named(fault: ConflictError, broken: Broken, given: Mapping[str, object]) -> HoldfastError:
    """A broken constraint in the client's words."""
    found = broken.get(str(fault.details.get("constraint")))
    if found is None:
        return fault
    kind, message = found
    return kind(message.format_map(given))
