from __future__ import annotations

import copy
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.stacks.hot.language import NEWEST, Made

from holdfast.stacks.hot import (
    NOTHING_YET,
    UNRESOLVED,
    VERSIONS,
    Environment,
    Facade,
    HotError,
    NestedTemplate,
    Pseudo,
    Ref,
    compile_template,
    parameter_types,
)
from holdfast.stacks.hot.documents import as_document

TEXT = """heat_template_version: wallaby
description: An app
parameters:
  n: {type: number, default: 3}
  secret: {type: string, hidden: true, default: s3cret}
conditions:
  three: {equals: [{get_param: n}, 3]}
  other: {not: three}
resources:
  late:
    type: OS::Heat::Value
    depends_on: [never, base]
    properties:
      value: {list_join: [",", [{get_attr: [base, value]}, {get_resource: mid}]]}
  mid:
    type: OS::Heat::Value
    properties: {value: {get_attr: [base, value]}}
    metadata: {of: {get_resource: base}}
  base:
    type: OS::Heat::Value
    properties: {value: {if: [three, yes, no]}, type: {if: [other, string]}}
    deletion_policy: retain
  never: {type: OS::Heat::None, condition: other}
outputs:
  joined: {description: all, value: {get_attr: [late, value]}}
  off: {value: 1, condition: other}
"""


def compiled(resources, version=NEWEST, **more):
    sections = {
        key: more.pop(key) for key in ("parameters", "conditions", "outputs") if key in more
    }
    document = {"heat_template_version": version, "resources": resources} | sections
    return compile_template(document, **more)


def wrong(resources, version=NEWEST, **more):
    with pytest.raises(HotError) as caught:
        compiled(resources, version, **more)
    return caught.value


def test_a_plan_has_resources_in_order_with_what_they_require():
    plan = compile_template(TEXT)
    assert list(plan.resources) == ["base", "mid", "late"]
    assert {name: set(one.requires) for name, one in plan.resources.items()} == {
        "base": set(), "mid": {"base"}, "late": {"base", "mid"},
    }  # fmt: skip
    assert plan.required_by() == {"base": ("mid", "late"), "mid": ("late",), "late": ()}
    assert plan.resources["late"].references == {Ref("base", ("value",)), Ref("mid")}
    assert plan.resources["late"].depends_on == ("never", "base")
    assert plan.disabled == {"never"}
    assert plan.conditions == {"three": True, "other": False}
    assert (plan.version, plan.description) == (NEWEST, "An app")


def test_a_plans_values_resolve_when_the_resources_are_there():
    plan = compile_template(TEXT)
    scope = Made({"base": {"value": "v"}})
    assert plan.resources["base"].properties.resolve(NOTHING_YET) == {"value": True}
    assert plan.resources["mid"].properties.resolve(scope) == {"value": "v"}
    assert plan.resources["mid"].metadata.resolve(scope) == {"of": "id-of-base"}
    assert plan.resources["late"].properties.resolve(scope) == {"value": "v,id-of-mid"}
    assert plan.resources["late"].properties.resolve(NOTHING_YET) == {"value": UNRESOLVED}
    assert plan.outputs["off"].value is None
    assert plan.outputs["joined"].description == "all"


def test_the_same_input_makes_the_same_plan():
    one, other = compile_template(TEXT), compile_template(TEXT)
    assert list(one.resources) == list(other.resources)
    assert one.parameters == other.parameters


def test_a_plan_does_not_show_secrets():
    assert "s3cret" not in repr(compile_template(TEXT))


def test_pseudo_parameters_are_the_stacks():
    plan = compiled(
        {"r": {"type": "T", "properties": {"p": {"get_param": "OS::stack_id"}}}},
        pseudo=Pseudo("id", "name", "project", "region"),
    )
    assert plan.resources["r"].properties.resolve(NOTHING_YET) == {"p": "id"}
    assert plan.parameters == {
        "OS::stack_id": "id",
        "OS::stack_name": "name",
        "OS::project_id": "project",
        "OS::region": "region",
    }


def test_parameters_come_from_the_request_then_the_environment():
    parameters = {name: {"type": "string", "default": "t"} for name in "abc"}
    environment = Environment.parse({"parameters": {"a": "e", "b": "e"}})
    plan = compiled({}, parameters=parameters, environment=environment)
    assert [plan.parameters[name] for name in "abc"] == ["e", "e", "t"]
    document = {"heat_template_version": NEWEST, "parameters": parameters}
    plan = compile_template(document, environment=environment, parameters={"a": "r"})
    assert [plan.parameters[name] for name in "abc"] == ["r", "e", "t"]
    assert plan.environment.parameters == {"a": "r", "b": "e"}


