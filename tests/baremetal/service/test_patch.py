from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.baremetal.service.patch import REMOVED, apply, fields_of, parse
from holdfast.errors import InvalidInputError

DOCUMENT = {"name": "n1", "extra": {"a": 1, "list": [1, 2], "deep": {"x": {"y": 0}}}}


def patched(*operations: dict[str, Any]) -> dict[str, Any]:
    return apply(parse(list(operations)), DOCUMENT)


def test_a_field_is_replaced_added_and_removed():
    assert patched({"op": "replace", "path": "/name", "value": "n2"}) == {"name": "n2"}
    assert patched({"op": "add", "path": "/owner", "value": "p"}) == {"owner": "p"}
    assert patched({"op": "remove", "path": "/name"}) == {"name": REMOVED}


def test_only_what_is_touched_comes_back():
    assert set(patched({"op": "add", "path": "/extra/b", "value": 2})) == {"extra"}


def test_a_place_inside_a_field_changes_and_the_rest_stays():
    changed = patched(
        {"op": "add", "path": "/extra/b", "value": 2},
        {"op": "replace", "path": "/extra/deep/x/y", "value": 3},
        {"op": "remove", "path": "/extra/a"},
        {"op": "add", "path": "/extra/list/-", "value": 3},
        {"op": "add", "path": "/extra/list/0", "value": 0},
        {"op": "remove", "path": "/extra/list/1"},
    )
    assert changed["extra"] == {"b": 2, "list": [0, 2, 3], "deep": {"x": {"y": 3}}}
    assert DOCUMENT["extra"]["a"] == 1, "the document itself is not changed"  # type: ignore[index]


def test_operations_build_on_one_another():
    changed = patched(
        {"op": "remove", "path": "/extra"}, {"op": "add", "path": "/extra/a", "value": 2}
    )
    assert changed == {"extra": {"a": 2}}


def test_escaped_keys_are_read():
    assert patched({"op": "add", "path": "/extra/a~1b~0c", "value": 1})["extra"]["a/b~c"] == 1


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "replace", "path": "/extra/none", "value": 1},
        {"op": "remove", "path": "/extra/none"},
        {"op": "add", "path": "/extra/none/inner", "value": 1},
        {"op": "add", "path": "/name/inner", "value": 1},
        {"op": "add", "path": "/extra/list/7", "value": 1},
        {"op": "remove", "path": "/extra/list/x"},
        {"op": "remove", "path": "/extra/list/2"},
    ],
)
def test_a_path_that_leads_nowhere_is_refused_by_its_name(operation: dict[str, Any]):
    with pytest.raises(InvalidInputError, match=operation["path"]):
        patched(operation)


@pytest.mark.parametrize(
    "operations",
    [
        {"op": "add", "path": "/extra", "value": {}},
        [{"op": "move", "path": "/extra", "from": "/name"}],
        [{"op": "add", "path": "extra", "value": {}}],
        [{"op": "add", "path": "/", "value": {}}],
        [{"op": "add", "path": "/extra//x", "value": {}}],
        [{"op": "add", "path": "/extra"}],
        [{"op": "add", "path": 7, "value": 1}],
        ["add"],
        None,
    ],
)
def test_what_is_no_patch_is_refused(operations: Any):
    with pytest.raises(InvalidInputError):
        parse(operations)


def test_a_client_that_sends_a_value_with_remove_is_understood():
    assert fields_of(parse([{"op": "remove", "path": "/name", "value": None}])) == ["name"]


json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(operations=json, document=st.dictionaries(st.text(), json))
def test_no_input_makes_it_crash(operations: Any, document: dict[str, Any]):
    with suppress(InvalidInputError):
        apply(parse(operations), document)
