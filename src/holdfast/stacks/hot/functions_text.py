"""Functions that make text: pure, from resolved arguments to a result.

Each takes its own name (for messages) and its arguments, and raises HotError over what it cannot
take. What they may produce is bounded (``limits``), because the input of one is the output of
another.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode, urlunsplit

from holdfast.stacks.hot.constraints import shown
from holdfast.stacks.hot.errors import HotError, LimitError
from holdfast.stacks.hot.limits import EFFORT_MAX, ITEMS_MAX, TEXT_MAX
from holdfast.stacks.hot.parsing import DYNAMIC
from holdfast.stacks.hot.shapes import is_list, is_map, kind_of


def bounded(name: str, size: int) -> None:
    """Refuse a text of more than TEXT_MAX characters before it is made."""
    if size > TEXT_MAX:
        raise LimitError(f'"{name}" would make a text of more than {TEXT_MAX} characters')


def bounded_items(name: str, count: int) -> None:
    """Refuse a list or map of more than ITEMS_MAX entries before it is made."""
    if count > ITEMS_MAX:
        raise LimitError(f'"{name}" would make more than {ITEMS_MAX} items')


class Effort:
    """Work of one call that grows with the product of its inputs; refused past EFFORT_MAX."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.left = EFFORT_MAX

    def add(self, work: int) -> None:
        self.left -= work
        if self.left < 0:
            raise LimitError(f'"{self.name}" has too much to do: fewer or shorter arguments needed')


def json_text(value: Any) -> str:
    """Maps and lists inside texts, as Heat writes them: keys sorted."""
    return json.dumps(value, sort_keys=True)


# ---- list_join, str_split -----------------------------------------------------------------------


def check_join(name: str, arguments: Any) -> None:
    """``[delimiter, list]``."""
    if not is_list(arguments) or len(arguments) != 2:
        raise HotError(f'"{name}" takes [delimiter, list], like [", ", ["a", "b"]]')


def join(name: str, arguments: Any) -> str:
    """``list_join`` of one list of strings."""
    check_join(name, arguments)
    delimiter, strings = arguments
    return joined(name, delimiter, [strings], json_too=False)


def check_join_multiple(name: str, arguments: Any) -> None:
    """``[delimiter, list, ...]``."""
    if not is_list(arguments) or len(arguments) < 2:
        raise HotError(f'"{name}" takes [delimiter, list, …], like [", ", ["a", "b"], ["c"]]')


def join_multiple(name: str, arguments: Any) -> str:
    """``list_join`` of any number of lists of strings, maps and lists (as JSON)."""
    check_join_multiple(name, arguments)
    return joined(name, arguments[0], arguments[1:], json_too=True)


def joined(name: str, delimiter: Any, lists: list[Any], *, json_too: bool) -> str:
    """All items of all lists; null lists and items are empty."""
    if not isinstance(delimiter, str):
        raise HotError(f'the delimiter of "{name}" must be a string')
    texts: list[str] = []
    for items in lists:
        if items is None or (json_too and not items):
            continue
        if not is_list(items):
            raise HotError(f'"{name}" joins the items of a list, {shown(items)} is no list')
        texts += [joinable(name, item, json_too) for item in items]
    bounded(name, sum(map(len, texts)) + len(delimiter) * len(texts))
    return delimiter.join(texts)


def joinable(name: str, item: Any, json_too: bool) -> str:
    """An item to join, as text."""
    if item is None:
        return ""
    if isinstance(item, str):
        return item
    if json_too and (is_map(item) or is_list(item)):
        return json_text(item)
    allowed = "strings, maps or lists" if json_too else "strings"
    raise HotError(f'Items to join with "{name}" must be {allowed}, not {shown(item)}')


def check_split(name: str, arguments: Any) -> None:
    """``[delimiter, string, index?]``."""
    if not is_list(arguments) or not 2 <= len(arguments) <= 3:
        raise HotError(f'"{name}" takes [delimiter, string, index], the index at will')


