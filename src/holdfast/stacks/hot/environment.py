"""Environments: parameters, defaults and the resource registry, from one document or several."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from holdfast.stacks.hot.documents import as_document, locate
from holdfast.stacks.hot.errors import EnvironmentFaultError, HotError
from holdfast.stacks.hot.limits import DEFAULT_LIMITS, Limits
from holdfast.stacks.hot.merging import Strategies, merge_value, read_strategies
from holdfast.stacks.hot.registry import Registry, Target, read_registry
from holdfast.stacks.hot.shapes import is_list, is_map

SECTIONS = (
    "parameters",
    "parameter_defaults",
    "resource_registry",
    "encrypted_param_names",
    "event_sinks",
    "parameter_merge_strategies",
)


@dataclass(frozen=True, slots=True)
class Environment:
    """All that an environment says. Immutable; the defaults are those of an empty one."""

    parameters: Mapping[str, Any] = field(default_factory=dict[str, Any], repr=False)
    parameter_defaults: Mapping[str, Any] = field(default_factory=dict[str, Any], repr=False)
    registry: Registry = field(default_factory=Registry)
    encrypted_param_names: tuple[str, ...] = ()

    @classmethod
    def parse(
        cls,
        source: str | Mapping[str, Any] | None,
        limits: Limits = DEFAULT_LIMITS,
        *,
        what: str = "environment",
    ) -> Environment:
        """An environment from its text, or from a request's JSON.

        Raises: EnvironmentFaultError, DocumentError, LimitError; with line and column of a text.
        """
        document = as_document(source, what, limits)
        try:
            return _read(document)
        except HotError as fault:
            if isinstance(source, str) and fault.position is None:
                fault.place(fault.path, locate(source, fault.path))
            raise

    @classmethod
    def from_files(
        cls,
        names: Sequence[str],
        files: Mapping[str, str],
        types: Mapping[str, str],
        limits: Limits = DEFAULT_LIMITS,
    ) -> Environment:
        """One environment from several of ``files``, later over earlier.

        ``types`` gives parameter types by name (``parameter_types``), which merge strategies
        other than ``overwrite`` need.

        Raises: as :meth:`parse`; EnvironmentFaultError for a name that is not in ``files``.
        """
        merged = cls()
        strategies = Strategies()
        for name in names:
            if name not in files:
                raise EnvironmentFaultError(
                    f'The environment file "{name}" is not in the files of the request.'
                )
            document = as_document(files[name], f"environment {name}", limits)
            newer = cls.parse(files[name], limits, what=f"environment {name}")
            strategies.read(read_strategies(document.get("parameter_merge_strategies"), name), name)
            merged = merged._with_file(newer, strategies, types, name)
        return merged

    def _with_file(
        self,
        newer: Environment,
        strategies: Strategies,
        types: Mapping[str, str],
        name: str,
    ) -> Environment:
        """This environment with the one of a file over it, parameters by their strategies."""
        sections: list[dict[str, Any]] = []
        for old, new in (
            (self.parameters, newer.parameters),
            (self.parameter_defaults, newer.parameter_defaults),
        ):
            section = dict(old)
            for key, value in new.items():
                how = strategies.of(key, name)
                if value is not None or key not in section:
                    section[key] = merge_value(key, section.get(key), value, types.get(key), how)
            sections.append(section)
        return dataclasses.replace(
            self.updated_by(newer), parameters=sections[0], parameter_defaults=sections[1]
        )

    def updated_by(self, newer: Environment, cleared: Collection[str] = ()) -> Environment:
        """This environment with ``newer`` over it (an update of an existing stack).

        ``cleared`` names parameters that go back to their defaults.
        """
        kept = {key: value for key, value in self.parameters.items() if key not in cleared}
        return Environment(
            parameters=kept | dict(newer.parameters),
            parameter_defaults=dict(self.parameter_defaults) | dict(newer.parameter_defaults),
            registry=self.registry.merged(newer.registry),
            encrypted_param_names=tuple(
                dict.fromkeys((*self.encrypted_param_names, *newer.encrypted_param_names))
            ),
        )

    def with_parameters(self, parameters: Mapping[str, Any]) -> Environment:
        """This environment with parameters given beside it, which win."""
        return dataclasses.replace(self, parameters=dict(self.parameters) | dict(parameters))

    def with_only(self, names: Iterable[str]) -> Environment:
        """Without the parameters that a template does not define: for an update's old ones."""
        known = set(names)
        return dataclasses.replace(
            self, parameters={key: one for key, one in self.parameters.items() if key in known}
        )

    def target(self, type_name: str, resource_name: str) -> Target:
        """What a resource's type stands for here."""
        return self.registry.target(type_name, resource_name)

    def hooks(self, resource_name: str) -> frozenset[str]:
        """The hooks (``pre-create`` …) at which a resource shall wait."""
        return self.registry.marks("hooks", resource_name)

    def restricted_actions(self, resource_name: str) -> frozenset[str]:
        """``update`` and ``replace``, when they are not allowed for a resource."""
        return self.registry.marks("restricted_actions", resource_name)

    def child(
        self, type_name: str, resource_name: str, parameters: Mapping[str, Any] | None = None
    ) -> Environment:
        """The environment of the nested template that implements a resource."""
        entry = self.target(type_name, resource_name).entry
        return Environment(
            parameters=dict(parameters or {}),
            parameter_defaults=self.parameter_defaults,
            registry=self.registry.child(resource_name, entry),
        )

    def document(self) -> dict[str, Any]:
        """As the Orchestration API shows it (``environment show``); parses back to an equal one."""
        return {
            "parameters": dict(self.parameters),
            "parameter_defaults": dict(self.parameter_defaults),
            "resource_registry": self.registry.document(),
            "encrypted_param_names": list(self.encrypted_param_names),
            "event_sinks": [],
        }


def _read(document: Mapping[str, Any]) -> Environment:
    """An environment from its parsed document."""
    for section, content in document.items():
        if section not in SECTIONS:
            raise EnvironmentFaultError(
                f'environment has wrong section "{section}" (there are: {", ".join(SECTIONS)})',
                (section,),
            )
        if content is None:
            raise EnvironmentFaultError(f'environment has empty section "{section}"', (section,))
    read_strategies(document.get("parameter_merge_strategies"), "environment")
    if document.get("event_sinks"):
        raise EnvironmentFaultError(
            "event_sinks are not supported: events are read from the API", ("event_sinks",)
        )
    names = document.get("encrypted_param_names", [])
    if not is_list(names):
        raise EnvironmentFaultError("must be a list of names", ("encrypted_param_names",))
    return Environment(
        parameters=_map_section(document, "parameters"),
        parameter_defaults=_map_section(document, "parameter_defaults"),
        registry=read_registry(document.get("resource_registry", {})),
        encrypted_param_names=tuple(str(name) for name in names),
    )


def _map_section(document: Mapping[str, Any], section: str) -> dict[str, Any]:
    content = document.get(section, {})
    if not is_map(content):
        raise EnvironmentFaultError(f"{section} must be a map", (section,))
    return dict(content)
