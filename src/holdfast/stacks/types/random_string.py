"""``OS::Heat::RandomString``: a secret that is drawn once and then stays."""

from __future__ import annotations

import string as letters
from collections.abc import Mapping
from secrets import SystemRandom
from typing import Final

from holdfast.errors import InvalidInputError
from holdfast.stacks.hot.constraints import AllowedValues, Range
from holdfast.stacks.hot.properties import PropertySchema
from holdfast.stacks.model import Resource
from holdfast.stacks.resource import Attribute, Base, Progress, Ready, ResourceContext
from holdfast.stacks.types.schemas import integer, listing, mapping, string
from holdfast.stacks.types.timing import physical_name
from holdfast.store.model import Json

CLASSES: Final[Mapping[str, str]] = {
    "lettersdigits": letters.ascii_letters + letters.digits,
    "letters": letters.ascii_letters,
    "lowercase": letters.ascii_lowercase,
    "uppercase": letters.ascii_uppercase,
    "digits": letters.digits,
    "hexdigits": letters.digits + "ABCDEF",
    "octdigits": letters.octdigits,
}
_DEFAULT: Final = [{"class": "lettersdigits", "min": 1}]
_COUNT: Final = Range(min=1, max=512)
_ONE_CLASS: Final = AllowedValues(tuple(CLASSES))

_PROPERTIES: Final[Mapping[str, PropertySchema]] = {
    "length": integer("How long the string is.", _COUNT, default=32),
    "sequence": string(
        "Of which characters the string is. Superseded by character_classes.", _ONE_CLASS
    ),
    "character_classes": listing(
        "Classes of characters, and how many of each there are at least.",
        of=mapping(
            "One class.",
            {
                "class": string("Its name.", _ONE_CLASS, default="lettersdigits"),
                "min": integer("How many there are at least.", _COUNT, default=1),
            },
        ),
        default=_DEFAULT,
    ),
    "character_sequences": listing(
        "Characters of your own, and how many of each sequence there are at least.",
        of=mapping(
            "One sequence.",
            {
                "sequence": string("The characters to choose from.", required=True),
                "min": integer("How many there are at least.", _COUNT, default=1),
            },
        ),
    ),
    "salt": string("Not used in drawing; a change of it draws a new string."),
}


class RandomString(Base):
    """A change of any property draws anew: none is updated in place."""

    name = "OS::Heat::RandomString"
    keeps_secrets = True
    description = (
        "A random string, for passwords and secrets: of the classes and sequences of characters "
        "that it is given, at least so many of each as they say. Referring to it gives the string."
    )

    @property
    def properties(self) -> Mapping[str, PropertySchema]:
        return _PROPERTIES

    @property
    def attributes(self) -> Mapping[str, Attribute]:
        return {"value": Attribute(description="The string; referring to the resource gives it.")}

    def check(self, properties: Mapping[str, Json]) -> None:
        least = sum(count for _, count in _pools(properties))
        if least > properties["length"]:
            raise InvalidInputError(
                f"length ({properties['length']}) is less than the minimums of character_classes "
                f"and character_sequences together ({least})"
            )
        if any(not pool for pool, _ in _pools(properties)):
            raise InvalidInputError("character_sequences: a sequence has at least one character")

    async def create(self, ctx: ResourceContext) -> Progress:
        drawn = draw(ctx.properties, SystemRandom())
        return Ready(physical_id=physical_name(ctx), attributes={"value": drawn})

    def reference(self, row: Resource) -> Json:
        return row.attributes.get("value", row.name)


def draw(properties: Mapping[str, Json], chance: SystemRandom) -> str:
    """A string that satisfies the properties."""
    pools = _pools(properties)
    drawn = [chance.choice(pool) for pool, count in pools for _ in range(count)]
    every = sorted({character for pool, _ in pools for character in pool})
    drawn += [chance.choice(every) for _ in range(properties["length"] - len(drawn))]
    chance.shuffle(drawn)
    return "".join(drawn)


def _pools(properties: Mapping[str, Json]) -> list[tuple[str, int]]:
    """(characters, at least so many of them)."""
    classes: list[dict[str, Json]] = list(properties.get("character_classes") or [])
    if (old := properties.get("sequence")) is not None:
        asked: dict[str, Json] = {"class": old, "min": 1}
        classes = [asked] if classes == _DEFAULT else [*classes, asked]
    sequences: list[dict[str, Json]] = properties.get("character_sequences") or []
    if not classes and not sequences:
        classes = _DEFAULT
    return [
        *((CLASSES[one["class"]], one["min"]) for one in classes),
        *((one["sequence"], one["min"]) for one in sequences),
    ]
