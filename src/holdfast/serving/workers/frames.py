"""Frames between front and worker: a length (4 bytes, little endian) and msgpack.

Bodies pass through as they came and as they go out: the front reads no JSON of a query.
"""

from __future__ import annotations

import struct
from typing import Final, TypeAlias

import msgspec

_LENGTH: Final = struct.Struct("<I")
FRAME_BYTES_MAX: Final = 1 << 30  # to a worker: a body, whose size the front bounds
HEAD_BYTES_MAX: Final = 1 << 20  # what a frame may have beside an answer; and before the first


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a worker may use, and as whom it runs (``user``; the node must be root for that).

    ``processes``: whether it may start others. ``readable``: files and folders that it may read
    beside the system's libraries and its package. ``answer_bytes``: of one answer, at most;
    ``scratch_bytes``: of all files in its folder.
    """

    memory_bytes: int = 4 << 30
    file_bytes: int = 256 << 20
    open_files: int = 256
    processes: bool = False
    user: str = ""
    niceness: int = 0
    readable: tuple[str, ...] = ()
    answer_bytes: int = 64 << 20
    scratch_bytes: int = 1 << 30
    threads: int = 256


class Load(msgspec.Struct, frozen=True, tag=1, array_like=True):
    """To a new worker: what to become. ``service`` is its description as JSON."""

    service: bytes
    generation: str
    content: str
    derived: str
    scratch: str
    allow_pickle: bool
    run_tests: bool
    connections: dict[str, str]
    limits: Limits


class Derive(msgspec.Struct, frozen=True, tag=6, array_like=True):
    """To a new worker: make what the service needs beside its files (indexes), and end.

    It runs nothing of the package, and leaves what it made in its scratch folder.
    """

    service: bytes
    content: str
    scratch: str
    limits: Limits


class Batch(msgspec.Struct, frozen=True, tag=2, array_like=True):
    """To a worker: queries of one endpoint; each is (number, action, body)."""

    endpoint: str
    cpu_s: int
    queries: list[tuple[int, str, bytes]]


class Ready(msgspec.Struct, frozen=True, tag=3, array_like=True):
    """From a worker: it serves (or has derived all).

    Endpoints with their actions, and whether they are vectorised.
    """

    endpoints: dict[str, tuple[bool, list[str]]]


class Failed(msgspec.Struct, frozen=True, tag=4, array_like=True):
    """From a worker: it could not load, and ends."""

    message: str


class Answers(msgspec.Struct, frozen=True, tag=5, array_like=True):
    """From a worker: (number, status, body) each; ``done`` when the batch is."""

    done: bool
    answers: list[tuple[int, int, bytes]]


ToWorker: TypeAlias = Load | Derive | Batch
FromWorker: TypeAlias = Ready | Failed | Answers

_encoder: Final = msgspec.msgpack.Encoder()
_from_worker: Final = msgspec.msgpack.Decoder(FromWorker)
_to_worker: Final = msgspec.msgpack.Decoder(ToWorker)


def pack(frame: ToWorker | FromWorker) -> bytes:
    """A frame's bytes, its length before them."""
    buffer = bytearray(4)
    _encoder.encode_into(frame, buffer, 4)
    _LENGTH.pack_into(buffer, 0, len(buffer) - 4)
    return bytes(buffer)


def unpack_query(data: bytes | memoryview) -> ToWorker:
    """What the front sent; raises ``msgspec.DecodeError``."""
    return _to_worker.decode(data)


def unpack_answer(data: bytes | memoryview) -> FromWorker:
    """What a worker sent; raises ``msgspec.DecodeError``: workers are not trusted."""
    return _from_worker.decode(data)


class Splitter:
    """Cuts a stream into frames. A length beyond ``bytes_max`` raises ``ValueError``."""

    def __init__(self, bytes_max: int) -> None:
        self.bytes_max = bytes_max
        self._buffer = bytearray()

    @property
    def between(self) -> bool:
        """Whether nothing of a next frame has come."""
        return not self._buffer

    def feed(self, data: bytes) -> list[bytes]:
        """The frames that are complete now."""
        if not self._buffer and len(data) >= 4:  # nearly always: one frame at a time
            (length,) = _LENGTH.unpack_from(data)
            if len(data) == length + 4 <= self.bytes_max + 4:
                return [data[4:]]
        self._buffer += data
        frames: list[bytes] = []
        at = 0
        while len(self._buffer) - at >= 4:
            (length,) = _LENGTH.unpack_from(self._buffer, at)
            if length > self.bytes_max:
                raise ValueError(f"a frame of {length} bytes")
            if len(self._buffer) - at - 4 < length:
                break
            frames.append(bytes(self._buffer[at + 4 : at + 4 + length]))
            at += 4 + length
        del self._buffer[:at]
        return frames