@pytest.mark.parametrize(
    ("replace", "by", "says", "place"),
    [
        (
            "get_resource: mid",
            "get_resource: nope",
            'reference "nope" (in resources.late.',
            (14, 61),
        ),
        ("depends_on: [never, base]", "depends_on: nope", 'reference "nope" (in late)', (12, 5)),
        ("OS::Heat::None", "a.yaml", 'template "a.yaml" is not in the files', None),
        ("default: 3", "default: x", "Invalid default", (4, 3)),
        ("retain", "forget", 'Invalid deletion policy "forget" (there are: Delete', (22, 5)),
        ("condition: other}\n", "condition: wat}\n", 'Invalid condition "wat"', (23, 33)),
        ("wallaby", "mitaka", "should be one of", (1, 1)),
        ("[three, yes, no]", "[three, yes, no, x]", "value_if_true", (21, 26)),
        ("properties: {value: {get_attr", "propertiez: {value: {get_attr", '"propertiez"', (15, 3)),
    ],
)
def test_a_fault_has_its_path_and_its_place_in_the_text(replace, by, says, place):
    assert replace in TEXT
    text = TEXT.replace(replace, by)
    if place is None:
        text = text.replace("{equals: [{get_param: n}, 3]}", "false")
    with pytest.raises(HotError) as caught:
        compile_template(text)
    assert says in caught.value.message
    if place is not None:
        assert caught.value.position == place


def test_a_fault_of_a_parsed_template_has_a_path_and_no_place():
    fault = wrong({"a": {"type": "T", "properties": {"x": [{"get_resource": "nope"}]}}})
    assert fault.path == ("resources", "a", "properties", "x", 0, "get_resource")
    assert fault.position is None
    assert fault.message.startswith("resources.a.properties.x[0].get_resource: ")


# ---- resources ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "definition",
    [
        {},
        {"properties": None},
        {"properties": {}},
        {"properties": {"if": [True, {}, {}]}},
        {"properties": {"if": [False, {}]}},
        {"properties": {"if": [False, {}, None]}},
        {"properties": {"map_merge": [{}]}},
        {"metadata": None, "update_policy": None, "depends_on": None, "deletion_policy": None},
    ],
)
def test_what_is_left_out_is_empty(definition):
    one = compiled({"r": {"type": "T"} | definition}).resources["r"]
    assert one.properties.resolve(NOTHING_YET) == {}
    assert one.metadata.resolve(NOTHING_YET) == {}
    assert (one.depends_on, one.deletion_policy, one.external_id) == ((), "Delete", None)


@pytest.mark.parametrize("key", ["properties", "metadata", "update_policy"])
@pytest.mark.parametrize("value", ["x", ["x"], 5, True, {"list_concat": [["a"]]}])
def test_fields_that_are_maps_are_maps(key, value):
    assert f"Resource r {key} type must be object" in str(wrong({"r": {"type": "T", key: value}}))


@pytest.mark.parametrize(
    ("written", "names"), [("a", ("a",)), (["a"], ("a",)), (["a", "b", "a"], ("a", "b")), ([], ())]
)
def test_depends_on_is_a_name_or_names(written, names):
    base = {"a": {"type": "T"}, "b": {"type": "T"}}
    one = compiled({"r": {"type": "T", "depends_on": written}} | base).resources["r"]
    assert one.depends_on == names
    assert one.requires == set(names)


@pytest.mark.parametrize("written", [5, {"a": 1}, ["a", 5], [["a"]], {"get_param": "x"}, True])
def test_depends_on_is_nothing_else(written):
    assert "must be a list of strings" in str(
        wrong({"r": {"type": "T", "depends_on": written}, "a": {"type": "T"}})
    )


@pytest.mark.parametrize(
    ("version", "policy", "effective"),
    [
        *((v, p, p) for v in ("2013-05-23", NEWEST) for p in ("Delete", "Retain", "Snapshot")),
        *(
            (v, p.lower(), p)
            for v in ("2016-10-14", NEWEST)
            for p in ("Delete", "Retain", "Snapshot")
        ),
        (NEWEST, {"get_param": "policy"}, "Retain"),
        (NEWEST, {"if": [True, "Snapshot", "Delete"]}, "Snapshot"),
        (NEWEST, {"if": [False, "Snapshot"]}, "Delete"),
        ("2013-05-23", {"get_param": "policy"}, "Retain"),
    ],
)
def test_deletion_policies(version, policy, effective):
    parameters = {"policy": {"type": "string", "default": "Retain"}}
    plan = compiled({"r": {"type": "T", "deletion_policy": policy}}, version, parameters=parameters)
    assert plan.resources["r"].deletion_policy == effective


@pytest.mark.parametrize(
    ("version", "policy"),
    [("2016-04-08", "retain"), (NEWEST, "RETAIN"), (NEWEST, ""), (NEWEST, 5), (NEWEST, ["Retain"])],
)
def test_other_deletion_policies_are_refused(version, policy):
    assert "Invalid deletion policy" in str(
        wrong({"r": {"type": "T", "deletion_policy": policy}}, version)
    )


