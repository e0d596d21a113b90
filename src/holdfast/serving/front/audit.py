"""The query audit: a JSON line for each query (or a sample), written by a thread of its own.

The front never waits for the disk: what the thread cannot keep up with is dropped and counted.
"""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from pathlib import Path
from typing import BinaryIO, Final

from holdfast.serving.front.shipping import Shipper
from holdfast.serving.settings import AuditSettings

_PENDING_MAX: Final = 100_000
_PERIOD_S: Final = 0.2
_BODY_BYTES_MAX: Final = 64 << 10


class Audit:
    """Lines into ``queries.jsonl``, turned over by size."""

    def __init__(self, folder: Path, settings: AuditSettings) -> None:
        self.dropped = 0
        self.written = 0
        self.shipper: Shipper | None = None
        self._folder = folder
        self._settings = settings
        self._pending: deque[bytes] = deque()
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
        answer: bytes,
    ) -> None:
        """One query. ``who`` and ``where`` are members of a JSON object, made beforehand."""
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
        tail = b"}\n"
        if settings.bodies and status == 200 and len(query) + len(answer) < _BODY_BYTES_MAX:
            # Newlines in sound JSON are mere space, and the answer says that the query was sound.
            tail = b',"query":%b,"answer":%b}\n' % (query.replace(b"\n", b" ") or b"{}", answer)
        self._pending.append(b"".join((head, who, where, tail)))

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
                lines = [self._pending.popleft() for _ in range(count)]
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
