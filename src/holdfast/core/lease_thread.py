"""Runs a lease keeper on a thread with an event loop and a connection of its own.

A busy main loop cannot delay a renewal there (Pulp #6799, Ironic LP#1970484);
a *stuck* one is noticed by ``Progress`` and loses its lease on purpose.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from holdfast.core.lease import LeaseKeeper
from holdfast.store.port import MemberStore


class ThreadedKeeper:
    """A ``Keeper`` whose renewals run elsewhere; ``run`` only waits for the end.

    ``over`` is called on the thread when the lease is over: the main loop may be stuck.
    """

    def __init__(
        self,
        keeper: LeaseKeeper,
        open_store: Callable[[], AbstractAsyncContextManager[MemberStore]],
        over: Callable[[], None] | None = None,
    ) -> None:
        self._keeper = keeper
        self._open_store = open_store
        self._over = over

    async def run(self) -> None:
        """Return when the lease is over; cancelling it stops the thread."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        thread_loop = asyncio.new_event_loop()
        renewing: list[asyncio.Task[None]] = []

        def finish() -> None:
            if not done.done():
                done.set_result(None)

        def body() -> None:
            asyncio.set_event_loop(thread_loop)
            task = thread_loop.create_task(self._renew())
            renewing.append(task)
            try:
                thread_loop.run_until_complete(task)
                if self._over is not None:
                    self._over()
            except asyncio.CancelledError:
                pass
            finally:
                thread_loop.close()
                if not loop.is_closed():
                    loop.call_soon_threadsafe(finish)

        thread = threading.Thread(target=body, name="lease", daemon=True)
        thread.start()
        try:
            await asyncio.shield(done)
        except asyncio.CancelledError:
            if renewing and not thread_loop.is_closed():
                thread_loop.call_soon_threadsafe(renewing[0].cancel)
            raise

    async def _renew(self) -> None:
        async with self._open_store() as store:
            await self._keeper.using(store).run()
