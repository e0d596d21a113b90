"""The agents' way out: their calls to the Ironic API, over one shared HTTP client."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import aiohttp

from holdfast.sim.fleet.agent import ApiCall, ApiReply

CONNECTIONS_MAX = 100
USER_AGENT = "holdfast-fleet"  # what access logs tell the simulated agents by


class HttpCaller:
    """A ``Caller`` on aiohttp. Whatever goes wrong on the way is a reply of status 0."""

    def __init__(self) -> None:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=CONNECTIONS_MAX),
            auto_decompress=True,
            headers={"User-Agent": USER_AGENT},
        )
        self._tasks: set[asyncio.Task[None]] = set()

    def __call__(self, call: ApiCall, on_reply: Callable[[ApiReply], None]) -> None:
        task = asyncio.get_running_loop().create_task(self._send(call, on_reply))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _send(self, call: ApiCall, on_reply: Callable[[ApiReply], None]) -> None:
        timeout = aiohttp.ClientTimeout(total=call.timeout_s)
        try:
            async with self._session.request(
                call.method, call.url, headers=call.headers, data=call.body or None, timeout=timeout
            ) as answer:
                reply = ApiReply(status=answer.status, body=await answer.read())
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
            reply = ApiReply()
        on_reply(reply)

    async def close(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._session.close()
