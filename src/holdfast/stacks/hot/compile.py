"""Compiling: from a template, its files, environment and parameters to a plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from holdfast.stacks.hot.conditions import Conditions
from holdfast.stacks.hot.constraints import NO_CHECKERS, Checkers
from holdfast.stacks.hot.documents import as_document, locate
from holdfast.stacks.hot.environment import Environment
from holdfast.stacks.hot.errors import HotError, Path, ReferenceToNothingError
from holdfast.stacks.hot.graph import in_order
from holdfast.stacks.hot.limits import DEFAULT_LIMITS, Limits
from holdfast.stacks.hot.parameters import check_custom, resolve_parameters
from holdfast.stacks.hot.parsing import Facts, Parser, known_now
from holdfast.stacks.hot.plan import (
    CompiledOutput,
    CompiledResource,
    CompiledTemplate,
    DeletionPolicy,
    Facade,
    NestedTemplate,
    Pseudo,
)
from holdfast.stacks.hot.registry import Target
from holdfast.stacks.hot.scope import Unresolved
from holdfast.stacks.hot.shapes import is_list, is_map
from holdfast.stacks.hot.template import Template, read_template, text_of
from holdfast.stacks.hot.values import OMITTED, Literal, Value, refs_of

NO_FILES: Mapping[str, str] = {}
EMPTY_ENVIRONMENT = Environment()
EMPTY = Literal({})


def compile_template(
    template: str | Mapping[str, Any],
    *,
    files: Mapping[str, str] = NO_FILES,
    environment: Environment = EMPTY_ENVIRONMENT,
    parameters: Mapping[str, Any] | None = None,
    pseudo: Pseudo = Pseudo(),  # noqa: B008 (frozen)
    facade: Facade | None = None,
    checkers: Checkers = NO_CHECKERS,
    limits: Limits = DEFAULT_LIMITS,
    strict: bool = True,
) -> CompiledTemplate:
    """The plan of a template: its text, or what a request's JSON held.

    ``parameters`` win over the environment's. ``facade`` is given for nested templates only.
    ``checkers`` are the custom constraints there are. Without ``strict`` parameters may be
    missing (validation of a template alone): what depends on them is UNRESOLVED, and conditions
    on them hold.

    Raises: HotError, of the kind that clients know, with the path, and with line and column when
    ``template`` is a text.
    """
    try:
        document = as_document(template, "template", limits)
        read = read_template(document, limits)
        given = environment.with_parameters(parameters or {})
        check_custom(read.schemata, checkers)
        values = resolve_parameters(
            read.schemata, given.parameters, given.parameter_defaults, checkers, strict=strict
        )
        compiler = _Compiler(read, files, given, {**pseudo.values(), **values}, facade)
        return compiler.plan()
    except HotError as fault:
        if isinstance(template, str) and fault.position is None and fault.path:
            fault.place(fault.path, locate(template, fault.path))
        raise


@dataclass(slots=True)
class _Compiler:
    """The work of one compilation."""

    template: Template
    files: Mapping[str, str]
    environment: Environment
    values: Mapping[str, Any]
    facade: Facade | None

    def plan(self) -> CompiledTemplate:
        template = self.template
        conditions = Conditions(template.conditions)
        parser = self.make_parser(conditions)
        truths = conditions.all()
        enabled = [
            name
            for name, definition in template.resources.items()
            if self.in_effect(parser, definition, ("resources", name))
        ]
        parser.facts.resources = frozenset(enabled)
        compiled = {name: self.resource(parser, name) for name in enabled}
        order = in_order({name: one.requires for name, one in compiled.items()})
        return CompiledTemplate(
            version=template.version.date,
            description=template.description,
            parameters=self.values,
            schemata=template.schemata,
            parameter_groups=template.parameter_groups,
            conditions=truths,
            resources={name: compiled[name] for name in order},
            disabled=frozenset(template.resources) - frozenset(enabled),
            outputs={name: self.output(parser, name) for name in template.outputs},
            environment=self.environment,
            files=self.files,
        )

    def make_parser(self, conditions: Conditions) -> Parser:
        """The parser of values, and within it the one of conditions."""
        version, facade = self.template.version, self.facade
        facts = Facts(
            parameters=self.values,
            files=self.files,
            resources=(),
            facade=None
            if facade is None
            else {
                "metadata": facade.metadata,
                "deletion_policy": facade.deletion_policy,
                "update_policy": facade.update_policy,
            },
            holds=conditions.holds,
        )
        refused = frozenset(version.functions) - frozenset(version.condition_functions)
        inner = Parser(version.condition_functions, refused, version.elsewhere, facts)
        conditions.parser = inner
        return Parser(version.functions, (), version.elsewhere, facts, inner)

    def in_effect(self, parser: Parser, definition: Mapping[str, Any], path: Path) -> bool:
        """Whether the condition of a resource or output holds; without one it does."""
        condition = definition.get("condition")
        return condition is None or parser.holds(condition, (*path, "condition"))

    def resource(self, parser: Parser, name: str) -> CompiledResource:
        """One resource in effect."""
        definition, path = self.template.resources[name], ("resources", name)
        properties = self.map_field(parser, definition, "properties", path)
        metadata = self.map_field(parser, definition, "metadata", path)
        update_policy = self.map_field(parser, definition, "update_policy", path)
        references = refs_of([properties, metadata, update_policy])
        depends_on = self.depends_on(definition.get("depends_on"), path)
        external_id = self.external_id(parser, definition, depends_on, path)
        target = self.environment.target(definition["type"], name)
        explicit = [one for one in depends_on if one in parser.facts.resources]
        requires = frozenset((*explicit, *(ref.resource for ref in references)))
        return CompiledResource(
            name=name,
            type=definition["type"],
            target=self.target(target, path),
            properties=properties,
            metadata=metadata,
            update_policy=update_policy,
            deletion_policy=self.deletion_policy(parser, definition, external_id, path),
            external_id=external_id,
            description=text_of(definition.get("description"), path) or "",
            depends_on=tuple(depends_on),
            references=references,
            requires=frozenset() if external_id is not None else requires,
        )

    def target(self, target: Target, path: Path) -> str | NestedTemplate:
        """A resource type, or the template among the files that stands in for one."""
        if not target.is_template:
            return target.type
        text = self.files.get(target.type)
        if text is None:
            raise HotError(
                f'The template "{target.type}" is not in the files of the request; send it along '
                "(clients do that for local files and URLs alike)",
                (*path, "type"),
            )
        return NestedTemplate(target.type, text)

    def map_field(
        self, parser: Parser, definition: Mapping[str, Any], key: str, path: Path
    ) -> Value:
        """A field that is a map, or a function of which one comes."""
        if definition.get(key) is None:
            return EMPTY
        value = parser.parse(definition[key], (*path, key))
        if value is OMITTED:
            return EMPTY
        if isinstance(value, Literal):
            if value.value is None:
                return EMPTY
            if not is_map(value.value) and not isinstance(value.value, Unresolved):
                raise HotError(f"Resource {path[-1]} {key} type must be object", (*path, key))
        return value

    def depends_on(self, written: Any, path: Path) -> list[str]:
        """The names in ``depends_on``, all of them resources of the template."""
        if written is None:
            return []
        names: list[Any] = [written] if isinstance(written, str) else written
        here = (*path, "depends_on")
        if not is_list(names) or not all(isinstance(name, str) for name in names):
            raise HotError(f"Resource {path[-1]} depends_on must be a list of strings", here)
        for name in names:
            if name not in self.template.resources:
                raise ReferenceToNothingError(
                    f'The specified reference "{name}" (in {path[-1]}) is incorrect.', here
                )
        return list(dict.fromkeys(names))

    def external_id(
        self,
        parser: Parser,
        definition: Mapping[str, Any],
        depends_on: list[str],
        path: Path,
    ) -> str | None:
        """The id of a resource that exists already and is only watched; it waits for nothing."""
        here = (*path, "external_id")
        if definition.get("external_id") is None:
            return None
        value = known_now(parser.parse(definition["external_id"], here), "external_id", here)
        if value is None or isinstance(value, Unresolved):
            return None
        if not isinstance(value, str):
            raise HotError(f"Resource {path[-1]} external_id type must be string", here)
        if depends_on:
            raise HotError(
                f"Invalid dependency with external {definition['type']} resource: {value}",
                (*path, "depends_on"),
            )
        return value

    def deletion_policy(
        self,
        parser: Parser,
        definition: Mapping[str, Any],
        external_id: str | None,
        path: Path,
    ) -> DeletionPolicy:
        """What happens to the resource when it goes. What is external always stays."""
        here = (*path, "deletion_policy")
        written = parser.parse(definition.get("deletion_policy"), here)
        value = known_now(written, "deletion_policy", here)
        policies = self.template.version.deletion_policies
        if value is None or isinstance(value, Unresolved):
            policy: Any = "Delete"
        elif isinstance(value, str) and value in policies:
            policy = policies[value]
        else:
            raise HotError(
                f'Invalid deletion policy "{value}" (there are: {", ".join(policies)})', here
            )
        return "Retain" if external_id is not None else policy

    def output(self, parser: Parser, name: str) -> CompiledOutput:
        """One output; without effect when its condition does not hold."""
        definition, path = self.template.outputs[name], ("outputs", name)
        description = text_of(definition.get("description"), path)
        if not self.in_effect(parser, definition, path):
            return CompiledOutput(name, description, None)
        value = parser.parse(definition["value"], (*path, "value"))
        return CompiledOutput(name, description, value)


def parameter_types(
    template: str | Mapping[str, Any],
    files: Mapping[str, str] = NO_FILES,
    limits: Limits = DEFAULT_LIMITS,
) -> dict[str, str]:
    """The types of all parameters of a template and of the templates among its files, by name.

    For :meth:`Environment.from_files`. Files that are no templates have none.

    Raises: HotError over the template itself.
    """
    types: dict[str, str] = {}
    for name, text in files.items():
        try:
            nested = read_template(as_document(text, name, limits), limits)
        except HotError:
            continue
        types |= {key: schema.type for key, schema in nested.schemata.items()}
    own = read_template(as_document(template, "template", limits), limits)
    return types | {key: schema.type for key, schema in own.schemata.items()}
