"""A worker's life: one frame says what to become, then batches in and answers out."""

from __future__ import annotations

import os
import signal
import socket
import struct
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import msgspec

from holdfast.errors import HoldfastError
from holdfast.serving.endpoints.base import Endpoint, Surroundings, decode, encode
from holdfast.serving.endpoints.loading import derive, load, run_tests
from holdfast.serving.errors import (
    AnswerTooLargeError,
    QueryError,
    error_body,
    text_of,
)
from holdfast.serving.packages.manifest import Service
from holdfast.serving.workers.frames import (
    FRAME_BYTES_MAX,
    Answers,
    Batch,
    Derive,
    Failed,
    FromWorker,
    Load,
    Ready,
    ToWorker,
    pack,
    unpack_query,
)
from holdfast.serving.workers.limits import allow_cpu, apply
from holdfast.serving.workers.speech import Complaints, begin

_FLUSH_S: Final = 0.001  # an answer waits no longer than this for its batch-mates
_complaints: Final = Complaints()


def serve(line: socket.socket) -> None:
    """Until the front closes the line, or kills this process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal's Ctrl-C is for the front
    begin()
    first = _receive(line)
    if isinstance(first, Derive):
        _derive(line, first)
    if not isinstance(first, Load):
        return
    try:
        endpoints = _become(first)
    except BaseException as error:  # noqa: BLE001 - user code may raise SystemExit, too
        _say(error)
        _send(line, Failed(text_of(error)))
        return
    kinds = {name: (one.vectorised, list(one.actions)) for name, one in endpoints.items()}
    _send(line, Ready(kinds))
    context = _contexts(first.service, first.generation, endpoints)
    while (frame := _receive(line)) is not None:
        if isinstance(frame, Batch):
            allow_cpu(frame.cpu_s)
            if _complaints.waiting:
                _complaints.tell()
            endpoint = endpoints[frame.endpoint]
            work = _vectorised if endpoint.vectorised and len(frame.queries) > 1 else _one_by_one
            answering = _Answering(line, context[frame.endpoint], first.limits.answer_bytes)
            work(endpoint, frame, answering)
            answering.end()


def _derive(line: socket.socket, told: Derive) -> None:
    try:
        apply(told.limits, Path(told.scratch), [Path(told.content)])
        service = msgspec.json.decode(told.service, type=Service)
        derive(service, Path(told.content), Path(told.scratch))
    except BaseException as error:  # noqa: BLE001 - whatever it is, the front is told
        _say(error)
        _send(line, Failed(text_of(error)))
    else:
        _send(line, Ready({}))


def _become(told: Load) -> Mapping[str, Endpoint]:
    apply(
        told.limits,
        Path(told.scratch),
        [Path(told.content), *([Path(told.derived)] if told.derived else [])],
        unix_sockets=any(map(_is_unix, told.connections.values())),
    )
    sys.dont_write_bytecode = True
    service = msgspec.json.decode(told.service, type=Service)
    allow_cpu(max(60, service.pool.timeout_ms // 1000))
    around = Surroundings(
        content=Path(told.content),
        derived=Path(told.derived),
        allow_pickle=told.allow_pickle,
        connections=told.connections,
    )
    endpoints = load(service, around)
    if told.run_tests:
        run_tests(service, endpoints)
    return endpoints


def _is_unix(url: str) -> bool:
    """Whether a database's URL has no host, or a path for one."""
    host = urlsplit(url).hostname or ""
    return not host or unquote(host).startswith("/")


def _contexts(
    service: bytes, generation: str, endpoints: Mapping[str, Endpoint]
) -> dict[str, bytes]:
    """The end of every answer of an endpoint: which service and generation gave it."""
    name = msgspec.json.decode(service, type=Service).id
    return {
        endpoint: b',"apiContext":'
        + encode({"serviceId": name, "endpointId": endpoint, "serviceGeneration": generation})
        + b"}"
        for endpoint in endpoints
    }


