"""What clients send to create or update a stack, read strictly."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import cast

import msgspec

from holdfast.errors import InvalidInputError
from holdfast.store.model import Json

TAG_CHARS_MAX = 80
NAME_CHARS_MAX = 255
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*")
_TRUE = frozenset({"true", "t", "1", "on", "yes", "y"})
_FALSE = frozenset({"false", "f", "0", "off", "no", "n"})


class StackRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a stack shall be. None: not said.

    ``template``: text or document. ``environment`` counts only without
    ``environment_files``; ``parameters`` go over both.
    """

    name: str | None = None
    template: str | dict[str, Json] | None = None
    environment: str | dict[str, Json] | None = None
    environment_files: tuple[str, ...] = ()
    files: dict[str, str] = {}
    parameters: dict[str, Json] = {}
    clear_parameters: tuple[str, ...] = ()
    rollback: bool | None = None
    timeout_s: float | None = None
    tags: tuple[str, ...] | None = None
    adopt: dict[str, Json] | None = None

    @property
    def changes_nothing(self) -> bool:
        """Whether a PATCH with it would only run the same thing again."""
        return self == StackRequest(name=self.name)


def read_request(document: Mapping[str, Json]) -> StackRequest:
    """A request's body. Raises ``InvalidInputError`` naming the field."""
    if document.get("template_url"):
        raise InvalidInputError(
            "template_url is not fetched here: send the template itself (clients do so "
            "when they are given a file or URL)"
        )
    if document.get("files_container"):
        raise InvalidInputError("files_container needs an object store: send the files themselves")
    if flag(document, "converge"):
        raise InvalidInputError(
            "converge is not supported: run `openstack stack check` before the update instead"
        )
    adopt = _adopted(document.get("adopt_stack_data"))
    template = document.get("template") if adopt is None else adopt.get("template")
    environment = document.get("environment")
    if adopt is not None and not environment:
        environment = adopt.get("environment")
    files = document.get("files") or (adopt or {}).get("files")
    return StackRequest(
        name=None if document.get("stack_name") is None else checked_name(document["stack_name"]),
        template=_document("template", template),
        environment=_document("environment", environment),
        environment_files=_names("environment_files", document.get("environment_files")),
        files=_files(files),
        parameters=_map("parameters", document.get("parameters")),
        clear_parameters=_names("clear_parameters", document.get("clear_parameters")),
        rollback=_rollback(document),
        timeout_s=_timeout_s(document.get("timeout_mins")),
        tags=_tags(document.get("tags")),
        adopt=adopt,
    )


def checked_name(name: Json) -> str:
    """A stack's name. Raises ``InvalidInputError``."""
    if not isinstance(name, str) or len(name) > NAME_CHARS_MAX or not _NAME.fullmatch(name):
        raise InvalidInputError(
            f"Invalid stack name {str(name)[:300]!r}: it must begin with a letter, consist of "
            f'letters, digits, "_", "-" and "." only, and have at most {NAME_CHARS_MAX} characters'
        )
    return name


def flag(document: Mapping[str, Json], name: str) -> bool | None:
    """A boolean, or a word for one. Raises ``InvalidInputError``."""
    value = document.get(name)
    if value is None or isinstance(value, bool):
        return value
    return flag_of(name, value)


def flag_of(name: str, value: object) -> bool:
    """A word that means yes or no. Raises ``InvalidInputError``."""
    lowered = str(value).strip().lower()
    if lowered not in _TRUE | _FALSE:
        raise InvalidInputError(f'Unrecognized value "{value}" for "{name}": use True or False')
    return lowered in _TRUE


def _rollback(document: Mapping[str, Json]) -> bool | None:
    disabled = flag(document, "disable_rollback")
    return None if disabled is None else not disabled


def _timeout_s(value: Json) -> float | None:
    if value in (None, 0, "0"):
        return None
    try:
        minutes = int(value)
    except (TypeError, ValueError):
        minutes = -1
    if isinstance(value, bool) or not 0 < minutes <= 525_600:
        raise InvalidInputError(f"timeout_mins must be a number of minutes, not {value!r}")
    return minutes * 60.0


def _tags(value: Json) -> tuple[str, ...] | None:
    if value is None:
        return None
    given = value.split(",") if isinstance(value, str) else value
    if not isinstance(given, list):
        raise InvalidInputError("tags must be a list of texts, or one text with commas between")
    found: list[str] = []
    for tag in cast("list[Json]", given):
        if not isinstance(tag, str) or "," in tag or not 0 < len(tag) <= TAG_CHARS_MAX:
            raise InvalidInputError(
                f"Invalid tag {tag!r}: a tag is a text of 1 to {TAG_CHARS_MAX} characters "
                "without a comma"
            )
        found.append(tag)
    return tuple(dict.fromkeys(found))


def _document(name: str, value: Json) -> str | dict[str, Json] | None:
    if value is None or isinstance(value, str):
        return value
    return _map(name, value)


def _map(name: str, value: Json) -> dict[str, Json]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InvalidInputError(f"{name} must be a map")
    return cast("dict[str, Json]", value)


def _files(value: Json) -> dict[str, str]:
    found = _map("files", value)
    for name, text in found.items():
        if not isinstance(text, str):
            raise InvalidInputError(f"files: {name!r} must be a text, the file's content")
    return cast("dict[str, str]", found)


def _names(name: str, value: Json) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or not all(
        isinstance(one, str) for one in cast("list[Json]", value)
    ):
        raise InvalidInputError(f"{name} must be a list of names")
    return tuple(cast("list[str]", value))


def _adopted(value: Json) -> dict[str, Json] | None:
    if value is None:
        return None
    if isinstance(value, str):
        try:
            value = msgspec.json.decode(value)
        except msgspec.DecodeError as fault:
            raise InvalidInputError(f"Invalid adopt data: {fault}") from None
    if not isinstance(value, dict) or "template" not in value:
        raise InvalidInputError(
            "Invalid adopt data: it must be what `openstack stack abandon` gave, "
            "with template and resources"
        )
    return cast("dict[str, Json]", value)
