"""HOT, the language of stacks: templates, environments and parameters, compiled into plans.

Owns: the text of templates and all it means: loading, versions and their functions, parameters
    and constraints, environments and the resource registry, conditions, the dependency graph,
    the schemas of properties.
Never imports: anything of the project but ``holdfast.errors``. No I/O, no clock, no database.
Invariants:
    - whatever the input, the answer is a plan or a :class:`HotError` that says where and why;
    - time and memory are bounded by the limits (``limits``), not by what the input expands to;
    - a plan is immutable, and the same input compiles to the same plan.
Proved by: ``tests/stacks/hot``.

The way through, for the engine and the API::

    environment = Environment.parse(request["environment"])   # or, with environment_files:
    environment = Environment.from_files(names, files, parameter_types(text_or_dict, files))
    plan = compile_template(
        text_or_dict, files=files, environment=environment,
        parameters=user_parameters, pseudo=Pseudo(stack_id=…, stack_name=…, project_id=…),
    )
    for name, resource in plan.resources.items():      # each after all it requires
        resource.target                                # "OS::Heat::Value" | NestedTemplate
        resource.requires                              # frozenset of names; plan.required_by()
        resource.references                            # frozenset[Ref(resource, path)]
        properties = validate_and_resolve(schemata, resource.properties, scope,
                                          path=("resources", name, "properties"))
        metadata = resource.metadata.resolve(scope)
    plan.outputs["url"].value.resolve(scope)           # .value is None: condition off

``scope`` is the engine's own :class:`Scope`: ``reference(name)`` and ``attribute(name, path)``.
``select(value, path)`` follows a path as ``get_attr`` does. ``NOTHING_YET`` is a scope of which
every answer is UNRESOLVED, for validation ahead of creation. Parameters (pseudo ones too), files,
conditions, ``if`` and the facade are folded in when a template is compiled: a value only ever
waits for resources.

Nested templates: ``compile_template(target.text, files=…, parameters=properties,
environment=plan.environment.child(resource.type, resource.name), facade=Facade(metadata,
deletion_policy, update_policy))``; properties that are UNRESOLVED may go in. The schema of such a
resource's properties is ``properties_of_template(text)``, its attributes are
``attributes_of_template(text)``.

For the API: ``describe_template`` (``template-validate``), ``template_versions`` and
``functions_of``, ``refuse_immutable`` (updates), ``schema_document``
(``resource-type-show``), ``provider_template`` (``resource-type-template``), ``changes``
(what of the properties an update changes, and whether in place).
"""

from holdfast.stacks.hot.compile import compile_template, parameter_types
from holdfast.stacks.hot.constraints import (
    AllowedPattern,
    AllowedValues,
    Checkers,
    CustomConstraint,
    Length,
    Modulo,
    Range,
)
from holdfast.stacks.hot.describe import (
    AttributeSchema,
    describe_template,
    provider_template,
    schema_document,
)
from holdfast.stacks.hot.environment import Environment
from holdfast.stacks.hot.errors import HotError
from holdfast.stacks.hot.limits import Limits
from holdfast.stacks.hot.parameters import ParameterSchema, as_text, refuse_immutable
from holdfast.stacks.hot.plan import (
    CompiledOutput,
    CompiledResource,
    CompiledTemplate,
    Facade,
    NestedTemplate,
    Pseudo,
)
from holdfast.stacks.hot.properties import (
    Changes,
    PropertySchema,
    attributes_of_template,
    changes,
    properties_of_template,
    validate_and_resolve,
)
from holdfast.stacks.hot.scope import NOTHING_YET, UNRESOLVED, Ref, Scope, is_unresolved, select
from holdfast.stacks.hot.values import Value
from holdfast.stacks.hot.versions import VERSIONS, functions_of, template_versions

__all__ = [
    "NOTHING_YET",
    "UNRESOLVED",
    "VERSIONS",
    "AllowedPattern",
    "AllowedValues",
    "AttributeSchema",
    "Changes",
    "Checkers",
    "CompiledOutput",
    "CompiledResource",
    "CompiledTemplate",
    "CustomConstraint",
    "Environment",
    "Facade",
    "HotError",
    "Length",
    "Limits",
    "Modulo",
    "NestedTemplate",
    "ParameterSchema",
    "PropertySchema",
    "Pseudo",
    "Range",
    "Ref",
    "Scope",
    "Value",
    "as_text",
    "attributes_of_template",
    "changes",
    "compile_template",
    "describe_template",
    "functions_of",
    "is_unresolved",
    "parameter_types",
    "properties_of_template",
    "provider_template",
    "refuse_immutable",
    "schema_document",
    "select",
    "template_versions",
    "validate_and_resolve",
]