def test_a_deletion_policy_cannot_wait_for_a_resource():
    definition = {"type": "T", "deletion_policy": {"get_attr": ["a", "x"]}}
    assert "cannot depend on a resource, this one depends on a" in str(
        wrong({"r": definition, "a": {"type": "T"}})
    )


def test_a_nested_template_can_take_its_facades_policy():
    plan = compiled(
        {"r": {"type": "T", "deletion_policy": {"resource_facade": "deletion_policy"}}},
        facade=Facade(deletion_policy="Retain"),
    )
    assert plan.resources["r"].deletion_policy == "Retain"


def test_an_external_resource_waits_for_nothing_and_stays():
    parameters = {"id": {"type": "string", "default": "abc"}}
    properties = {"p": {"get_resource": "a"}}
    one = {"type": "T", "external_id": {"get_param": "id"}, "properties": properties}
    external = compiled({"r": one, "a": {"type": "T"}}, parameters=parameters).resources["r"]
    assert (external.external_id, external.deletion_policy) == ("abc", "Retain")
    assert external.requires == frozenset()


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"external_id": 5}, "external_id type must be string"),
        ({"external_id": ["x"]}, "external_id type must be string"),
        ({"external_id": "x", "depends_on": "a"}, "Invalid dependency with external T resource: x"),
        ({"external_id": {"get_resource": "a"}}, "cannot depend on a resource"),
    ],
)
def test_external_ids_are_known_now(more, says):
    assert says in str(wrong({"r": {"type": "T"} | more, "a": {"type": "T"}}))


@pytest.mark.parametrize(
    ("condition", "there"),
    [
        ("yes", True),
        ("no", False),
        (True, True),
        (False, False),
        ({"not": "yes"}, False),
        (None, True),
    ],
)
def test_a_resource_is_there_if_its_condition_holds(condition, there):
    plan = compiled(
        {"r": {"type": "T", "condition": condition}}, conditions={"yes": True, "no": False}
    )
    assert ("r" in plan.resources) is there
    assert plan.disabled == (frozenset() if there else {"r"})


@pytest.mark.parametrize("condition", ["nope", 5, ["yes"], {"get_attr": ["r", "x"]}])
def test_a_condition_that_is_none_is_refused(condition):
    assert wrong({"r": {"type": "T", "condition": condition}}, conditions={"yes": True})


def test_what_is_not_there_cannot_be_referred_to_but_depended_on():
    off = {"type": "T", "condition": False}
    plan = compiled({"r": {"type": "T", "depends_on": "off"}, "off": off})
    assert plan.resources["r"].requires == frozenset()
    fault = wrong({"r": {"type": "T", "properties": {"p": {"get_resource": "off"}}}, "off": off})
    assert fault.kind == "InvalidTemplateReference"


@pytest.mark.parametrize("circle", [["a"], ["a", "b"], ["a", "b", "c"]])
@pytest.mark.parametrize("by", ["depends_on", "get_resource", "get_attr", "metadata"])
def test_circles_are_refused_and_named(circle, by):
    def needing(name):
        return {
            "depends_on": {"depends_on": name},
            "get_resource": {"properties": {"p": {"get_resource": name}}},
            "get_attr": {"properties": {"p": [{"get_attr": [name, "x"]}]}},
            "metadata": {"metadata": {"p": {"get_resource": name}}},
        }[by]

    following = [*circle[1:], circle[0]]
    resources = {
        name: {"type": "T"} | needing(after) for name, after in zip(circle, following, strict=True)
    }
    fault = wrong(resources)
    assert fault.kind == "CircularDependencyException"
    assert f"Circular Dependency Found: {' -> '.join([*circle, circle[0]])}" in fault.message


# ---- types --------------------------------------------------------------------------------------


def test_a_type_may_be_a_template_among_the_files():
    environment = Environment.parse({"resource_registry": {"My::T": "file:///a.yaml"}})
    files = {"file:///a.yaml": "text", "b.yaml": "other"}
    plan = compiled(
        {"a": {"type": "My::T"}, "b": {"type": "b.yaml"}, "c": {"type": "OS::C"}},
        environment=environment,
        files=files,
    )
    assert plan.resources["a"].target == NestedTemplate("file:///a.yaml", "text")
    assert plan.resources["b"].target == NestedTemplate("b.yaml", "other")
    assert plan.resources["c"].target == "OS::C"


def test_a_template_that_was_not_sent_is_named():
    fault = wrong({"a": {"type": "http://x/a.yaml"}}, files={"b.yaml": ""})
    assert 'The template "http://x/a.yaml" is not in the files of the request' in fault.message
    assert fault.path == ("resources", "a", "type")


