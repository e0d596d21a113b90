"""Templates and environments as text: YAML (or JSON) read safely, strictly and within bounds.

The tree is built from the parser's events, so that depth and the size that aliases expand to
are checked while reading, before anything large exists. Differences from plain YAML, as Heat
has them: dates stay strings. Stricter than Heat: duplicate keys, tags other than YAML's core
ones, and numbers that JSON does not know are refused. Keys become strings, as in JSON.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from holdfast.stacks.hot.errors import DocumentError, LimitError, Path, Position
from holdfast.stacks.hot.limits import DEFAULT_LIMITS, Limits
from holdfast.stacks.hot.shapes import is_list, is_map

TAG = "tag:yaml.org,2002:"
CONSTRUCTED = {
    TAG + "null": "construct_yaml_null",
    TAG + "bool": "construct_yaml_bool",
    TAG + "int": "construct_yaml_int",
    TAG + "float": "construct_yaml_float",
}
AS_TEXT = frozenset({TAG + "str", TAG + "timestamp", TAG + "value", TAG + "merge"})
NUMBER_CHARS_MAX = 300
NUL = "there is a NUL character (\\u0000), which no database can keep: take it out"
BaseLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
parse_events: Any = getattr(yaml, "parse")  # noqa: B009 (it has no types)


def load_document(text: str, what: str, limits: Limits = DEFAULT_LIMITS) -> Any:
    """The document in ``text``; ``what`` names it in messages (``template``, a file's name).

    Text that starts as a JSON object is tried as JSON first; an empty text is None.

    Raises: DocumentError with line and column; LimitError.
    """
    size = len(text.encode(errors="surrogatepass"))
    if size > limits.template_bytes_max:
        raise LimitError(
            f"The {what} ({size} bytes) exceeds maximum allowed size "
            f"({limits.template_bytes_max} bytes)."
        )
    if text.lstrip()[:1] == "{":
        try:
            loaded = json.loads(text, object_pairs_hook=_pairs, parse_constant=_no_constant)
        except RecursionError:
            raise _too_deep(what, limits) from None
        except json.JSONDecodeError:
            pass  # a YAML flow mapping, or wrong either way: YAML's message says where
        except ValueError as fault:
            raise DocumentError(f"The {what} cannot be read: {fault}") from None
        else:
            check_document(loaded, what, limits)
            return loaded
    try:
        return _Builder(text, what, limits).document()
    except yaml.YAMLError as fault:
        raise _unreadable(fault, what) from None


def check_document(document: object, what: str, limits: Limits = DEFAULT_LIMITS) -> None:
    """Refuse a parsed document that is deeper or larger than the limits, without recursion.

    Raises: LimitError; DocumentError for a key that is no string, and for what cannot be kept.
    """
    count, stack = 0, [(document, 1)]
    while stack:
        value, depth = stack.pop()
        count += 1
        if depth > limits.depth_max:
            raise _too_deep(what, limits)
        if count > limits.nodes_max:
            raise _too_large(what, limits)
        if is_map(value):
            for key in value:
                if not isinstance(key, str):  # pyright: ignore[reportUnnecessaryIsInstance]
                    raise DocumentError(f"The {what} has a key that is no string: {key!r}")
                _check_kept(key, document, what)
            stack.extend((item, depth + 1) for item in value.values())
        elif is_list(value):
            stack.extend((item, depth + 1) for item in value)
        else:
            _check_kept(value, document, what)


def _check_kept(value: Any, document: object, what: str) -> None:
    """What no row of a database can hold, even if JSON's text can say it."""
    if isinstance(value, str) and "\0" in value:
        raise DocumentError(f"The {what} cannot be read: {NUL}", nul_in(document) or ())
    if isinstance(value, float) and not math.isfinite(value):
        raise DocumentError(f"The {what} cannot be read: a number in it is too large")


def nul_in(document: object) -> Path | None:
    """Where the first text with a NUL is, or the key that has one; None if there is none."""
    stack: list[tuple[object, Path]] = [(document, ())]
    while stack:
        value, path = stack.pop()
        if isinstance(value, str):
            if "\0" in value:
                return path
        elif is_map(value):
            for key in value:
                if "\0" in key:
                    return (*path, key.replace("\0", "\\u0000"))
            stack.extend((item, (*path, key)) for key, item in reversed(value.items()))
        elif is_list(value):
            stack.extend((item, (*path, at)) for at, item in reversed(list(enumerate(value))))
    return None


def _too_deep(what: str, limits: Limits) -> LimitError:
    return LimitError(f"The {what} is nested deeper than {limits.depth_max} levels.")


def _too_large(what: str, limits: Limits) -> LimitError:
    return LimitError(
        f"The {what} has more than {limits.nodes_max} values, counting each use of an alias."
    )


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        for key, _value in pairs:
            if key in seen:
                raise ValueError(f'the key "{key}" occurs twice in one object')
            seen.add(key)
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number that JSON knows")


def _unreadable(fault: yaml.YAMLError, what: str) -> DocumentError:
    mark = getattr(fault, "problem_mark", None)
    problem = getattr(fault, "problem", None) or str(fault).splitlines()[0]
    position = None if mark is None else Position(mark.line + 1, mark.column + 1)
    return DocumentError(f"Error parsing {what}: {problem}", position=position)


def _key_text(key: Any) -> str:
    """A scalar key as JSON writes it."""
    if isinstance(key, str):
        return key
    return json.dumps(key)


class _Builder:
    """Builds one document from a text's events, counting what it would expand to."""

    def __init__(self, text: str, what: str, limits: Limits) -> None:
        self.what = what
        self.limits = limits
        self.count = 0
        self.anchors: dict[str, tuple[Any, int, int]] = {}  # value, nodes, depth below
        self.open: set[str] = set()
        self.deepest = 0
        self.loader = BaseLoader(text)
        self.scalars: Any = yaml.SafeLoader("")  # resolves and constructs plain scalars

    def document(self) -> Any:
        """The only document of the text, None when there is none."""
        try:
            self.loader.get_event()  # start of stream
            if self.loader.check_event(yaml.StreamEndEvent):
                return None
            self.loader.get_event()  # start of document
            value = self.value(self.loader.get_event(), 1)
            self.loader.get_event()  # end of document
            if not self.loader.check_event(yaml.StreamEndEvent):
                raise self.fault("there is a second document in it", self.loader.peek_event())
            return value
        finally:
            self.loader.dispose()

    def fault(self, reason: str, event: Any) -> DocumentError:
        mark = event.start_mark
        return DocumentError(
            f"Error parsing {self.what}: {reason}",
            position=Position(mark.line + 1, mark.column + 1),
        )

    def add(self, nodes: int, depth: int) -> None:
        self.count += nodes
        self.deepest = max(self.deepest, depth)
        if depth > self.limits.depth_max:
            raise _too_deep(self.what, self.limits)
        if self.count > self.limits.nodes_max:
            raise _too_large(self.what, self.limits)

    def value(self, event: Any, depth: int) -> Any:
        """The value that begins with ``event``."""
        if isinstance(event, yaml.AliasEvent):
            return self.alias(event, depth)
        self.add(1, depth)
        anchor = event.anchor
        if anchor is not None:
            if anchor in self.anchors or anchor in self.open:
                raise self.fault(f"the anchor &{anchor} is defined twice", event)
            self.open.add(anchor)
        before, deepest = self.count, self.deepest
        self.deepest = depth
        value = self.fresh(event, depth)
        if anchor is not None:
            self.open.discard(anchor)
            self.anchors[anchor] = (value, self.count - before + 1, self.deepest - depth)
        self.deepest = max(self.deepest, deepest)
        return value

    def fresh(self, event: Any, depth: int) -> Any:
        if isinstance(event, yaml.ScalarEvent):
            return self.scalar(event)
        kind = "map" if isinstance(event, yaml.MappingStartEvent) else "seq"
        if event.tag not in {None, "!", TAG + kind}:
            raise self.fault(f"the tag {event.tag} is not allowed here", event)
        return self.mapping(depth) if kind == "map" else self.sequence(depth)

    def alias(self, event: Any, depth: int) -> Any:
        if event.anchor in self.open:
            raise self.fault(f"*{event.anchor} contains itself", event)
        if event.anchor not in self.anchors:
            raise self.fault(f"there is no anchor &{event.anchor} before this alias", event)
        value, nodes, below = self.anchors[event.anchor]
        self.add(nodes, depth + below)
        return value

    def scalar(self, event: Any) -> Any:
        if "\0" in event.value:
            raise self.fault(NUL, event)
        tag = event.tag
        if tag is None or tag == "!":
            tag = self.scalars.resolve(yaml.ScalarNode, event.value, event.implicit)
        if tag in AS_TEXT:
            return event.value
        construct = CONSTRUCTED.get(tag)
        if construct is None:
            raise self.fault(f"the tag {tag} is not allowed here", event)
        if len(event.value) > NUMBER_CHARS_MAX:
            raise self.fault(f"a number of {len(event.value)} characters is too long", event)
        node = yaml.ScalarNode(tag, event.value, event.start_mark, event.end_mark)
        try:
            value = getattr(self.scalars, construct)(node)
        except (ValueError, KeyError, OverflowError, IndexError):
            raise self.fault(f"{event.value[:80]!r} is no {tag.removeprefix(TAG)}", event) from None
        if isinstance(value, float) and not math.isfinite(value):
            raise self.fault(f"{event.value} is no number that JSON knows", event)
        return value

    def sequence(self, depth: int) -> list[Any]:
        items: list[Any] = []
        while not isinstance(event := self.loader.get_event(), yaml.SequenceEndEvent):
            items.append(self.value(event, depth + 1))
        return items

    def mapping(self, depth: int) -> dict[str, Any]:
        items: dict[str, Any] = {}
        merged: list[dict[str, Any]] = []
        while not isinstance(event := self.loader.get_event(), yaml.MappingEndEvent):
            merging = (
                isinstance(event, yaml.ScalarEvent)
                and event.value == "<<"
                and event.tag is None
                and event.implicit[0]
            )
            key = self.value(event, depth + 1)
            if is_map(key) or is_list(key):
                raise self.fault("a key must be a plain value", event)
            value = self.value(self.loader.get_event(), depth + 1)
            if merging:
                merged += self.merge(value, event)
                continue
            # the text as written, not `true` for `on` or 1.1 for 1.10
            name = event.value if isinstance(event, yaml.ScalarEvent) else _key_text(key)
            if name in items:
                raise self.fault(f'the key "{name}" occurs twice in one mapping', event)
            items[name] = value
        if not merged:
            return items
        return {key: item for one in reversed(merged) for key, item in one.items()} | items

    def merge(self, value: Any, event: Any) -> list[dict[str, Any]]:
        """What ``<<:`` brings in: a mapping, or a list of them of which the first wins."""
        maps: list[Any] = value if is_list(value) else [value]
        if not all(is_map(one) for one in maps):
            raise self.fault("<<: takes a mapping or a list of mappings", event)
        return maps


# ---- where something stands in a text -----------------------------------------------------------


def locate(text: str, path: Path) -> Position | None:
    """Where ``path`` stands in the text, or as much of it as is there. None for no YAML at all."""
    wanted = tuple(str(part) for part in path)
    best: tuple[int, Position | None] = (-1, None)
    try:
        for found, position in _places(text):
            depth = len(found)
            if depth > best[0] and found == wanted[:depth]:
                best = (depth, position)
                if depth == len(wanted):
                    break
    except yaml.YAMLError:
        return best[1]
    return best[1]


def _places(text: str) -> Iterator[tuple[tuple[str, ...], Position]]:
    """Every key and list item of the text with its path, aliases not followed."""
    path: list[str] = []
    counters: list[
        int
    ] = []  # of open collections: next index of a list; of a map -1: key, -2: value
    for event in parse_events(text, Loader=BaseLoader):
        if isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
            counters.pop()
            if counters and counters[-1] != -2:  # a key stays until its value ends
                path.pop()
            continue
        if not isinstance(event, yaml.NodeEvent):
            continue
        mark = event.start_mark
        position = Position(mark.line + 1, mark.column + 1)
        if not counters:
            yield (), position
        elif counters[-1] == -1:
            path.append(str(getattr(event, "value", "")))
            yield tuple(path), position
        elif counters[-1] >= 0:
            path.append(str(counters[-1]))
            yield tuple(path), position
        is_key = bool(counters) and counters[-1] == -1
        if counters:
            counters[-1] = {-1: -2, -2: -1}.get(counters[-1], counters[-1] + 1)
        if isinstance(event, yaml.CollectionStartEvent):
            counters.append(-1 if isinstance(event, yaml.MappingStartEvent) else 0)
        elif counters and not is_key:
            path.pop()


def as_document(
    source: str | Mapping[str, Any] | None, what: str, limits: Limits = DEFAULT_LIMITS
) -> dict[str, Any]:
    """A mapping from text or from what a request's JSON body held; None and empty are ``{}``.

    Raises: DocumentError, LimitError.
    """
    if source is None:
        return {}
    if isinstance(source, str):
        loaded = load_document(source, what, limits)
    else:
        loaded = dict(source)
        check_document(loaded, what, limits)
    if loaded is None:
        return {}
    if not is_map(loaded):
        raise DocumentError(f"The {what} is not a JSON object or YAML mapping.")
    return loaded
