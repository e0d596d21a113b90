"""What the simulated processes log: nothing is written, but a logged exception is a breach.

A process that logs an exception and carries on has met a bug; production would show
it to an operator, so the simulator shows it to the referee.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, MutableMapping
from contextlib import contextmanager
from logging import ERROR
from typing import Any

import structlog


@contextmanager
def overheard(breach: Callable[[str], None]) -> Generator[None, None, None]:
    """Within, structlog is silent and every logged exception goes to ``breach``."""

    def listen(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> Any:
        if event.get("exc_info"):
            fault = sys.exc_info()[1]
            breach(f"{event['event']}: {type(fault).__name__}: {fault}")
        raise structlog.DropEvent

    before = structlog.get_config()
    structlog.configure(
        processors=[listen], wrapper_class=structlog.make_filtering_bound_logger(ERROR)
    )
    try:
        yield
    finally:
        structlog.configure(**before)