class _Answering:
    """The answers of a batch, sent in as many frames as it takes."""

    def __init__(self, line: socket.socket, context: bytes, bytes_max: int) -> None:
        self._line = line
        self._context = context
        self._bytes_max = bytes_max
        self._ready: list[tuple[int, int, bytes]] = []
        self._size = 0
        self._began = time.monotonic()

    def give(self, number: int, answer: Any) -> None:
        """One answer, or the exception instead of it."""
        status, body = self._encoded(answer)
        if self._ready and self._size + len(body) > self._bytes_max:
            self._send(done=False)
        self._ready.append((number, status, body))
        self._size += len(body)

    def flush_old(self) -> None:
        """Send what has waited for a while."""
        if time.monotonic() - self._began > _FLUSH_S:
            self._send(done=False)

    def end(self) -> None:
        self._send(done=True)

    def _encoded(self, answer: Any) -> tuple[int, bytes]:
        if isinstance(answer, BaseException):
            _say(answer)
            return error_body(answer)
        try:
            body = encode(answer)[:-1] + self._context
        except BaseException as error:  # noqa: BLE001 - an author's type may raise what it likes
            return error_body(TypeError(f"The answer cannot be sent: {text_of(error)}"))
        if len(body) <= self._bytes_max:
            return 200, body
        return error_body(
            AnswerTooLargeError(
                f"The answer has {len(body)} bytes, and {self._bytes_max} may be sent: ask for "
                "less at once, or raise answer_bytes under [workers.limits] of the node."
            )
        )

    def _send(self, *, done: bool) -> None:
        _send(self._line, Answers(done, self._ready))
        self._ready = []
        self._size = 0
        self._began = time.monotonic()


def _one_by_one(endpoint: Endpoint, batch: Batch, answering: _Answering) -> None:
    last = len(batch.queries) - 1
    for at, (number, action, body) in enumerate(batch.queries):
        try:
            answer = endpoint.answer(action, decode(body))
        except BaseException as error:  # noqa: BLE001 - user code raises what it likes
            answer = error
        answering.give(number, answer)
        if at != last:
            answering.flush_old()


def _vectorised(endpoint: Endpoint, batch: Batch, answering: _Answering) -> None:
    wanted: dict[str, list[tuple[int, Any]]] = {}
    for number, action, body in batch.queries:
        try:
            wanted.setdefault(action, []).append((number, decode(body)))
        except QueryError as error:
            answering.give(number, error)
    for action, queries in wanted.items():
        results = _together(endpoint, action, [query for _, query in queries])
        for (number, _), result in zip(queries, results, strict=True):
            answering.give(number, result)


def _together(endpoint: Endpoint, action: str, queries: list[Any]) -> list[Any]:
    """Answers, or exceptions instead of them; who makes a model end the process fails alone."""
    try:
        return endpoint.answer_batch(action, queries)
    except BaseException as error:  # noqa: BLE001 - an author's class may raise SystemExit
        if len(queries) == 1:
            return [error]
        return [one for query in queries for one in _together(endpoint, action, [query])]


def _say(error: BaseException) -> None:
    """For the author, in the node's log; clients get the message only."""
    if not isinstance(error, HoldfastError):
        _complaints.note(error)


def _send(line: socket.socket, frame: FromWorker) -> None:
    try:
        line.sendall(pack(frame))
    except OSError:
        os._exit(0)  # the front is gone


def _receive(line: socket.socket) -> ToWorker | None:
    head = _exactly(line, 4)
    if head is None:
        return None
    (length,) = struct.unpack("<I", head)
    if length > FRAME_BYTES_MAX:
        return None
    data = _exactly(line, length)
    return None if data is None else unpack_query(data)


def _exactly(line: socket.socket, size: int) -> bytes | None:
    """So many bytes; nothing when the front is gone."""
    try:
        data = line.recv(size, socket.MSG_WAITALL)
        while len(data) < size:
            more = line.recv(size - len(data), socket.MSG_WAITALL) if data or size else b""
            if not more:
                return None
            data += more
    except OSError:
        return None
    return data
