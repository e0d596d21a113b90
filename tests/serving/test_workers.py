"""Between front and worker: frames, whole and in pieces, and a limit that is one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.serving.workers.frames import (
    FRAME_BYTES_MAX,
    Answers,
    Batch,
    Failed,
    Ready,
    Splitter,
    pack,
    unpack_answer,
    unpack_query,
)

FRAMES = [
    Answers(True, [(1, 200, b"{}"), (2, 500, b"")]),
    Failed("no"),
    Ready({"a": (True, ["predict"])}),
    Answers(False, []),
]


def test_a_frame_is_read_as_it_was_written():
    batch = Batch("add", 10, [(1, "run", b'{"a":1}'), (2, "run", b"")])
    (data,) = Splitter(FRAME_BYTES_MAX).feed(pack(batch))
    assert unpack_query(data) == batch


@given(st.lists(st.integers(min_value=1, max_value=40), min_size=1, max_size=60))
def test_frames_are_found_however_the_stream_is_cut(cuts: list[int]):
    stream = b"".join(pack(frame) for frame in FRAMES)
    splitter = Splitter(FRAME_BYTES_MAX)
    found: list[bytes] = []
    at = 0
    for size in cuts:
        found += splitter.feed(stream[at : at + size])
        at += size
    found += splitter.feed(stream[at:])
    assert [unpack_answer(data) for data in found] == FRAMES


def test_a_frame_beyond_the_bound_is_not_waited_for():
    with pytest.raises(ValueError, match="a frame of"):
        Splitter(FRAME_BYTES_MAX).feed((FRAME_BYTES_MAX + 1).to_bytes(4, "little") + b"x")
