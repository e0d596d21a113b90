from __future__ import annotations

import pytest

from holdfast.stacks.hot import Environment, HotError

TEXT = """
parameters:
  a: 1
  day: 2013-05-23
parameter_defaults: {b: 2}
resource_registry:
  OS::A: a.yaml
  resources:
    web: {hooks: pre-create, restricted_actions: [update]}
encrypted_param_names: [a]
event_sinks: []
"""


def test_an_environment_is_read_and_shown():
    environment = Environment.parse(TEXT)
    assert environment.parameters == {"a": 1, "day": "2013-05-23"}
    assert environment.parameter_defaults == {"b": 2}
    assert environment.target("OS::A", "web").type == "a.yaml"
    assert environment.hooks("web") == {"pre-create"}
    assert environment.restricted_actions("web") == {"update"}
    assert Environment.parse(environment.document()) == environment


@pytest.mark.parametrize("source", [None, "", "{}", {}, "# nothing"])
def test_an_empty_environment_says_nothing(source):
    environment = Environment.parse(source)
    assert environment == Environment()
    assert environment.document() == {
        "parameters": {},
        "parameter_defaults": {},
        "resource_registry": {"resources": {}},
        "encrypted_param_names": [],
        "event_sinks": [],
    }


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("parameter: {}", 'environment has wrong section "parameter"'),
        ("resources: {}", "wrong section"),
        ("parameters:", 'environment has empty section "parameters"'),
        ("resource_registry: ~", "empty section"),
        ("parameters: [a]", "parameters must be a map"),
        ("parameter_defaults: x", "parameter_defaults must be a map"),
        ("resource_registry: []", "must be a map"),
        ("event_sinks: [{type: zaqar}]", "event_sinks are not supported"),
        ("encrypted_param_names: x", "must be a list"),
        ("parameter_merge_strategies: x", "must be a map"),
        ("parameter_merge_strategies: {a: join}", "Invalid merge strategy 'join'"),
        ("- a", "not a JSON object or YAML mapping"),
        ("a: [", "Error parsing environment"),
        ("parameters: {a: 1, a: 2}", "occurs twice"),
    ],
)
def test_what_an_environment_cannot_say_is_refused(source, says):
    with pytest.raises(HotError, match=says):
        Environment.parse(source)


def test_a_fault_of_an_environments_text_has_its_place():
    with pytest.raises(HotError) as caught:
        Environment.parse("parameters:\n  a: 1\nresource_registry:\n  A: 5\n")
    assert caught.value.position == (4, 3)


def merged(*texts, **types):
    files = {f"{n}.yaml": text for n, text in enumerate(texts)}
    return Environment.from_files(list(files), files, types)


def test_later_files_win():
    environment = merged(
        "parameters: {a: 1, b: 1}\nresource_registry: {A: x, B: x}",
        "parameters: {b: 2, c: 2}\nparameter_defaults: {d: 2}\nresource_registry: {B: y}",
    )
    assert environment.parameters == {"a": 1, "b": 2, "c": 2}
    assert environment.parameter_defaults == {"d": 2}
    assert environment.target("B", "r").type == "y"
    assert environment.target("A", "r").type == "x"


def test_no_files_make_an_empty_environment():
    assert merged() == Environment()


def test_a_file_that_is_not_there_is_named():
    with pytest.raises(HotError, match=r'environment file "x\.yaml" is not in the files'):
        Environment.from_files(["x.yaml"], {}, {})


def test_a_fault_names_its_file():
    with pytest.raises(HotError, match=r"environment 1\.yaml"):
        merged("parameters: {}", "parameters: [")


MERGE = "parameter_merge_strategies: {default: merge}\n"


def test_strategies_merge_by_type():
    environment = merged(
        "parameters: {s: a, n: 1, l: 'a,b', j: {x: 1}}",
        MERGE + "parameters: {s: b, n: 2, l: [c], j: {y: 2}}",
        s="string",
        n="number",
        l="comma_delimited_list",
        j="json",
    )
    # a parameter's strategy is settled by the first file that sets it, which said nothing
    assert environment.parameters == {"s": "b", "n": 2, "l": ["c"], "j": {"y": 2}}
    environment = merged(
        MERGE + "parameters: {s: a, n: 1, l: 'a,b', j: {x: 1}}",
        "parameters: {s: b, n: 2, l: [c], j: {y: 2}}",
        s="string",
        n="number",
        l="comma_delimited_list",
        j="json",
    )
    assert environment.parameters == {
        "s": "ab", "n": 3, "l": ["a", "b", "c"], "j": {"x": 1, "y": 2},
    }  # fmt: skip


def test_contradicting_strategies_are_refused():
    with pytest.raises(
        HotError, match=r"Conflicting merge strategy 'merge' for parameter 's' in file '1\.yaml'"
    ):
        merged(
            "parameter_merge_strategies: {s: overwrite}\nparameters: {s: a}",
            "parameter_merge_strategies: {s: merge}\nparameters: {s: b}",
            s="string",
        )


def test_an_update_lays_the_new_environment_over_the_old():
    old = Environment.parse(
        {"parameters": {"a": 1, "b": 2, "c": 3}, "resource_registry": {"A": "x"}}
    )
    new = Environment.parse({"parameters": {"b": 9}, "resource_registry": {"B": "y"}})
    updated = old.updated_by(new, cleared=["c"])
    assert updated.parameters == {"a": 1, "b": 9}
    assert updated.registry.types == {"A": "x", "B": "y"}
    assert updated.with_only(["a"]).parameters == {"a": 1}
    assert updated.with_parameters({"a": 5}).parameters == {"a": 5, "b": 9}


def test_a_nested_stack_has_its_own_parameters_and_the_defaults():
    environment = Environment.parse(TEXT)
    child = environment.child("OS::A", "web", {"x": 1})
    assert child.parameters == {"x": 1}
    assert child.parameter_defaults == {"b": 2}
    assert child.target("OS::A", "inner").type == "OS::A"


def test_values_are_not_in_its_text():
    assert "secret" not in repr(Environment.parse({"parameters": {"p": "secret"}}))
