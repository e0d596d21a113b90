"""What a worker says: never waited for, and not the same again and again."""

from __future__ import annotations

import io
import os
import sys
import warnings
from collections.abc import Iterator

import pytest

from holdfast.serving.workers import speech
from holdfast.serving.workers.speech import NEWLINE, Complaints, Pipe, Warnings


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    heard, said = os.pipe()
    os.set_blocking(said, False)
    os.set_blocking(heard, False)
    yield heard, said
    os.close(heard)
    os.close(said)


def test_a_pipe_that_is_full_holds_nobody_up_and_goes_on_with_whole_lines(pipe: tuple[int, int]):
    heard, said = pipe
    writer = Pipe(said)
    line = b"x" * 99 + b"\n"
    for _ in range(2000):
        assert writer.write(line * 3) == 300
    while len(os.read(heard, 1 << 20)) == 1 << 20:
        pass
    writer.write(b"after\n")
    assert os.read(heard, 100).strip() == b"after"


def test_nobody_who_reads_is_no_error():
    """Neither EPIPE nor SIGPIPE, which Python ignores, and the fork server's children too."""
    heard, said = os.pipe()
    os.close(heard)
    assert Pipe(said).write(b"nobody hears\n") == 13
    os.close(said)


class Rig:
    """Complaints on a clock of their own."""

    def __init__(self) -> None:
        self.now = 0.0
        self.told: list[str] = []
        self.complaints = Complaints(self.told.append, lambda: self.now)

    def fail(self, times: int = 1, error: type[Exception] = ValueError) -> None:
        for _ in range(times):
            try:
                raise error("bad")
            except Exception as found:
                self.complaints.note(found)


def test_exceptions_of_one_place_and_type_are_told_once_a_minute_and_counted():
    rig = Rig()
    rig.fail(100)
    assert len(rig.told) == 1
    assert rig.told[0].startswith("Traceback")
    assert rig.complaints.waiting
    rig.now = 59.0
    rig.complaints.tell()
    assert len(rig.told) == 1
    rig.now = 60.0
    rig.complaints.tell()
    assert "ValueError at " in rig.told[1]
    assert "99 more" in rig.told[1]
    assert not rig.complaints.waiting
    rig.fail(2)
    assert [text.startswith("Traceback") for text in rig.told] == [True, False, True]


def test_another_type_is_told_too():
    rig = Rig()
    rig.fail()
    rig.fail(error=KeyError)
    assert len(rig.told) == 2


def test_a_long_trace_goes_as_one_piece():
    rig = Rig()
    rig.fail(error=type("Ä" * 5000, (Exception,), {}))
    assert len(rig.told[0].encode()) < 4000


def test_an_exception_that_cannot_be_told_is_no_error():
    class OddError(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    Rig().fail(error=OddError)
    Complaints(lambda _: 1 / 0).note(ValueError())  # pyright: ignore[reportArgumentType]


def test_a_warning_is_shown_once_for_each_place(monkeypatch: pytest.MonkeyPatch):
    """Though ``catch_warnings`` makes Python forget what it has shown."""
    out = io.StringIO()
    monkeypatch.setattr(sys, "stderr", out)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        monkeypatch.setattr(warnings, "showwarning", Warnings().show)
        for _ in range(3):
            warnings.warn("first", stacklevel=1)
            warnings.warn("second", stacklevel=1)
    lines = out.getvalue().rstrip("\n").split("\n")
    assert [line.split(NEWLINE)[0].split(": ")[-1] for line in lines] == ["first", "second"]


def test_begin_lets_all_that_python_prints_go_to_the_pipe(pipe: tuple[int, int]):
    heard, said = pipe
    text = speech.text_to(said)
    print("one", file=text)
    print("half \ud800", file=text)
    assert os.read(heard, 100) == b"one\nhalf \\ud800\n"
