"""How much of what workers say is logged."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Any

from holdfast.serving.pool.journal import (
    BURST_LINES,
    LINE_BYTES_MAX,
    LINES_PER_S,
    REPORT_S,
    Entry,
    Journal,
    Output,
    Voice,
)


class Rig:
    """A service's voice, and a worker's pipe, on a clock of their own."""

    def __init__(self) -> None:
        self.now = 0.0
        self.timers: list[tuple[float, Callable[[], None]]] = []
        self.logged: list[Entry] = []
        self.full = False
        self.voice = Voice("s", self.put, self)
        self.output = Output(self.voice, "g")
        self.output.pid = 7

    def time(self) -> float:
        return self.now

    def call_later(self, delay: float, callback: Callable[[], None], /) -> Any:
        self.timers.append((self.now + delay, callback))

    def put(self, entry: Entry) -> bool:
        if not self.full:
            self.logged.append(entry)
        return not self.full

    def passes(self, seconds: float) -> None:
        self.now += seconds
        due = [one for one in self.timers if one[0] <= self.now]
        self.timers = [one for one in self.timers if one[0] > self.now]
        for _, callback in due:
            callback()

    def lines(self) -> list[str]:
        return [entry.line for entry in self.logged]


def test_a_line_is_logged_however_it_comes():
    rig = Rig()
    for piece in (b"on", b"e\ntw", b"o\n", b"thr\x1eee"):
        rig.output.data_received(piece)
    rig.output.connection_lost(None)
    assert rig.logged == [Entry("s", "g", 7, line) for line in ("one", "two", "thr\nee")]


def test_a_service_may_say_so_many_lines_and_the_rest_is_counted():
    rig = Rig()
    rig.output.data_received(b"x\n" * 10_000)
    assert len(rig.logged) == BURST_LINES
    rig.passes(REPORT_S)
    assert rig.logged[-1] == Entry("s", dropped=10_000 - BURST_LINES)
    rig.output.data_received(b"x\n" * 10_000)
    assert len(rig.logged) == BURST_LINES + 1 + int(LINES_PER_S * REPORT_S)


def test_what_is_dropped_is_told_once_and_not_again():
    rig = Rig()
    rig.voice.drop(3)
    rig.voice.drop(4)
    rig.passes(REPORT_S)
    rig.passes(REPORT_S)
    assert rig.logged == [Entry("s", dropped=7)]


def test_a_line_without_an_end_is_cut_and_not_kept():
    rig = Rig()
    for _ in range(1000):
        rig.output.data_received(b"y" * 65_536)
    rig.output.data_received(b"\nnext\n")
    first, second = rig.lines()
    assert (first, second) == ("y" * LINE_BYTES_MAX + " (cut)", "next")


def test_long_lines_count_as_several():
    rig = Rig()
    rig.output.data_received((b"y" * 2000 + b"\n") * 100)
    assert len(rig.logged) == 19


def test_a_terminal_does_not_obey_what_a_package_writes():
    rig = Rig()
    rig.output.data_received(b"\x1b]0;x\x07\tok \xff\xc2\x9b\n")
    assert rig.lines() == ["\\x1b]0;x\\x07\tok \\xff\\x9b"]


def test_what_the_log_does_not_take_is_counted():
    rig = Rig()
    rig.full = True
    rig.output.data_received(b"a\nb\n")
    rig.full = False
    rig.passes(REPORT_S)
    assert rig.logged == [Entry("s", dropped=2)]


def test_workers_of_a_service_share_what_it_may_say():
    async def check() -> None:
        journal = Journal()
        pipes = [os.pipe() for _ in range(3)]
        outputs = [
            await journal.listen(heard, service, "g")
            for (heard, _), service in zip(pipes, ("a", "a", "b"), strict=True)
        ]
        voices = [output.voice for output in outputs]
        assert voices[0] is voices[1]
        assert voices[0] is not voices[2]
        for _, said in pipes:
            os.close(said)
        for output in outputs:
            output.abort()
        await journal.close()

    asyncio.run(check())
