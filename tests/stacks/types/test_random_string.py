"""RandomString: of which characters, and how many of each."""

from __future__ import annotations

import string
from typing import Any

import pytest
from tests.stacks.types.bench import Bench

from holdfast.errors import InvalidInputError
from holdfast.stacks.hot import HotError
from holdfast.stacks.types.random_string import CLASSES, RandomString


async def drawn(given: dict[str, Any]) -> str:
    bench = Bench(RandomString(), given)
    await bench.create()
    assert bench.kind.reference(bench.row) == bench.row.attributes["value"]
    return bench.row.attributes["value"]


async def test_by_default_32_letters_and_digits():
    found = await drawn({})
    assert len(found) == 32
    assert set(found) <= set(string.ascii_letters + string.digits)
    assert found != await drawn({})


@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize("how", ["sequence", "character_classes"])
async def test_of_one_class_there_is_nothing_else(name: str, how: str):
    given = {"sequence": name} if how == "sequence" else {"character_classes": [{"class": name}]}
    assert set(await drawn({"length": 300, **given})) <= set(CLASSES[name])


async def test_minimums_of_classes_and_sequences_hold_together():
    given = {
        "length": 20,
        "character_classes": [
            {"class": "digits", "min": 5},
            {"class": "uppercase", "min": 4},
        ],
        "character_sequences": [{"sequence": "()[]", "min": 6}, {"sequence": "!", "min": 2}],
    }
    for _ in range(50):
        found = await drawn(given)
        assert len(found) == 20
        assert sum(c.isdigit() for c in found) >= 5
        assert sum(c.isupper() for c in found) >= 4
        assert sum(c in "()[]" for c in found) >= 6
        assert found.count("!") >= 2


def test_more_minimums_than_length_is_refused():
    with pytest.raises(InvalidInputError, match=r"length \(5\) is less .* \(6\)"):
        Bench(RandomString(), {"length": 5, "character_classes": [{"class": "digits", "min": 6}]})


@pytest.mark.parametrize(
    "given",
    [
        {"length": 0},
        {"length": 513},
        {"sequence": "everything"},
        {"character_sequences": [{"min": 1}]},
        {"character_classes": [{"class": "digits", "min": 0}]},
    ],
)
def test_what_the_schema_forbids_is_refused(given: dict[str, Any]):
    with pytest.raises(HotError):
        Bench(RandomString(), given)


def test_no_sequence_is_empty():
    with pytest.raises(InvalidInputError, match="at least one character"):
        Bench(RandomString(), {"character_sequences": [{"sequence": ""}]})


def test_nothing_is_updated_in_place_and_before_creation_its_name_stands_for_it():
    assert not any(schema.update_allowed for schema in RandomString().properties.values())
    bench = Bench(RandomString())
    assert bench.kind.reference(bench.row) == "thing"
