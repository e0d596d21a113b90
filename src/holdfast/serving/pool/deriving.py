"""What a generation needs beside its package's files, made by a worker that runs no package."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import stat
import tempfile
from pathlib import Path
from typing import Final

import msgspec

from holdfast.serving.errors import LoadError
from holdfast.serving.packages.manifest import Service
from holdfast.serving.pool.scratch import remove
from holdfast.serving.pool.spawner import Spawner
from holdfast.serving.workers.frames import (
    HEAD_BYTES_MAX,
    Derive,
    Failed,
    Ready,
    Splitter,
    pack,
    unpack_answer,
)

DERIVE_S: Final = 300.0
_CHUNK_BYTES: Final = 1 << 16


async def derive(spawner: Spawner, told: Derive) -> Path:
    """A new folder with it, which workers may read and the caller removes; raises ``LoadError``."""
    process = await spawner.spawn(msgspec.json.decode(told.service, type=Service).id)
    try:
        async with asyncio.timeout(DERIVE_S):
            await _done(process.line, msgspec.structs.replace(told, scratch=str(process.scratch)))
        return await asyncio.to_thread(_take, process.scratch, spawner.scratch)
    except TimeoutError:
        raise LoadError(f"No index was made within {DERIVE_S:g} s.") from None
    finally:
        process.kill()
        process.close()
        process.line.close()
        await asyncio.to_thread(remove, process.scratch)


async def _done(line: socket.socket, told: Derive) -> None:
    """Until the worker has said so, and has ended."""
    loop = asyncio.get_running_loop()
    splitter = Splitter(HEAD_BYTES_MAX)
    frames: list[bytes] = []
    try:
        await loop.sock_sendall(line, pack(told))
        while data := await loop.sock_recv(line, _CHUNK_BYTES):
            frames += splitter.feed(data)
        answers = [unpack_answer(frame) for frame in frames]
    except (OSError, ValueError, msgspec.DecodeError) as error:
        raise LoadError(f"The worker that makes indexes failed: {error!r}.") from None
    if len(answers) != 1 or not isinstance(answers[0], Ready):
        why = answers[0].message if answers and isinstance(answers[0], Failed) else "it died"
        raise LoadError(f"The indexes cannot be made: {why}")


def _take(made: Path, scratch: Path) -> Path:
    """The files, as the node's own: workers only read them, whoever they are."""
    target = Path(tempfile.mkdtemp(prefix="derived-", dir=scratch))
    for path in made.iterdir():
        if stat.S_ISREG(path.lstat().st_mode):
            moved = target / path.name
            shutil.move(path, moved)
            os.chown(moved, os.geteuid(), os.getegid())
            moved.chmod(0o444)
    target.chmod(0o755)
    return target
