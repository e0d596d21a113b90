from __future__ import annotations

import json

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.stacks.hot.documents import as_document, check_document, load_document, locate
from holdfast.stacks.hot.errors import DocumentError, HotError, LimitError
from holdfast.stacks.hot.limits import Limits


def load(text: str, **limits: int):
    return load_document(text, "template", Limits(**limits))


@pytest.mark.parametrize(
    ("text", "loaded"),
    [
        ("", None),
        ("# nothing", None),
        ("a: 1", {"a": 1}),
        ("a: 2013-05-23", {"a": "2013-05-23"}),
        ("a: 2001-12-14t21:59:43.10-05:00", {"a": "2001-12-14t21:59:43.10-05:00"}),
        ("a: yes", {"a": True}),
        ("a: off", {"a": False}),
        ("a: ~", {"a": None}),
        ("a:", {"a": None}),
        ("a: 0x10", {"a": 16}),
        ("a: 010", {"a": 8}),
        ("a: 1_000", {"a": 1000}),
        ("a: 1:30", {"a": 90}),
        ("a: 1.5", {"a": 1.5}),
        ("a: '1'", {"a": "1"}),
        ('a: "é\\n"', {"a": "é\n"}),
        ("a: |\n  x\n  y\n", {"a": "x\ny\n"}),
        ("a: >\n  x\n  y\n", {"a": "x y\n"}),
        ("a: !!str 5", {"a": "5"}),
        ("a: !!int '5'", {"a": 5}),
        ("80: x", {"80": "x"}),
        ("on: x", {"on": "x"}),
        ("1.10: x", {"1.10": "x"}),
        ("2013-05-23: x", {"2013-05-23": "x"}),
        ("a: &x {b: 1}\nc: *x", {"a": {"b": 1}, "c": {"b": 1}}),
        (
            "a: &x {b: 1, c: 2}\nd:\n  <<: *x\n  c: 3",
            {"a": {"b": 1, "c": 2}, "d": {"b": 1, "c": 3}},
        ),
        (
            "a: &x {b: 1}\nb: &y {b: 2, c: 3}\nd:\n  <<: [*x, *y]",
            {"a": {"b": 1}, "b": {"b": 2, "c": 3}, "d": {"b": 1, "c": 3}},
        ),
        ("'<<': 1", {"<<": 1}),
        ("a: =", {"a": "="}),
        ('{"a": [1, 2.5, null, true, "x"]}', {"a": [1, 2.5, None, True, "x"]}),
        ('{\n\t"a": 1}', {"a": 1}),
        ("{a: b}", {"a": "b"}),
        ("- 1\n- 2", [1, 2]),
        ("text", "text"),
    ],
)
def test_a_document_is_read_as_heat_reads_it(text, loaded):
    assert load(text) == loaded


@pytest.mark.parametrize(
    ("text", "says", "line", "column"),
    [
        ("a: 1\nb: 2\na: 3", '"a" occurs twice', 3, 1),
        ("x:\n  a: 1\n  a: 3", '"a" occurs twice', 3, 3),
        ("a: [1", "expected", 2, 1),
        ("a: b: c", "mapping values", 1, 5),
        ("\ta: 1", "cannot start any token", 1, 1),
        ("a: *x", "no anchor &x", 1, 4),
        ("a: &x [*x]", "contains itself", 1, 8),
        ("a: &x 1\nb: &x 2", "defined twice", 2, 4),
        ("a: !!python/object:os.system x", "not allowed", 1, 4),
        ("a: !!python/name:os.system", "not allowed", 1, 4),
        ("a: !!binary aGVsbG8=", "not allowed", 1, 4),
        ("a: !!set {x}", "not allowed", 1, 4),
        ("a: !mine {x: 1}", "not allowed", 1, 4),
        ("a: !mine x", "not allowed", 1, 4),
        ("a: .inf", "no number", 1, 4),
        ("a: .nan", "no number", 1, 4),
        ("a: !!int x", "is no int", 1, 4),
        ("a: !!bool x", "is no bool", 1, 4),
        ("? [1, 2]\n: x", "plain value", 1, 3),
        ("{a: b}: x", "plain value", 1, 1),
        ("a: 1\n---\nb: 2", "second document", 2, 1),
        ("<<: 5", "takes a mapping", 1, 1),
        ("a: " + "9" * 400, "too long", 1, 4),
    ],
)
def test_what_is_wrong_with_a_text_is_said_with_line_and_column(text, says, line, column):
    with pytest.raises(DocumentError) as caught:
        load(text)
    assert says in str(caught.value)
    assert caught.value.position == (line, column)
    assert f"(line {line}, column {column})" in caught.value.message


@pytest.mark.parametrize("text", ['{"a": 1, "a": 2}', '{"a": NaN}', '{"a": Infinity}', "a: \x00"])
def test_json_that_says_two_things_or_no_number_is_refused(text):
    with pytest.raises(DocumentError):
        load(text)


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, "a: " + "[" * 100_000, '{"a":' * 100_000, "- " * 5_000, "{" * 100_000],
)
def test_deep_nesting_is_refused_at_the_limit(text):
    with pytest.raises(HotError, match=r"deeper|parsing"):
        load(text)


