"""Reading documents whose shape nobody vouches for: answers of BMCs and ramdisk agents."""

from __future__ import annotations

import re
from typing import cast

from holdfast.store.model import Json

WORDS_LENGTH_MAX = 300


def inside(document: Json, *path: str | int) -> Json:
    """The value at a path of keys and indices; None when any part of it is not there."""
    for key in path:
        if isinstance(key, str) and isinstance(document, dict):
            document = cast("dict[str, Json]", document).get(key)
        elif isinstance(key, int) and isinstance(document, list):
            items = cast("list[Json]", document)
            document = items[key] if key < len(items) else None
        else:
            return None
    return document


def text(document: Json, *path: str | int) -> str | None:
    """As ``inside``, but only a string that says something."""
    value = inside(document, *path)
    return value if isinstance(value, str) and value.strip() else None


def items(document: Json, *path: str | int) -> list[Json]:
    """As ``inside``, but only a list; empty when there is none."""
    value = inside(document, *path)
    return cast("list[Json]", value) if isinstance(value, list) else []


def words(said: str, *hidden: str) -> str:
    """What a stranger said, fit for one of our sentences: printable, short, without secrets."""
    for secret in hidden:
        if secret:
            said = said.replace(secret, "***")
    return re.sub(r"[^\x20-\x7e]+", " ", said)[:WORDS_LENGTH_MAX].strip().rstrip(".")