def split(name: str, arguments: Any) -> Any:
    """``str_split``: the parts, or the one at the index. Of null: null."""
    check_split(name, arguments)
    delimiter, text = arguments[0], arguments[1]
    if text is None:
        return None
    if not isinstance(text, str) or not isinstance(delimiter, str) or not delimiter:
        raise HotError(f'"{name}" splits a string at a string that is not empty')
    bounded_items(name, text.count(delimiter))
    parts = text.split(delimiter)
    if len(arguments) < 3:
        return parts
    try:
        index = int(arguments[2])
    except (TypeError, ValueError):
        raise HotError(f'the index of "{name}" must be a whole number') from None
    try:
        return parts[index]
    except IndexError:
        raise HotError(f'the index of "{name}" must be between 0 and {len(parts) - 1}') from None


# ---- str_replace and its stricter kin -----------------------------------------------------------


def check_replace(name: str, arguments: Any) -> None:
    """``{template: text, params: {placeholder: value}}``."""
    if arguments is DYNAMIC:
        return
    if not is_map(arguments):
        raise HotError(f'Arguments to "{name}" must be a map of template and params')
    if "template" not in arguments or "params" not in arguments:
        raise HotError(
            f'"{name}" syntax is {{template: "Hello NAME", params: {{NAME: value}}}}; '
            "both are needed"
        )
    params, template = arguments["params"], arguments["template"]
    if params is not DYNAMIC and not is_map(params):
        raise HotError(f'"{name}" params must be a map, not {shown(params)}')
    if template is not DYNAMIC and not isinstance(template, str):
        raise HotError(f'"{name}" template must be a string, not {shown(template)}')


def replace_plain(name: str, arguments: Any) -> str:
    """``str_replace`` of the versions before 2015-10-15: no maps and lists as values."""
    check_replace(name, arguments)
    return replace(name, arguments["template"], arguments["params"], json_too=False)


def replace_json(name: str, arguments: Any) -> str:
    """``str_replace``: maps and lists as JSON."""
    check_replace(name, arguments)
    return replace(name, arguments["template"], arguments["params"])


def replace_strict(name: str, arguments: Any) -> str:
    """``str_replace_strict``: every placeholder must occur."""
    check_replace(name, arguments)
    return replace(name, arguments["template"], arguments["params"], strict=True)


def replace_very_strict(name: str, arguments: Any) -> str:
    """``str_replace_vstrict``: and no value may be null or empty."""
    check_replace(name, arguments)
    return replace(name, arguments["template"], arguments["params"], strict=True, empty_too=False)


