"""What templates may be made of: resource types, template versions, functions."""

from __future__ import annotations

import re

from holdfast.errors import InvalidInputError
from holdfast.stacks.errors import EntityNotFoundError
from holdfast.stacks.hot.describe import AttributeSchema, provider_template, schema_document
from holdfast.stacks.hot.versions import functions_of, template_versions
from holdfast.stacks.resource import Attribute, Registry, ResourceType
from holdfast.store.model import Json

STATUSES = ("SUPPORTED", "DEPRECATED", "UNSUPPORTED", "HIDDEN", "UNKNOWN")


class Catalogue:
    """``registry``: the types that there are."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def types(
        self, pattern: str | None = None, support_status: str | None = None
    ) -> list[ResourceType]:
        """The types whose name matches a regular expression, by name. All are SUPPORTED."""
        if support_status is not None and support_status not in STATUSES:
            raise InvalidInputError(
                f"there is no support status {support_status!r}: use one of {', '.join(STATUSES)}"
            )
        if support_status not in (None, "SUPPORTED"):
            return []
        if pattern is not None and len(pattern) > 255:
            raise InvalidInputError("name must have at most 255 characters")
        literal = None if pattern is None else re.escape(pattern).replace(r"\.\*", ".*")
        return [
            kind
            for name, kind in sorted(self._registry.items())
            if literal is None or re.match(literal, name)
        ]

    def type(self, name: str) -> ResourceType:
        """One type. Raises ``EntityNotFoundError``."""
        found = self._registry.get(name)
        if found is None:
            raise EntityNotFoundError(f"The Resource Type ({name}) could not be found.")
        return found

    def schema(self, name: str, *, with_description: bool = False) -> dict[str, Json]:
        """Its properties and attributes."""
        kind = self.type(name)
        return schema_document(
            kind.name,
            kind.properties,
            _attributes(kind),
            description=kind.description if with_description else None,
        )

    def template(self, name: str, template_type: str) -> dict[str, Json]:
        """A template that wraps one resource of the type; only as ``hot``."""
        if template_type not in ("hot", "cfn"):
            raise InvalidInputError(f"Template type is not supported: {template_type}: use hot")
        if template_type == "cfn":
            raise InvalidInputError(
                "templates of CloudFormation's format are not made here: ask for template_type=hot"
            )
        kind = self.type(name)
        return provider_template(kind.name, kind.properties, _attributes(kind))

    def versions(self) -> list[dict[str, Json]]:
        """The versions a template may name."""
        return template_versions()

    def functions(self, version: str, *, with_conditions: bool) -> list[dict[str, str]]:
        """The functions of a version. Raises ``EntityNotFoundError``."""
        found = functions_of(version, with_conditions=with_conditions)
        if found is None:
            raise EntityNotFoundError(f"The Template Version ({version}) could not be found.")
        return found


def _attributes(kind: ResourceType) -> dict[str, AttributeSchema]:
    return {name: _attribute(one) for name, one in kind.attributes.items()}


def _attribute(one: Attribute) -> AttributeSchema:
    return AttributeSchema(description=one.description, type=one.type)
