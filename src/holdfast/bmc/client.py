"""``commands.Gateway`` over HTTP: how a conductor reaches the gateway process (``wire``)."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar
from uuid import UUID

import aiohttp
import msgspec

from holdfast.bmc import wire
from holdfast.bmc.commands import Command, GatewayIdentity, Observed
from holdfast.bmc.errors import GatewayUnavailableError
from holdfast.store.model import Json

CONNECT_TIMEOUT_S = 2.0
ASK_TIMEOUT_S = 10.0  # for what the gateway answers by itself
ANSWER_MARGIN_S = 5.0  # a gateway answers by the command's deadline; more is a lost gateway
CONNECTIONS_MAX = 1024

T = TypeVar("T")


class GatewayClient:
    """Speaks to one gateway. Usable in one event loop; close it at the end.

    Every error of ``bmc.errors`` that the gateway raised is raised here again.
    ``GatewayUnavailableError`` means that no answer came: whether a command was
    executed is then unknown.
    """

    def __init__(self, url: str, secret: str) -> None:
        self._url = url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {secret}"}
        self._session: aiohttp.ClientSession | None = None

    async def identity(self) -> GatewayIdentity:
        """Who answers there."""
        answer = await self._exchange("GET", wire.IDENTITY, None, ASK_TIMEOUT_S)
        return self._decode(answer, GatewayIdentity)

    async def floor(self, bmc: UUID, *, incarnation: UUID, term: int, floor: int) -> None:
        """As ``commands.Gateway.floor``."""
        message = wire.Floor(incarnation=incarnation, term=term, floor=floor)
        await self._exchange("PUT", wire.floor_path(bmc), message, ASK_TIMEOUT_S)

    async def command(self, command: Command) -> dict[str, Json]:
        """As ``commands.Gateway.command``."""
        timeout_s = command.deadline_s + ANSWER_MARGIN_S
        answer = await self._exchange("POST", wire.COMMANDS, command, timeout_s)
        return self._decode(answer, dict[str, Json])

    async def observe(self, commands: Sequence[Command]) -> AsyncGenerator[list[Observed]]:
        """As ``commands.Observatory.observe``."""
        missing = len(commands)
        timeout_s = max((command.deadline_s for command in commands), default=0) + ANSWER_MARGIN_S
        async with self._request("POST", wire.OBSERVATIONS, commands, timeout_s) as response:
            if response.status >= 300:
                raise wire.error_of(self._decode(await response.read(), wire.Problem))
            rest = b""
            async for chunk in response.content.iter_any():
                *lines, rest = (rest + chunk).split(b"\n")
                if lines:
                    missing -= len(lines)
                    yield [wire.observed_of(self._decode(one, wire.Sighting)) for one in lines]
        if missing:
            raise GatewayUnavailableError(f"The BMC gateway at {self._url} ended too early.")

    async def status(self) -> dict[str, Json]:
        """``GatewayCore.status`` of the gateway."""
        answer = await self._exchange("GET", wire.STATUS, None, ASK_TIMEOUT_S)
        return self._decode(answer, dict[str, Json])

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _exchange(
        self, method: str, path: str, body: msgspec.Struct | None, timeout_s: float
    ) -> bytes:
        async with self._request(method, path, body, timeout_s) as response:
            answer = await response.read()
            status = response.status
        if status >= 300:
            raise wire.error_of(self._decode(answer, wire.Problem))
        return answer

    @asynccontextmanager
    async def _request(
        self, method: str, path: str, body: object, timeout_s: float
    ) -> AsyncGenerator[aiohttp.ClientResponse]:
        """One request; whatever breaks until its end is ``GatewayUnavailableError``."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=CONNECTIONS_MAX),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers=self._headers,
                trust_env=False,
            )
        try:
            async with self._session.request(
                method,
                self._url + path,
                data=None if body is None else msgspec.json.encode(body),
                headers={"Content-Type": "application/json"},
                timeout=aiohttp.ClientTimeout(total=timeout_s, sock_connect=CONNECT_TIMEOUT_S),
                allow_redirects=False,
            ) as response:
                yield response
        except (aiohttp.ClientError, TimeoutError) as error:
            raise GatewayUnavailableError(
                f"The BMC gateway at {self._url} did not answer ({type(error).__name__}); "
                "whether the command was executed is unknown. Observe before repeating."
            ) from None

    def _decode(self, answer: bytes, shape: type[T]) -> T:
        try:
            return msgspec.json.decode(answer, type=shape)
        except msgspec.DecodeError:
            raise GatewayUnavailableError(
                f"What answers at {self._url} is no BMC gateway; check its address."
            ) from None
