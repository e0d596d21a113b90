"""A worker's life: one frame says what to become, then batches in and answers out."""

from __future__ import annotations

import os
import signal
import socket
import struct
import sys
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from holdfast.errors import HoldfastError
from holdfast.serving.endpoints.base import Endpoint, Surroundings, decode, encode
from holdfast.serving.endpoints.loading import load, run_tests
from holdfast.serving.errors import QueryError, error_body
from holdfast.serving.packages.manifest import Service
from holdfast.serving.workers.frames import (
    FRAME_BYTES_MAX,
    Answers,
    Batch,
    Failed,
    FromWorker,
    Load,
    Ready,
    ToWorker,
    pack,
    unpack_query,
)
from holdfast.serving.workers.limits import allow_cpu, apply

_FLUSH_S: Final = 0.001  # an answer waits no longer than this for its batch-mates
_TRACE_CHARS_MAX: Final = 4000


def serve(line: socket.socket) -> None:
    """Until the front closes the line, or kills this process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal's Ctrl-C is for the front
    first = _receive(line)
    if not isinstance(first, Load):
        return
    try:
        endpoints = _become(first)
    except BaseException as error:  # noqa: BLE001 - user code may raise SystemExit, too
        traceback.print_exc()
        _send(line, Failed(_told(error)))
        return
    kinds = {name: (one.vectorised, list(one.actions)) for name, one in endpoints.items()}
    _send(line, Ready(kinds))
    context = _contexts(first.service, first.generation, endpoints)
    while (frame := _receive(line)) is not None:
        if isinstance(frame, Batch):
            allow_cpu(frame.cpu_s)
            endpoint = endpoints[frame.endpoint]
            work = _vectorised if endpoint.vectorised and len(frame.queries) > 1 else _one_by_one
            work(line, endpoint, frame, context[frame.endpoint])


def _become(told: Load) -> Mapping[str, Endpoint]:
    apply(told.limits, Path(told.scratch))
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


def _one_by_one(line: socket.socket, endpoint: Endpoint, batch: Batch, context: bytes) -> None:
    answers: list[tuple[int, int, bytes]] = []
    began = time.monotonic()
    last = len(batch.queries) - 1
    for at, (number, action, body) in enumerate(batch.queries):
        try:
            answer = endpoint.answer(action, decode(body))
        except BaseException as error:  # noqa: BLE001 - user code raises what it likes
            _say(error)
            answers.append((number, *error_body(error)))
        else:
            answers.append((number, *_body(answer, context)))
        if at != last and time.monotonic() - began > _FLUSH_S:
            _send(line, Answers(False, answers))
            answers = []
            began = time.monotonic()
    _send(line, Answers(True, answers))


def _vectorised(line: socket.socket, endpoint: Endpoint, batch: Batch, context: bytes) -> None:
    answers: list[tuple[int, int, bytes]] = []
    wanted: dict[str, list[tuple[int, Any]]] = {}
    for number, action, body in batch.queries:
        try:
            wanted.setdefault(action, []).append((number, decode(body)))
        except QueryError as error:
            answers.append((number, *error_body(error)))
    for action, queries in wanted.items():
        results = endpoint.answer_batch(action, [query for _, query in queries])
        for (number, _), result in zip(queries, results, strict=True):
            if isinstance(result, Exception):
                _say(result)
                answers.append((number, *error_body(result)))
            else:
                answers.append((number, *_body(result, context)))
    _send(line, Answers(True, answers))


def _body(answer: dict[str, Any], context: bytes) -> tuple[int, bytes]:
    try:
        return 200, encode(answer)[:-1] + context
    except (TypeError, ValueError, RecursionError) as error:
        return error_body(TypeError(f"The answer cannot be sent: {error}"))


def _say(error: BaseException) -> None:
    """For the author, in the node's log; clients get the message only."""
    if not isinstance(error, HoldfastError):
        text = "".join(traceback.format_exception(error))
        sys.stderr.write(text[-_TRACE_CHARS_MAX:])


def _told(error: BaseException) -> str:
    text = error.message if isinstance(error, HoldfastError) else str(error)
    return (text or type(error).__name__)[:_TRACE_CHARS_MAX]


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