@pytest.mark.parametrize(("depth", "fits"), [(7, True), (8, False)])
@pytest.mark.parametrize("form", ["[", '{"k": '])
def test_the_depth_limit_is_exact(form, depth, fits):
    text = form * depth + "1" + {"[": "]", "{": "}"}[form[0]] * depth
    if fits:
        assert load(text, depth_max=8) is not None
    else:
        with pytest.raises(LimitError, match="deeper than 8"):
            load(text, depth_max=8)


def test_an_alias_counts_with_the_depth_it_brings():
    text = "a: &x [[[1]]]\nb: [[*x]]"
    assert load(text, depth_max=7)
    with pytest.raises(LimitError):
        load(text, depth_max=6)


def test_a_billion_laughs_are_refused_before_they_are_laughed():
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    with pytest.raises(LimitError, match="counting each use"):
        load("\n".join(lines))


def test_merge_keys_do_not_get_around_the_limit():
    lines = ["a0: &a0 {k: [x, x, x, x, x, x, x, x]}"]
    lines += [f"a{n}: &a{n} {{l: [*a{n - 1}, *a{n - 1}, *a{n - 1}]}}" for n in range(1, 14)]
    with pytest.raises(LimitError):
        load("\n".join([*lines, "z:", "  <<: *a13"]))


def test_a_text_larger_than_the_limit_is_refused_in_bytes():
    assert load("é: 1", template_bytes_max=5) == {"é": 1}
    with pytest.raises(LimitError, match=r"6 bytes.*exceeds.*5 bytes"):
        load("é: 12", template_bytes_max=5)


def test_a_parsed_document_has_the_same_limits():
    check_document({"a": [1]}, "template", Limits(depth_max=3, nodes_max=3))
    with pytest.raises(LimitError, match="deeper"):
        check_document({"a": [1]}, "template", Limits(depth_max=2))
    with pytest.raises(LimitError, match="more than 2"):
        check_document({"a": [1]}, "template", Limits(nodes_max=2))
    with pytest.raises(DocumentError, match="no string"):
        check_document({1: 2}, "template")


@pytest.mark.parametrize("source", [None, "", "# x", {}])
def test_nothing_is_an_empty_document(source):
    assert as_document(source, "environment") == {}


@pytest.mark.parametrize("source", ["- 1", "text", "5", "[1]"])
def test_a_document_is_a_mapping(source):
    with pytest.raises(DocumentError, match="not a JSON object or YAML mapping"):
        as_document(source, "template")


TEXT = "a:\n  b:\n    - x: 1\n      y: 2\n    - z\n  'c d': {e: [1, 2]}\n"


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ((), (1, 1)),
        (("a",), (1, 1)),
        (("a", "b"), (2, 3)),
        (("a", "b", 0), (3, 7)),
        (("a", "b", 0, "y"), (4, 7)),
        (("a", "b", 1), (5, 7)),
        (("a", "c d", "e", 1), (6, 18)),
        (("a", "b", 0, "nope"), (3, 7)),
        (("a", "nope", "x"), (1, 1)),
        (("nope",), (1, 1)),
    ],
)
def test_a_path_is_found_in_the_text_as_far_as_it_goes(path, place):
    assert locate(TEXT, path) == place


def test_a_place_in_json_is_found_too():
    assert locate('{"a": {\n  "b": 1}}', ("a", "b")) == (2, 3)


LETTERS = st.characters(codec="utf-8", exclude_characters="\0")
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(LETTERS, max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(LETTERS, max_size=5), inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.text(LETTERS, max_size=5), JSON, max_size=4))
def test_json_comes_back_as_it_was(document):
    assert load(json.dumps(document)) == document


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.from_regex(r"[a-z_]{1,6}x", fullmatch=True), JSON, max_size=4))
def test_yaml_as_written_by_others_comes_back_as_it_was(document):
    assert load(yaml.safe_dump(document, allow_unicode=False)) == (document or {})


@settings(max_examples=150, deadline=None)
@given(st.text(alphabet="ab:- \n\t[]{}&*!<>|'\"#%,?0x1.~=é\x00", max_size=60))
def test_whatever_the_text_it_is_read_or_refused_with_a_sentence(text):
    try:
        load(text)
    except HotError as fault:
        refused = str(fault)
    else:
        refused = "not at all"
    assert refused


@pytest.mark.parametrize("text", ["[a]: b", "{[a]: b, c: d}", "? {a: b}\n: [c]\n", "{[]:[]}"])
def test_a_key_that_is_a_list_or_map_puts_nothing_in_a_wrong_place(text):
    assert locate(text, ("c",)) is not None
    assert locate("? [x]\n: y\nc: d\n", ("c",)) == (3, 1)


@settings(max_examples=60, deadline=None)
@given(
    st.text(alphabet="ab:- \n[]{}", max_size=40),
    st.lists(st.sampled_from(["a", "b", 0]), max_size=3),
)
def test_locating_never_fails(text, path):
    locate(text, tuple(path))
