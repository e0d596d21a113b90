"""The ramdisk agent's commands API (ironic-python-agent, ``/v1/commands``).

The call-back URL comes from the machine being provisioned, which may be hostile:
its host must be an address literal in ``agent_networks``, redirects are not
followed, answers are bounded, and nothing it says goes unshortened into an error.
The agent's token travels in the query, as the protocol has it, so no URL is ever
shown or logged with it.
"""

from __future__ import annotations

from typing import cast

import aiohttp
import msgspec
from yarl import URL

from holdfast.bmc.commands import Command
from holdfast.bmc.errors import AgentBusyError, AgentError, AgentSilentError
from holdfast.bmc.outbound import (
    AnswerError,
    Connected,
    is_denied,
    is_within,
    new_session,
    read_json,
    trust_of_pem,
)
from holdfast.bmc.params import AgentCommand, AgentCommands, params_of
from holdfast.bmc.settings import BmcSettings, networks
from holdfast.bmc.untrusted import text, words
from holdfast.errors import InvalidInputError
from holdfast.store.model import Json

BUSY = 409


class AgentClient:
    """``gateway.Device`` for the ``agent_*`` actions. Make it inside the loop; close it."""

    def __init__(self, settings: BmcSettings, connected: Connected) -> None:
        self._settings = settings
        self._allowed = networks(settings.agent_networks)
        self._session = new_session(settings, connected)

    async def execute(self, command: Command, secrets: dict[str, Json]) -> dict[str, Json]:
        """Do one action. ``secrets``: ``agent_token``, if the agent was given one."""
        token = str(secrets.get("agent_token") or "")
        if command.action == "agent_command":
            wanted = params_of(command, AgentCommand)
            query = {"wait": "true" if wanted.wait else "false"}
            if token:
                query["agent_token"] = token
            url = self._commands_url(wanted.url).with_query(query)
            body = {"name": wanted.name, "params": wanted.params}
            return await self._exchange("POST", url, body, command, wanted.verify_ca, token)
        if command.action == "agent_commands":
            asked = params_of(command, AgentCommands)
            url = self._commands_url(asked.url).with_query({"agent_token": token} if token else {})
            return await self._exchange("GET", url, None, command, asked.verify_ca, token)
        raise InvalidInputError(f"The ramdisk agent has no action {command.action!r}.")

    async def close(self) -> None:
        """Close all connections."""
        await self._session.close()

    def _commands_url(self, callback_url: str) -> URL:
        """Where commands go, or ``AgentError`` for a call-back URL that is not acceptable."""
        try:
            url = URL(callback_url)
            bare = url.path in ("", "/") and not (url.query_string or url.fragment or url.user)
            http = url.scheme in ("http", "https")
            if http and bare and is_within(url.host or "", self._allowed):
                # With the slash at the end: the agent answers with a redirect without it.
                return url.origin().with_path("/v1/commands/")
        except ValueError:
            pass
        raise AgentError(
            f"The agent's call-back URL {words(callback_url)!r} is refused: it must be "
            "http(s)://ADDRESS:PORT with an address in bmc.agent_networks."
        )

    async def _exchange(
        self,
        method: str,
        url: URL,
        body: Json,
        command: Command,
        verify_ca: str | None,
        token: str,
    ) -> dict[str, Json]:
        where = f"{url.scheme}://{url.authority}"
        try:
            async with self._session.request(
                method,
                url,
                data=None if body is None else msgspec.json.encode(body),
                headers={
                    "Content-Type": "application/json",
                    "X-Holdfast-Origin": command.origin.header(),
                },
                ssl=True if verify_ca is None else trust_of_pem(verify_ca),
                allow_redirects=False,
                trace_request_ctx=url.scheme,
            ) as response:
                document = await read_json(response, self._settings.answer_bytes_max)
                status = response.status
        except AnswerError as error:
            raise AgentError(f"The ramdisk agent at {where} {words(str(error))}.") from None
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            if is_denied(error):
                raise AgentError(
                    f"The ramdisk agent at {where} is not asked: its address is in a network that "
                    "bmc.denied_networks or bmc.allow_loopback refuses."
                ) from None
            raise AgentSilentError(
                f"The ramdisk agent at {where} cannot be reached ({type(error).__name__}); "
                "nothing was executed."
            ) from None
        except aiohttp.ClientError as error:
            raise AgentSilentError(
                f"The ramdisk agent at {where} broke off ({type(error).__name__}); whether it "
                "acted is unknown. Ask for its commands."
            ) from None
        if status == 200 and isinstance(document, dict):
            return cast("dict[str, Json]", document)
        said = text(document, "message") or text(document, "faultstring") or "no reason given"
        sentence = f"The ramdisk agent at {where} answered {status}: {words(said, token)}."
        if status == BUSY:
            raise AgentBusyError(sentence)
        raise AgentError(sentence, agent_status=status)
