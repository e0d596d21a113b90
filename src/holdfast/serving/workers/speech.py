"""What a worker writes to its stdout and stderr: a pipe that the node reads, never waited for.

A line that has newlines within is sent with U+001E in their place, so that the node logs it as one.
What does not fit into the pipe is lost: a worker that writes more than is read goes on.
"""

from __future__ import annotations

import contextlib
import io
import math
import os
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from typing import Any, Final, TextIO

from holdfast.serving.errors import encodable

NEWLINE: Final = "\x1e"
_TRACE_BYTES_MAX: Final = 3900  # below PIPE_BUF with what is around it: it goes whole, or not
_PERIOD_S: Final = 60.0
_PLACES_MAX: Final = 1000


class Pipe(io.RawIOBase):
    """A descriptor that does not block, written without an error whatever becomes of it."""

    def __init__(self, fd: int) -> None:
        super().__init__()
        self._fd = fd
        self._torn = False  # whether only a part of what was last written went

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._fd

    def write(self, data: Any, /) -> int:
        size = len(data)
        whole = b"\n" + bytes(data) if self._torn else data
        with contextlib.suppress(OSError):  # it is full, or nobody reads it any more
            self._torn = os.write(self._fd, whole) < len(whole)
        return size


def begin() -> None:
    """Let Python's stdout and stderr go to the pipe, which is descriptors 1 and 2."""
    sys.stdout = sys.__stdout__ = text_to(1)
    sys.stderr = sys.__stderr__ = text_to(2)
    warnings.showwarning = Warnings().show


def text_to(fd: int) -> TextIO:
    """Text to a pipe, a line at a time."""
    binary = io.BufferedWriter(Pipe(fd))
    return io.TextIOWrapper(binary, "utf-8", errors="backslashreplace", line_buffering=True)


class Warnings:
    """Python's warnings, of each place once.

    Its own memory of them is emptied by every ``catch_warnings``, which libraries do all the time.
    """

    def __init__(self) -> None:
        self._seen: set[tuple[str, int, str]] = set()

    def show(
        self,
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        """As ``warnings.showwarning``."""
        place = (filename, lineno, category.__name__)
        if file is None and (place in self._seen or len(self._seen) >= _PLACES_MAX):
            return
        self._seen.add(place)
        text = warnings.formatwarning(message, category, filename, lineno, line)
        with contextlib.suppress(Exception):  # sys.stderr is the author's
            _write(text, file)


class Complaints:
    """Exceptions of user code: for each place and type one a minute, and how many more."""

    def __init__(
        self,
        write: Callable[[str], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._write = write or _write
        self._clock = clock
        self._until: dict[tuple[str, str, int], float] = {}
        self._more: dict[tuple[str, str, int], int] = {}
        self._due = math.inf

    def note(self, error: BaseException) -> None:
        """Write it, or count it."""
        with contextlib.suppress(Exception):  # its text, and sys.stderr, are the author's
            now = self._clock()
            self.tell(now)
            place = _place(error)
            if place in self._until:
                self._more[place] = self._more.get(place, 0) + 1
                return
            if len(self._until) >= _PLACES_MAX:
                self._until.clear()
            self._until[place] = now + _PERIOD_S
            self._due = min(self._due, now + _PERIOD_S)
            text = "".join(traceback.format_exception(error))
            self._write(encodable(text).encode()[-_TRACE_BYTES_MAX:].decode(errors="replace"))

    @property
    def waiting(self) -> bool:
        """Whether something was counted, and is still to be told."""
        return bool(self._more)

    def tell(self, now: float | None = None) -> None:
        """Of those whose minute is over: how many more there were."""
        now = self._clock() if now is None else now
        if now < self._due:
            return
        for place in [place for place, until in self._until.items() if until <= now]:
            del self._until[place]
            more = self._more.pop(place, 0)
            if more:
                kind, file, line = place
                self._write(f"{kind} at {file}:{line}: {more} more since it was told.")
        self._due = min(self._until.values(), default=math.inf)


def _place(error: BaseException) -> tuple[str, str, int]:
    """(type, file, line): where it was raised."""
    at = error.__traceback__
    if at is None:
        return type(error).__qualname__, "?", 0
    while at.tb_next is not None:
        at = at.tb_next
    return type(error).__qualname__, at.tb_frame.f_code.co_filename, at.tb_lineno


def _write(text: str, file: TextIO | None = None) -> None:
    (file or sys.stderr).write(text.rstrip("\n").replace("\n", NEWLINE) + "\n")
