from __future__ import annotations

import pytest

from holdfast.stacks.hot.errors import HotError
from holdfast.stacks.hot.registry import HOOKS, read_registry


@pytest.mark.parametrize(
    ("entries", "type_name", "target"),
    [
        ({}, "OS::A", "OS::A"),
        ({"OS::A": "OS::B"}, "OS::A", "OS::B"),
        ({"OS::A": "OS::B", "OS::B": "OS::C"}, "OS::A", "OS::C"),
        ({"OS::A": "OS::A"}, "OS::A", "OS::A"),
        ({"OS::A": "a.yaml"}, "OS::A", "a.yaml"),
        ({"OS::A": "http://x/a.template"}, "OS::A", "http://x/a.template"),
        ({}, "a.yaml", "a.yaml"),
        ({"a.yaml": "b.yaml"}, "a.yaml", "a.yaml"),
        ({"OS::Old::*": "OS::New::*"}, "OS::Old::X", "OS::New::X"),
        ({"OS::*": "OS::Heat::None"}, "OS::Any::X", "OS::Heat::None"),
        ({"OS::*": "OS::Heat::None"}, "OS::Heat::None", "OS::Heat::None"),
        ({"OS::*": "OS::Heat::None"}, "Other::X", "Other::X"),
        ({"OS::A::*": "a.yaml"}, "OS::A::X", "a.yaml"),
        ({"OS::*": "OS::Heat::None", "OS::A": "OS::B2", "OS::B2": "OS::B2"}, "OS::A", "OS::B2"),
        ({"OS::*": "x.yaml", "OS::A::*": "y.yaml"}, "OS::A::B", "y.yaml"),
        ({"OS::A": "OS::B", "base_url": "http://x"}, "OS::A", "OS::B"),
        ({"resources": {"r": {"OS::A": "OS::C"}}, "OS::A": "OS::B"}, "OS::A", "OS::C"),
        ({"resources": {"other": {"OS::A": "OS::C"}}, "OS::A": "OS::B"}, "OS::A", "OS::B"),
        ({"resources": {"r": {"OS::*": "OS::C"}}}, "OS::A", "OS::C"),
        ({"resources": {"r": {"hooks": "pre-create", "OS::A": "a.yaml"}}}, "OS::A", "a.yaml"),
        ({"OS::A": "OS::B", "OS::A*": None}, "OS::A", "OS::A"),
        ({"OS::A": None}, "OS::A", "OS::A"),
    ],
)
def test_a_type_stands_for_what_the_most_specific_entry_says(entries, type_name, target):
    if entries.get("OS::B2"):
        entries = {key: to for key, to in entries.items() if key != "OS::B2"} | {"OS::B2": "OS::B2"}
    assert read_registry(entries).target(type_name, "r").type == target


@pytest.mark.parametrize(
    "entries",
    [
        {"OS::A": "OS::B", "OS::B": "OS::A"},
        {"OS::A": "OS::B", "OS::B": "OS::C", "OS::C": "OS::A"},
        {"OS::A*": "OS::AA*"},
    ],
)
def test_types_that_lead_back_to_themselves_are_refused(entries):
    with pytest.raises(HotError, match="in a circle: OS::A -> "):
        read_registry(entries).target("OS::A", "r")


@pytest.mark.parametrize(
    ("resources", "name", "hooks"),
    [
        ({"r": {"hooks": "pre-create"}}, "r", {"pre-create"}),
        ({"r": {"hooks": ["pre-create", "post-delete"]}}, "r", {"pre-create", "post-delete"}),
        ({"r": {"hooks": "pre-create"}}, "other", set()),
        ({"*_x": {"hooks": "pre-update"}}, "a_x", {"pre-update"}),
        ({"*_x": {"hooks": "pre-update"}}, "a_y", set()),
        (
            {"r*": {"hooks": "pre-update"}, "*": {"hooks": "pre-delete"}},
            "r1",
            {"pre-update", "pre-delete"},
        ),
        ({"R": {"hooks": "pre-create"}}, "r", set()),
        ({"r": {"hooks": []}}, "r", set()),
        ({"r": {"restricted_actions": "update"}}, "r", set()),
    ],
)
def test_hooks_by_name_and_pattern(resources, name, hooks):
    assert read_registry({"resources": resources}).marks("hooks", name) == hooks


@pytest.mark.parametrize("actions", ["update", "replace", ["update", "replace"]])
def test_restricted_actions(actions):
    registry = read_registry({"resources": {"r": {"restricted_actions": actions}}})
    assert (
        registry.marks("restricted_actions", "r") == {actions}
        if isinstance(actions, str)
        else set(actions)
    )


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_is_known(hook):
    assert read_registry({"resources": {"r": {"hooks": hook}}}).marks("hooks", "r") == {hook}


@pytest.mark.parametrize(
    ("section", "says"),
    [
        ("x", "must be a map"),
        ([], "must be a map"),
        ({"OS::A": 5}, "not to a number"),
        ({"OS::A": ["x"]}, "not to a list"),
        ({"OS::A": {"x": "y"}}, "not to a map"),
        ({"resources": "x"}, "must be a map of resource names"),
        ({"resources": {"r": 5}}, "not a number"),
        ({"resources": {"r": {"hooks": "wrong"}}}, 'Invalid hook type "wrong"'),
        ({"resources": {"r": {"hooks": ["pre-create", "wrong"]}}}, 'Invalid hook type "wrong"'),
        ({"resources": {"r": {"hooks": 5}}}, "Invalid hook type"),
        ({"resources": {"r": {"hooks": {}}}}, "Invalid hook type"),
        ({"resources": {"r": {"restricted_actions": "delete"}}}, "Invalid restricted_action type"),
        ({"resources": {"r": {"inner": {"hooks": "wrong"}}}}, "Invalid hook type"),
    ],
)
def test_what_a_registry_cannot_say_is_refused(section, says):
    with pytest.raises(HotError, match=says) as caught:
        read_registry(section)
    assert caught.value.path[0] == "resource_registry"


def test_a_nested_stack_has_its_own_part_of_the_registry():
    registry = read_registry(
        {
            "OS::A": "a.yaml",
            "OS::B": "b.yaml",
            "resources": {
                "group": {
                    "inner": {"hooks": "pre-create"},
                    "hooks": "pre-update",
                    "OS::C": "c.yaml",
                },
                "gr*": {"other": {"OS::B": "x.yaml"}},
                "else": {"inner": {"hooks": "pre-delete"}},
            },
        }
    )
    inner = registry.child("group", registry.target("OS::A", "group").entry)
    assert inner.target("OS::A", "inner").type == "OS::A"
    assert inner.target("OS::B", "inner").type == "b.yaml"
    assert inner.target("OS::B", "other").type == "x.yaml"
    assert inner.marks("hooks", "inner") == {"pre-create"}


def test_a_registry_over_another_wins_entry_by_entry():
    merged = read_registry(
        {"A": "1", "B": "2", "resources": {"r": {"hooks": "pre-create"}}}
    ).merged(read_registry({"B": "3", "resources": {"r": {"A": "9"}, "s": {"A": "8"}}}))
    assert merged.document() == {
        "A": "1",
        "B": "3",
        "resources": {"r": {"hooks": "pre-create", "A": "9"}, "s": {"A": "8"}},
    }
    assert read_registry(merged.document()) == merged
