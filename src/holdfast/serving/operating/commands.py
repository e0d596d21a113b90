"""The operator's own commands: how a node is stopped, upgraded and started is theirs to say."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import signal
from typing import Final
from urllib.parse import urlsplit

from holdfast.errors import UnavailableError

_TOLD_BYTES: Final = 1000
_OUTPUT_S: Final = 0.5


def argv_of(template: str, url: str, zone: str, *, shell: bool) -> list[str]:
    """Words to run. ``{host}``, ``{port}``, ``{url}`` and ``{zone}`` are the node's.

    Words are split first and filled in then, so that nothing of a node is read as more words;
    for a shell they are quoted.
    """
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    values = {"host": parts.hostname or "", "port": str(port), "url": url, "zone": zone}

    def filled(text: str, *, quoted: bool) -> str:
        for name, value in values.items():
            text = text.replace(f"{{{name}}}", shlex.quote(value) if quoted else value)
        return text

    if shell:
        return ["/bin/sh", "-c", filled(template, quoted=True)]
    return [filled(word, quoted=False) for word in shlex.split(template)]


async def run(argv: list[str], timeout_s: float) -> None:
    """Run it to its end; raises ``UnavailableError`` if that is a bad one, with what it said."""
    try:
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
    except OSError as error:
        raise UnavailableError(f"{argv[0]!r} cannot be run: {error}.") from None
    reading = asyncio.create_task(_tail(process))
    try:
        async with asyncio.timeout(timeout_s):
            await process.wait()
        # What it leaves running may keep its output open: its own end is what counts.
        await asyncio.wait([reading], timeout=_OUTPUT_S)
        told = reading.result() if reading.done() else b""
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
        await asyncio.wait([reading], timeout=_OUTPUT_S)
        raise UnavailableError(f"{shlex.join(argv)} did not end in {timeout_s:g} s.") from None
    finally:
        reading.cancel()
    if process.returncode:
        text = told.decode("utf-8", "replace").strip()
        raise UnavailableError(f"{shlex.join(argv)} ended with {process.returncode}: {text}")


async def _tail(process: asyncio.subprocess.Process) -> bytes:
    told = b""
    while process.stdout is not None and (data := await process.stdout.read(4096)):
        told = (told + data)[-_TOLD_BYTES:]
    return told
