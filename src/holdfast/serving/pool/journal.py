"""What workers write to their stdout and stderr, as lines of the node's log, in measure.

::

    worker --pipe--> Output (lines) --> Voice (a service: so many) --> Journal (a thread) --> log

Nobody waits for anybody: a worker loses what does not fit into its pipe, a pipe whose service has
said enough is read seldom, and what the log cannot keep up with is dropped and counted.
"""

from __future__ import annotations

import asyncio
import os
import queue
import threading
from collections.abc import Callable
from typing import Any, Final, Protocol, cast
from weakref import WeakValueDictionary

import msgspec
import structlog

from holdfast.serving.workers.speech import NEWLINE

log = structlog.get_logger(__name__)

LINES_PER_S: Final = 20.0
BURST_LINES: Final = 200
LINE_BYTES_MAX: Final = 4000
REPORT_S: Final = 5.0
_LINE_BYTES: Final = 200  # a longer line counts as several
_PAUSE_S: Final = 0.05  # between looks at a pipe whose service has said enough
_LAST_WORDS_S: Final = 1.0  # for what is still in the pipe of a worker that has ended
_PENDING_MAX: Final = 1000
_CLOSE_S: Final = 2.0
# A terminal shall not obey what a package's code has written.
_CONTROLS: Final = {
    code: f"\\x{code:02x}" for code in (*range(32), *range(0x7F, 0xA0)) if chr(code) not in "\t\n"
}


class Entry(msgspec.Struct, frozen=True):
    """For the log: a ``line`` of a worker; or none, and how many were ``dropped``."""

    service: str
    generation: str = ""
    pid: int = 0
    line: str = ""
    dropped: int = 0


class Loop(Protocol):
    """What is needed of asyncio's: its clock, seconds, and timers."""

    def time(self) -> float: ...
    def call_later(self, delay: float, callback: Callable[[], None], /) -> Any: ...


class Voice:
    """How much a service may say: shared by all its workers. ``put``: whether the log took it."""

    def __init__(self, service: str, put: Callable[[Entry], bool], loop: Loop) -> None:
        self._service = service
        self._put = put
        self._loop = loop
        self._left = float(BURST_LINES)
        self._seen_s = loop.time()
        self._dropped = 0

    @property
    def spent(self) -> bool:
        """Whether it has said enough for now."""
        now = self._loop.time()
        self._left = min(BURST_LINES, self._left + LINES_PER_S * (now - self._seen_s))
        self._seen_s = now
        return self._left < 1

    def say(self, generation: str, pid: int, line: bytes) -> None:
        """Log a line, if it may."""
        if self.spent:
            self.drop(1)
            return
        self._left -= 1 + len(line) // _LINE_BYTES
        cut = "" if len(line) <= LINE_BYTES_MAX else " (cut)"
        text = line[:LINE_BYTES_MAX].decode("utf-8", "backslashreplace").replace(NEWLINE, "\n")
        text = text.translate(_CONTROLS) + cut
        if not self._put(Entry(self._service, generation, pid, text)):
            self.drop(1)

    def drop(self, count: int) -> None:
        """So many were not logged, which is told a little later."""
        if not self._dropped:
            self._loop.call_later(REPORT_S, self.report)
        self._dropped += count

    def report(self) -> None:
        """Tell how many were dropped."""
        dropped, self._dropped = self._dropped, 0
        if dropped and not self._put(Entry(self._service, dropped=dropped)):
            self.drop(dropped)


class Output(asyncio.Protocol):
    """The pipe of one worker. ``pid`` is told before it can write anything."""

    def __init__(self, voice: Voice, generation: str) -> None:
        self.pid = 0
        self.voice = voice
        self._generation = generation
        self._begun = b""  # of a line whose end has not come; what is too long of it is thrown away
        self._transport: asyncio.ReadTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.ReadTransport", transport)

    def data_received(self, data: bytes) -> None:
        at = 0
        while (end := data.find(b"\n", at)) >= 0:
            if self.voice.spent:
                self.voice.drop(data.count(b"\n", at))
                self._begun = b""
                at = data.rindex(b"\n") + 1
                break
            self.voice.say(self._generation, self.pid, self._begun + data[at:end])
            self._begun = b""
            at = end + 1
        self._begun += data[at : at + LINE_BYTES_MAX + 1 - len(self._begun)]
        if self.voice.spent and self._transport is not None:
            self._transport.pause_reading()
            asyncio.get_running_loop().call_later(_PAUSE_S, self._go_on)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._begun:
            self.voice.say(self._generation, self.pid, self._begun)

    def end(self) -> None:
        """Its worker has ended: read what is there, and close. Others may hold it open."""
        asyncio.get_running_loop().call_later(_LAST_WORDS_S, self.abort)

    def abort(self) -> None:
        """Close it now."""
        if self._transport is not None:
            self._transport.close()

    def _go_on(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()


class Journal:
    """Writes what services say, by a thread: the log's disk or reader may be slow."""

    def __init__(self) -> None:
        self._voices: WeakValueDictionary[str, Voice] = WeakValueDictionary()
        self._pending: queue.Queue[Entry | None] = queue.Queue(_PENDING_MAX)
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)

    async def listen(self, fd: int, service: str, generation: str) -> Output:
        """Read a pipe, which is ours from now on, until its other end is closed."""
        if self._thread.ident is None:
            self._thread.start()
        loop = asyncio.get_running_loop()
        voice = self._voices.get(service)
        if voice is None:
            voice = self._voices[service] = Voice(service, self._put, loop)
        output = Output(voice, generation)
        await loop.connect_read_pipe(lambda: output, os.fdopen(fd, "rb", 0))
        return output

    async def close(self) -> None:
        """Write what is there, and end."""
        for voice in list(self._voices.values()):
            voice.report()
        await asyncio.to_thread(self._end)

    def _end(self) -> None:
        if self._thread.is_alive():
            try:
                self._pending.put(None, timeout=_CLOSE_S)
            except queue.Full:
                return  # nobody reads the log
            self._thread.join(_CLOSE_S)

    def _put(self, entry: Entry) -> bool:
        try:
            self._pending.put_nowait(entry)
        except queue.Full:
            return False
        return True

    def _run(self) -> None:
        while (entry := self._pending.get()) is not None:
            try:
                _write(entry)
            except OSError:
                continue  # the log's disk is full; the next line may fit


def _write(entry: Entry) -> None:
    if entry.dropped:
        text = f"{entry.dropped} lines dropped"
        log.warning("worker.said_too_much", service=entry.service, line=text)
    else:
        log.info(
            "worker.said",
            service=entry.service,
            generation=entry.generation,
            pid=entry.pid,
            line=entry.line,
        )