def test_nested_templates_may_be_compiled_ahead_of_what_they_are_given():
    nested = (
        "heat_template_version: wallaby\nparameters: {p: {type: number}}\n"
        "outputs: {o: {value: {get_param: p}}}"
    )
    plan = compile_template(nested, parameters={"p": UNRESOLVED})
    value = plan.outputs["o"].value
    assert value is not None
    assert value.resolve(NOTHING_YET) is UNRESOLVED


def test_the_types_of_parameters_are_gathered_from_all_templates():
    nested = "heat_template_version: wallaby\nparameters: {a: {type: json}, b: {type: number}}"
    own = "heat_template_version: wallaby\nparameters: {a: {type: string}}"
    assert parameter_types(own, {"n.yaml": nested, "script": "#!/bin/sh: [", "env": "a: 1"}) == {
        "a": "string",
        "b": "number",
    }


def test_attributes_are_checked_against_what_types_have():
    plan = compiled(
        {"a": {"type": "T"}, "b": {"type": "T", "properties": {"p": {"get_attr": ["a", "nope"]}}}}
    )
    plan.check_attributes(lambda _resource: None)
    plan.check_attributes(lambda _resource: ["nope"])
    with pytest.raises(
        HotError, match=r"The Referenced Attribute \(a nope\) is incorrect\."
    ) as caught:
        plan.check_attributes(lambda _resource: ["value"])
    assert caught.value.kind == "InvalidTemplateAttribute"


def test_without_values_a_template_is_validated_all_the_same():
    document = {
        "heat_template_version": NEWEST,
        "parameters": {"p": {"type": "string"}, "l": {"type": "json"}},
        "resources": {
            "r": {
                "type": "T",
                "condition": {"equals": [{"get_param": "p"}, "x"]},
                "deletion_policy": {"get_param": "p"},
                "external_id": {"get_param": "p"},
                "properties": {
                    "a": {"list_join": [",", [{"get_param": "p"}]]},
                    "b": {"get_param": ["l", "k"]},
                    "c": {"repeat": {"template": "x", "for_each": {"x": {"get_param": "l"}}}},
                    "d": {"get_file": {"get_param": "p"}},
                    "e": {"if": [{"get_param": "p"}, 1, 2]},
                },
            }
        },
    }
    with pytest.raises(HotError, match="was not provided"):
        compile_template(document)
    plan = compile_template(document, strict=False)
    properties = plan.resources["r"].properties.resolve(NOTHING_YET)
    assert properties == dict.fromkeys("abcd", UNRESOLVED) | {"e": 1}


# ---- size ---------------------------------------------------------------------------------------


def test_ten_thousand_resources_compile_in_bounded_time():
    resources = {
        f"r{n}": {
            "type": "OS::Heat::TestResource",
            "properties": {
                "value": {"get_attr": [f"r{n - 1}", "value"]} if n else "x",
                "list": [1, 2],
            },
        }
        for n in range(10_000)
    }
    before = time.process_time()
    plan = compiled(resources)
    assert time.process_time() - before < 3
    assert len(plan.resources) == 10_000


def test_half_a_megabyte_of_text_compiles_in_bounded_time():
    text = "heat_template_version: wallaby\nresources:\n" + "".join(
        f"  r{n}: {{type: OS::Heat::None, depends_on: r{n - 1}}}\n"
        if n
        else "  r0: {type: OS::Heat::None}\n"
        for n in range(10_000)
    )
    before = time.process_time()
    assert len(compile_template(text).resources) == 10_000
    assert time.process_time() - before < 3


# ---- whatever comes in --------------------------------------------------------------------------

GARBAGE = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 99999)
    | st.sampled_from(["", "base", "mid", "three", "n", "OS::Heat::None", "x.yaml", "Fn::Join"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [*VERSIONS[NEWEST].functions, "equals", "not", "and", "type", "value", "k"]
            ),
            inner,
            max_size=2,
        )
    ),
    max_leaves=6,
)


def places(document, path=()):
    yield path
    if isinstance(document, dict):
        for key, item in document.items():
            yield from places(item, (*path, key))
    elif isinstance(document, list):
        for index, item in enumerate(document):
            yield from places(item, (*path, index))


WHOLE = as_document(TEXT, "template")


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(list(places(WHOLE))[1:]), GARBAGE)
def test_whatever_stands_wherever_the_answer_is_a_plan_or_a_sentence(path, garbage):
    document = copy.deepcopy(WHOLE)
    holder = document
    for part in path[:-1]:
        holder = holder[part]
    holder[path[-1]] = garbage
    try:
        plan = compile_template(document, strict=False)
        for resource in plan.resources.values():
            resource.properties.resolve(NOTHING_YET)
            resource.properties.resolve(Made({name: {"value": "v"} for name in plan.resources}))
    except HotError as fault:
        refused = str(fault)
        assert refused