def replace(
    name: str,
    template: str,
    params: Mapping[str, Any],
    *,
    json_too: bool = True,
    strict: bool = False,
    empty_too: bool = True,
) -> str:
    """Placeholders by their values, longer ones first, then in order; values are not looked into.

    The text is kept as pieces: what came of a placeholder is done with, the rest is looked
    through for the next one.
    """
    if "" in params:
        raise HotError(f'a placeholder of "{name}" is the empty string')
    pieces: list[tuple[str, bool]] = [(template, False)]
    size = len(template)
    unused: list[str] = []
    effort = Effort(name)
    for placeholder in sorted(sorted(params), key=len, reverse=True):
        value = replacement(name, placeholder, params[placeholder], json_too, empty_too)
        effort.add(len(pieces) + size // 1000)
        found = sum(piece.count(placeholder) for piece, done in pieces if not done)
        if not found:
            unused.append(placeholder)
            continue
        size += found * (len(value) - len(placeholder))
        bounded(name, size)
        bounded_items(name, len(pieces) + 2 * found)
        pieces = replaced(pieces, placeholder, value)
    if strict and unused:
        raise HotError(f"The following params were not found in the template: {','.join(unused)}")
    return "".join(piece for piece, _done in pieces)


def replaced(
    pieces: list[tuple[str, bool]], placeholder: str, value: str
) -> list[tuple[str, bool]]:
    """The pieces with one placeholder done."""
    after: list[tuple[str, bool]] = []
    for piece, done in pieces:
        if done or placeholder not in piece:
            after.append((piece, done))
            continue
        first, *others = piece.split(placeholder)
        after.append((first, False))
        for other in others:
            after += [(value, True), (other, False)]
    return after


def replacement(name: str, param: str, value: Any, json_too: bool, empty_too: bool) -> str:
    """A param's value as text."""
    if not empty_too and (value is None or value in ("", {}, [])):
        raise HotError(
            f'"{name}" has an undefined or empty value for param {param}, '
            "it must be a defined non-empty value"
        )
    if value is None:
        return ""
    if is_map(value) or is_list(value):
        if not json_too:
            raise HotError(
                f'"{name}" params must be strings or numbers, param {param} is a {kind_of(value)}'
            )
        return json_text(value)
    return str(value)


# ---- digest, make_url ---------------------------------------------------------------------------


def check_digest(name: str, arguments: Any) -> None:
    """``[algorithm, value]``."""
    if not is_list(arguments) or len(arguments) != 2:
        raise HotError(f'"{name}" takes ["<algorithm>", "<value>"]')


def digest(name: str, arguments: Any) -> str:
    """The hexadecimal digest of a text, encoded as Latin-1 like Heat (as UTF-8 where it must)."""
    check_digest(name, arguments)
    if not all(isinstance(one, str) for one in arguments):
        raise HotError(f'Argument to function "{name}" must be a list of strings')
    algorithm, text = arguments[0].lower(), arguments[1]
    fixed = sorted(one for one in hashlib.algorithms_guaranteed if not one.startswith("shake"))
    if algorithm not in fixed:
        raise HotError(f"Algorithm must be one of {', '.join(fixed)}")
    try:
        data = text.encode("latin-1")
    except UnicodeEncodeError:
        data = text.encode()
    return hashlib.new(algorithm, data, usedforsecurity=False).hexdigest()


URL_PARTS = ("scheme", "username", "password", "host", "port", "path", "query", "fragment")


def check_url(name: str, arguments: Any) -> None:
    """A map of parts of a URL."""
    if arguments is DYNAMIC:
        return
    if not is_map(arguments):
        raise HotError(f'The arguments to "{name}" must be a map')
    wrong = sorted(set(arguments) - set(URL_PARTS))
    if wrong:
        raise HotError(f'Invalid arguments to "{name}": {", ".join(wrong)}')
    for part, value in arguments.items():
        if value is DYNAMIC:
            continue
        if part == "query":
            if not is_map(value):
                raise HotError(f'The "query" argument to "{name}" must be a map')
        elif part == "port":
            url_port(name, value)
        elif not isinstance(value, str):
            raise HotError(f'The "{part}" argument to "{name}" must be a string')


def url_port(name: str, value: Any) -> int | None:
    """A port number; nothing when empty."""
    if value is None or value == "":
        return None
    try:
        port = int(value)
    except (TypeError, ValueError):
        raise HotError(f'Invalid URL port {shown(value)} for "{name}"') from None
    if isinstance(value, bool) or not 0 < port <= 65535:
        raise HotError(f"Invalid URL port {value}, must be in range 1-65535")
    return port


def make_url(name: str, arguments: Any) -> str:
    """A URL of its parts, each escaped as its place needs."""
    check_url(name, arguments)
    scheme = arguments.get("scheme", "")
    if ":" in scheme:
        raise HotError(f'The "scheme" argument to "{name}" must not contain \':\'')
    username = quote(arguments.get("username", ""), safe="")
    password = quote(arguments.get("password", ""), safe="")
    place = username + (f":{password}" if password else "")
    place += "@" if place else ""
    host = arguments.get("host", "")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    host = quote(host, safe=":")
    place += f"[{host}]" if ":" in host else host
    port = url_port(name, arguments.get("port"))
    place += f":{port}" if port else ""
    query = urlencode(arguments.get("query", {})).replace("%2F", "/")
    path, fragment = quote(arguments.get("path", "")), quote(arguments.get("fragment", ""))
    return urlunsplit((scheme, place, path, query, fragment))
