"""Structured logs on standard error (or a file): JSON lines, or for people when it is a terminal.

Whatever is logged passes a filter that hides secrets, by the name of the key. It is
the last line of defence: nothing is supposed to log one (security.md, "BMC credentials").
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any, Final, TextIO, cast

import orjson
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from holdfast.ops.settings import LogSettings

HIDDEN: Final = "(hidden)"
TEXT_MAX: Final = 4000  # a limit on everything: no field of a line is longer

_SECRET_KEYS = re.compile(
    r"(?i)password|passwd|secret|token$|authorization|api_?key|private_?key|master_?key|sealed"
    r"|x-auth|cookie|credential"
)
_URL_USER = re.compile(r"(?<=://)[^/\s:@]*:[^/\s@]*(?=@)")

_LEVELS: Final = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}


def configure(settings: LogSettings, file: TextIO | None = None, **context: str) -> None:
    """Set logging up for this process; ``context`` (role, slot) is on every line."""
    stream = file or sys.stderr
    human = settings.format == "console" or (settings.format == "auto" and stream.isatty())
    level = _LEVELS[settings.level]
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        redact,
    ]
    renderer: Processor = structlog.dev.ConsoleRenderer() if human else _render
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(file=stream),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(**context)
    _route_stdlib(stream, shared, renderer, level)


def _route_stdlib(stream: TextIO, shared: list[Processor], renderer: Processor, level: int) -> None:
    """What libraries log goes the same way; chatter below a warning only when debugging."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level if level == logging.DEBUG else max(level, logging.WARNING))


def redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Hide values by their key, credentials in URLs, and the tail of what is too long."""
    return cast("EventDict", _clean_mapping(event))


def _clean_mapping(mapping: MutableMapping[str, Any]) -> dict[str, Any]:
    return {
        key: HIDDEN if _SECRET_KEYS.search(str(key)) and value else _clean(value)
        for key, value in mapping.items()
    }


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        text = _URL_USER.sub(HIDDEN, value) if "://" in value else value
        return text if len(text) <= TEXT_MAX else f"{text[:TEXT_MAX]}… ({len(text)} characters)"
    if isinstance(value, dict):
        return _clean_mapping(cast("dict[str, Any]", value))
    if isinstance(value, list | tuple):
        return [_clean(item) for item in cast("list[Any]", value)]
    return value


def _render(_logger: WrappedLogger, _method: str, event: EventDict) -> str:
    return orjson.dumps(event, default=repr, option=orjson.OPT_NON_STR_KEYS).decode()
