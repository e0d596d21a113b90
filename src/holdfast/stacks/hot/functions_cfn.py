"""The functions that HOT 2013-05-23 took over from CloudFormation; later versions dropped them."""

from __future__ import annotations

import json
from typing import Any

from holdfast.stacks.hot.constraints import shown
from holdfast.stacks.hot.errors import HotError
from holdfast.stacks.hot.functions_text import bounded_items, replace
from holdfast.stacks.hot.parsing import DYNAMIC
from holdfast.stacks.hot.shapes import is_list, is_map, kind_of


def availability_zones(_name: str, _arguments: Any) -> list[str]:
    """``Fn::GetAZs``: there is one zone here, called as Heat calls it where it knows none."""
    return ["nova"]


def check_select(name: str, arguments: Any) -> None:
    """``[index, collection]``."""
    if not is_list(arguments) or len(arguments) != 2:
        raise HotError(f'Arguments to "{name}" must be of the form [index, collection]')


def select_item(name: str, arguments: Any) -> Any:
    """``Fn::Select``: an item of a list, map or JSON text; what is not there is empty text."""
    check_select(name, arguments)
    index, items = arguments
    if items is None or items == "":
        return ""
    if isinstance(items, str):
        try:
            items = json.loads(items)
        except (ValueError, RecursionError) as fault:
            raise HotError(f'"{name}": the text is no JSON: {fault}') from None
    if is_map(items):
        if not isinstance(index, str):
            raise HotError(f'Index to "{name}" must be a string')
        return items.get(index, "")
    if not is_list(items):
        raise HotError(f'"{name}" selects from a list or map, not from a {kind_of(items)}')
    try:
        position = int(index)
    except (TypeError, ValueError):
        raise HotError(f'Index to "{name}" must be an integer') from None
    return items[position] if -len(items) <= position < len(items) else ""


def check_split(name: str, arguments: Any) -> None:
    """``[delimiter, text]``."""
    if not is_list(arguments) or len(arguments) != 2:
        raise HotError(f'"{name}" takes [delimiter, string], like [",", "a,b"]')


def split(name: str, arguments: Any) -> list[str]:
    """``Fn::Split``."""
    check_split(name, arguments)
    delimiter, text = arguments
    if not isinstance(delimiter, str) or not delimiter:
        raise HotError(f"Delimiter for {name} must be a string that is not empty")
    if not isinstance(text, str):
        raise HotError(f"String to split must be string; {shown(text)} is a {kind_of(text)}")
    bounded_items(name, text.count(delimiter))
    return text.split(delimiter)


def check_replace(name: str, arguments: Any) -> None:
    """``[{placeholder: value}, text]``."""
    if not is_list(arguments) or len(arguments) != 2:
        raise HotError(f'"{name}" takes [{{"$var": "value"}}, "text with $var"]')
    params, text = arguments
    if params is not DYNAMIC and not is_map(params):
        raise HotError(f'"{name}" parameters must be a mapping')
    if text is not DYNAMIC and not isinstance(text, str):
        raise HotError(f'"{name}" template must be a string')


def replace_in(name: str, arguments: Any) -> str:
    """``Fn::Replace``: like ``str_replace`` of that version."""
    check_replace(name, arguments)
    return replace(name, arguments[1], arguments[0], json_too=False)


def base64_of(name: str, arguments: Any) -> str:
    """``Fn::Base64``: the text as it is, because user data is taken in plain (as in Heat)."""
    if not isinstance(arguments, str):
        raise HotError(f'"{name}" argument must be a string')
    return arguments


def check_members(name: str, arguments: Any) -> None:
    """``[key name, value name, list]``."""
    if not is_list(arguments) or len(arguments) != 3:
        raise HotError(
            f'"{name}" takes ["Name", "Value", [".member.0.Name=key", ".member.0.Value=door"]]'
        )
    if not isinstance(arguments[0], str) or not isinstance(arguments[1], str):
        raise HotError(f'The names of key and value of "{name}" must be strings')


def member_list_to_map(name: str, arguments: Any) -> dict[str, str]:
    """``Fn::MemberListToMap``: ``.member.<n>.<name>=<text>`` entries, paired by their number."""
    check_members(name, arguments)
    key_name, value_name, members = arguments
    if not is_list(members):
        raise HotError("Member list must be a list")
    keys: dict[str, str] = {}
    values: dict[str, str] = {}
    for member in members:
        if not isinstance(member, str) or "=" not in member:
            raise HotError("Member list items must be strings of the form .member.0.Name=text")
        place, text = member.split("=", 1)
        parts = place.split(".")
        if len(parts) != 4 or parts[:2] != ["", "member"]:
            continue
        if parts[3] == key_name:
            keys[parts[2]] = text
        elif parts[3] == value_name:
            values[parts[2]] = text
    return {keys[number]: values[number] for number in sorted(keys) if number in values}
