"""The structure of a template: its sections, and what may stand in them. Strict."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from holdfast.stacks.hot.errors import HotError, LimitError, Path, SectionError
from holdfast.stacks.hot.limits import Limits
from holdfast.stacks.hot.parameters import PSEUDO_PARAMETERS, ParameterSchema, read_schema
from holdfast.stacks.hot.shapes import is_list, is_map, kind_of
from holdfast.stacks.hot.versions import VERSION_KEY, Version, version_of

SECTIONS = (
    VERSION_KEY,
    "description",
    "parameter_groups",
    "parameters",
    "resources",
    "outputs",
)
RESOURCE_KEYS = (
    "type",
    "properties",
    "metadata",
    "depends_on",
    "deletion_policy",
    "update_policy",
    "description",
)
OUTPUT_KEYS = ("description", "value")
NAME_CHARS_MAX = 255


@dataclass(frozen=True, slots=True)
class Template:
    """A template whose structure is sound. Resources, outputs and conditions are as written."""

    version: Version
    description: str
    schemata: Mapping[str, ParameterSchema]
    parameter_groups: tuple[Mapping[str, Any], ...]
    resources: Mapping[str, Mapping[str, Any]] = field(repr=False)
    outputs: Mapping[str, Mapping[str, Any]] = field(repr=False)
    conditions: Mapping[str, Any] = field(repr=False)


def read_template(document: Mapping[str, Any], limits: Limits) -> Template:
    """A template from its parsed document.

    Raises: HotError with the path: VersionError, SectionError, ParameterSchemaError, LimitError.
    """
    version = version_of(document)
    allowed = (*SECTIONS, "conditions") if version.has_conditions else SECTIONS
    for section in document:
        if section not in allowed:
            raise SectionError(
                f"The template section is invalid: {section} (version {version.date} has: "
                f"{', '.join(allowed)})",
                (section,),
            )
    schemata = read_schemata(version, section_of(document, "parameters"))
    resources = section_of(document, "resources")
    if 0 <= limits.resources_max < len(resources):
        raise LimitError(
            f"Maximum resources per stack exceeded: the template has {len(resources)}, the limit "
            f"is {limits.resources_max}."
        )
    for name, definition in resources.items():
        check_resource(version, name, definition)
    outputs = section_of(document, "outputs")
    for name, definition in outputs.items():
        check_output(version, name, definition)
    return Template(
        version=version,
        description=text_of(document.get("description"), ("description",)) or "",
        schemata=schemata,
        parameter_groups=read_groups(document.get("parameter_groups"), schemata),
        resources=resources,
        outputs=outputs,
        conditions=section_of(document, "conditions"),
    )


def section_of(document: Mapping[str, Any], section: str) -> dict[str, Any]:
    """A section that is a map; an empty one may be null."""
    content = document.get(section)
    if content is None:
        return {}
    if not is_map(content):
        raise HotError(f'"{section}" must be a map, not a {kind_of(content)}', (section,))
    return content


def text_of(value: Any, path: Path) -> str | None:
    """A text, or null."""
    if value is None or isinstance(value, str):
        return value
    if is_map(value) or is_list(value):
        raise HotError(f"must be a string, not a {kind_of(value)}", path)
    return str(value)


def read_schemata(version: Version, section: Mapping[str, Any]) -> dict[str, ParameterSchema]:
    """The ``parameters`` section."""
    schemata: dict[str, ParameterSchema] = {}
    for name, definition in section.items():
        try:
            schemata[name] = read_schema(
                name, definition, with_modulo=version.has_modulo, with_tags=version.has_tags
            )
        except HotError as fault:
            raise fault.under("parameters", name) from None
    return schemata


def check_keys(
    definition: Mapping[str, Any], allowed: Collection[str], what: str, path: Path
) -> None:
    """Refuse the first key that may not stand here."""
    for key in definition:
        if key not in allowed:
            raise HotError(
                f'"{key}" is not a valid keyword inside {what} definition (there are: '
                f"{', '.join(allowed)})",
                path,
            )


def check_resource(version: Version, name: str, definition: Any) -> None:
    """One entry of ``resources``."""
    path: Path = ("resources", name)
    if not name or len(name) > NAME_CHARS_MAX or "/" in name:
        raise HotError(
            f'"{name[:80]}" cannot be the name of a resource: a name has 1 to {NAME_CHARS_MAX} '
            'characters, and none of them is "/"',
            ("resources",),
        )
    if not is_map(definition):
        raise HotError(
            f"Resources must contain Resource. Found a [{kind_of(definition)}] instead", path
        )
    keys = (*RESOURCE_KEYS, "external_id", "condition") if version.has_conditions else RESOURCE_KEYS
    check_keys(definition, keys, "a resource", path)
    kind = definition.get("type")
    if kind is None or kind == "":
        raise HotError("Each resource must contain a type key.", path)
    if not isinstance(kind, str):
        raise HotError(f'Resource "{name}" type is not a string', (*path, "type"))
    text_of(definition.get("description"), (*path, "description"))


def check_output(version: Version, name: str, definition: Any) -> None:
    """One entry of ``outputs``."""
    path: Path = ("outputs", name)
    if not is_map(definition):
        raise HotError(
            f"Output definitions must be a map. Found a {kind_of(definition)} instead", path
        )
    keys = (*OUTPUT_KEYS, "condition") if version.has_conditions else OUTPUT_KEYS
    check_keys(definition, keys, "an output", path)
    if "value" not in definition:
        raise HotError("Each output definition must contain a value key.", path)
    text_of(definition.get("description"), (*path, "description"))


def read_groups(
    section: Any, schemata: Mapping[str, ParameterSchema]
) -> tuple[Mapping[str, Any], ...]:
    """``parameter_groups``: each names parameters that are there, none of them twice."""
    if not section:
        return ()
    top: Path = ("parameter_groups",)
    if not is_list(section):
        raise group_fault("The parameter_groups should be a list.", top)
    seen: set[str] = set()
    for index, group in enumerate(section):
        path: Path = (*top, index)
        if not is_map(group):
            raise group_fault("Each parameter group should be a map.", path)
        names = group.get("parameters")
        if names is None:
            raise group_fault("The parameters must be provided for each parameter group.", path)
        if not is_list(names):
            raise group_fault("The parameters of parameter group should be a list.", path)
        for name in names:
            if name in seen:
                raise group_fault(
                    f"The {name} parameter must be assigned to one parameter group only.", path
                )
            if not isinstance(name, str) or name not in (*schemata, *PSEUDO_PARAMETERS):
                raise group_fault(
                    f"The grouped parameter {name} does not reference a valid parameter.", path
                )
            seen.add(name)
    return tuple(section)


def group_fault(reason: str, path: Path) -> HotError:
    """A fault of the groups, as Heat labels it."""
    return HotError(reason, path, label="Parameter Groups error")
