"""The query audit: a JSON line for each query (or a sample), written by a thread of its own.

The front never waits for the disk: what the thread cannot keep up with is dropped and counted.
Bodies, if they are wanted, are looked at by that thread, too, so that every line is sound JSON.
"""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, Final

import msgspec
import orjson

from holdfast.serving.front.shipping import Shipper
from holdfast.serving.settings import AuditSettings

_PENDING_MAX: Final = 100_000
_PENDING_BYTES_MAX: Final = 64 << 20  # of bodies
_PERIOD_S: Final = 0.2
_BODY_BYTES_MAX: Final = 64 << 10
_NAME_MAX: Final = 200
_NOBODY: Final = b'"key":null,'


class Audit:
    """Lines into ``queries.jsonl``, turned over by size."""

    def __init__(self, folder: Path, settings: AuditSettings) -> None:
        self.dropped = 0
        self.written = 0
        self.shipper: Shipper | None = None
        self._folder = folder
        self._settings = settings
        self._pending: deque[bytes | tuple[bytes, bytes, bytes]] = deque()
        self._noted_bytes = 0  # of bodies that wait, or waited: the front's count
        self._taken_bytes = 0  # of those that wait no more: the thread's
        self._stop = threading.Event()
        self._file: BinaryIO | None = None
        self._second = 0
        self._second_text = ""
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)  # it is not for the code of packages to read
        self._thread = threading.Thread(target=self._run, name="audit", daemon=True)
        if settings.enabled:
            if settings.ship:
                self.shipper = Shipper(settings.ship, settings.ship_authorization)
            self._thread.start()

    def note(
        self,
        who: bytes,
        where: bytes,
        action: str,
        status: int,
        spent_s: float,
        query: bytes,
        answer: bytes | None,
    ) -> None:
        """One query. ``who`` and ``where`` are members of a JSON object, made beforehand.

        ``answer``: none if neither body is to be written, whatever the settings say.
        """
        settings = self._settings
        if not settings.enabled:
            return
        if status < 400 and settings.sampling < 1.0 and random.random() >= settings.sampling:  # noqa: S311
            return
        if len(self._pending) >= _PENDING_MAX:
            self.dropped += 1
            return
        now = time.time()
        if int(now) != self._second:
            self._second = int(now)
            self._second_text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(self._second))
        millis = int((now - self._second) * 1000)
        head = (
            f'{{"time":"{self._second_text}.{millis:03d}Z","action":"{action}",'
            f'"status":{status},"ms":{spent_s * 1000:.3f},"bytes":{len(query)},'
        ).encode()
        if not settings.bodies or answer is None or len(query) + len(answer) >= _BODY_BYTES_MAX:
            self._pending.append(b"".join((head, who, where, b"}\n")))
            return
        size = len(query) + len(answer)
        if self._noted_bytes - self._taken_bytes + size > _PENDING_BYTES_MAX:
            self.dropped += 1
            return
        self._noted_bytes += size
        self._pending.append((b"".join((head, who, where)), query, answer))

    def note_refused(self, path: Sequence[str], status: int, query: bytes) -> None:
        """A query that reached no worker. ``path``: service, endpoint, action, as far as told."""
        if self._settings.enabled:
            told = [part[:_NAME_MAX] for part in (*path[:3], "", "", "")]
            names = msgspec.json.encode({"service": told[0], "endpoint": told[1]})[1:-1]
            action = msgspec.json.encode(told[2])[1:-1].decode()
            where = names + b',"generation":null'
            self.note(_NOBODY, where, action, status, 0.0, query, None)

    def close(self) -> None:
        """Write what is there, and end."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5)
        if self.shipper is not None:
            self.shipper.close()

    def _run(self) -> None:
        while True:
            last = self._stop.wait(_PERIOD_S)
            count = len(self._pending)
            if count:
                lines = [self._line(self._pending.popleft()) for _ in range(count)]
                if self.shipper is not None:
                    self.shipper.put(lines)
                try:
                    self._write(b"".join(lines))
                    self.written += count
                except OSError:
                    self.dropped += count
                    self._file = None
            if last:
                return

    def _line(self, noted: bytes | tuple[bytes, bytes, bytes]) -> bytes:
        if isinstance(noted, bytes):
            return noted
        head, query, answer = noted
        self._taken_bytes += len(query) + len(answer)
        return b'%b,"query":%b,"answer":%b}\n' % (head, _sound(query or b"{}"), _sound(answer))

    def _write(self, data: bytes) -> None:
        if self._file is None:
            self._file = (self._folder / "queries.jsonl").open("ab")
        self._file.write(data)
        self._file.flush()
        if self._file.tell() > self._settings.file_bytes_max:
            self._file.close()
            self._file = None
            self._turn_over()

    def _turn_over(self) -> None:
        current = self._folder / "queries.jsonl"
        for number in range(self._settings.files - 1, 0, -1):
            older = self._folder / f"queries.{number}.jsonl"
            newer = self._folder / f"queries.{number - 1}.jsonl" if number > 1 else current
            if newer.exists():
                newer.replace(older)
        if self._settings.files <= 1:
            current.unlink(missing_ok=True)


def _sound(body: bytes) -> bytes:
    """JSON on one line as it came; what is none (a bare NaN is not) as a string that holds it."""
    try:
        orjson.loads(body)
    except orjson.JSONDecodeError:
        return orjson.dumps(body.decode("utf-8", "backslashreplace"))
    return body.replace(b"\n", b" ").replace(b"\r", b" ")  # mere space, in sound JSON
