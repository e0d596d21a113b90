from __future__ import annotations

import pytest

from holdfast.stacks.hot.errors import HotError
from holdfast.stacks.hot.merging import merge_value


@pytest.mark.parametrize(
    ("kind", "how", "old", "new", "merged"),
    [
        ("string", "overwrite", "a", "b", "b"),
        ("string", "merge", "a", "b", "ab"),
        ("string", "deep_merge", "a", "b", "ab"),
        ("string", "merge", None, "b", "b"),
        ("number", "merge", 1, 2, 3),
        ("comma_delimited_list", "merge", "a,b", "c", "a,b,c"),
        ("comma_delimited_list", "merge", ["a"], ["b"], ["a", "b"]),
        ("comma_delimited_list", "merge", "a,b", ["c"], ["a", "b", "c"]),
        ("comma_delimited_list", "merge", "", "c", "c"),
        ("json", "overwrite", {"a": 1}, {"b": 2}, {"b": 2}),
        ("json", "merge", {"a": 1}, {"b": 2}, {"a": 1, "b": 2}),
        ("json", "merge", {"a": {"x": 1}}, {"a": {"y": 2}}, {"a": {"y": 2}}),
        ("json", "merge", {"a": 1}, {"a": None}, {"a": 1}),
        ("json", "merge", '{"a": 1}', {"b": 2}, {"a": 1, "b": 2}),
        ("json", "merge", [1], [2], [1, 2]),
        ("json", "deep_merge", {"a": {"x": 1}}, {"a": {"y": 2}}, {"a": {"x": 1, "y": 2}}),
        ("json", "deep_merge", {"a": [1]}, {"a": [2]}, {"a": [1, 2]}),
        ("json", "deep_merge", {"a": "x"}, {"a": "y"}, {"a": "xy"}),
        ("json", "deep_merge", {"a": 1}, {"a": 2}, {"a": 2}),
        ("json", "deep_merge", {"a": 1}, {"a": {"x": 1}}, {"a": {"x": 1}}),
        ("boolean", "overwrite", True, False, False),
        (None, "merge", "a", "b", "b"),
    ],
)
def test_values_merge_by_type_and_strategy(kind, how, old, new, merged):
    assert merge_value("p", old, new, kind, how) == merged


@pytest.mark.parametrize(
    ("kind", "old", "new"),
    [
        ("boolean", True, False),
        ("number", "1", 2),
        ("json", {"a": 1}, [1]),
        ("json", "{", {"a": 1}),
    ],
)
def test_what_cannot_be_merged_is_refused(kind, old, new):
    with pytest.raises(HotError, match="Invalid"):
        merge_value("p", old, new, kind, "merge")
