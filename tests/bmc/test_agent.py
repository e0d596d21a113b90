"""The client of the ramdisk agent's commands API, against an agent in this process."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from tests.bmc.fakes import command

from holdfast.bmc.agent import AgentClient
from holdfast.bmc.errors import AgentBusyError, AgentError
from holdfast.bmc.settings import BmcSettings
from holdfast.errors import InvalidInputError

TOKEN = "very-secret-token"
DONE = {"id": "1", "command_name": "get_deploy_steps", "command_status": "SUCCEEDED"}


class MockAgent:
    """Answers ``reply`` and notes what it was sent."""

    def __init__(self) -> None:
        self.url = ""
        self.reply: web.StreamResponse = web.json_response(DONE)
        self.requests: list[tuple[str, str, dict[str, str], Any]] = []
        self.headers: list[dict[str, str]] = []

    async def answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.json() if request.can_read_body else None
        self.requests.append((request.method, request.path, dict(request.query), body))
        self.headers.append(dict(request.headers))
        return self.reply


@pytest.fixture
async def agent() -> AsyncIterator[MockAgent]:
    made = MockAgent()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", made.answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield made
    await runner.cleanup()


@pytest.fixture
async def client() -> AsyncIterator[AgentClient]:
    made = AgentClient(BmcSettings(allow_loopback=True, answer_bytes_max=4096), lambda *_: None)
    yield made
    await made.close()


def tell(url: str, **params: Any):
    return command(
        action="agent_command", params={"url": url, "name": "deploy.get_deploy_steps", **params}
    )


async def test_a_command_carries_name_params_wait_token_and_origin(agent, client):
    sent = tell(agent.url, params={"node": {}}, wait=True)
    assert await client.execute(sent, {"agent_token": TOKEN}) == DONE
    assert agent.requests == [
        (
            "POST",
            "/v1/commands/",
            {"wait": "true", "agent_token": TOKEN},
            {"name": "deploy.get_deploy_steps", "params": {"node": {}}},
        )
    ]
    assert agent.headers[0]["X-Holdfast-Origin"] == sent.origin.header()


async def test_the_commands_are_listed(agent, client):
    agent.reply = web.json_response({"commands": [DONE]})
    asked = command(action="agent_commands", params={"url": agent.url + "/"})
    assert await client.execute(asked, {"agent_token": TOKEN}) == {"commands": [DONE]}
    assert agent.requests == [("GET", "/v1/commands/", {"agent_token": TOKEN}, None)]


async def test_a_busy_agent_is_told_apart(agent, client):
    agent.reply = web.json_response({"message": "executing"}, status=409)
    with pytest.raises(AgentBusyError, match="executing"):
        await client.execute(tell(agent.url), {})


async def test_a_refusal_is_told_without_the_token(agent, client):
    agent.reply = web.json_response({"message": f"bad token {TOKEN}\n"}, status=401)
    with pytest.raises(AgentError, match=r"401: bad token \*\*\*\.") as caught:
        await client.execute(tell(agent.url), {"agent_token": TOKEN})
    assert TOKEN not in str(caught.value)


@pytest.mark.parametrize(
    "reply",
    [
        web.Response(text="<html>"),
        web.Response(text="[]"),
        web.Response(text="x" * 5000),
        web.Response(status=307, headers={"Location": "http://192.0.2.1/"}),
    ],
    ids=["no json", "no object", "too large", "redirect"],
)
async def test_nonsense_and_redirects_are_refused(agent, client, reply):
    agent.reply = reply
    with pytest.raises(AgentError):
        await client.execute(tell(agent.url), {})
    assert len(agent.requests) == 1


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254",  # where clouds serve their metadata
        "http://[::ffff:169.254.169.254]:80",
        "http://8.8.8.8:9999",
        "http://localhost:9999",  # a name could lead anywhere
        "http://127.0.0.1@8.8.8.8:9999",
        "http://u:p@127.0.0.1:9999",
        "http://127.0.0.1:9999/elsewhere",
        "http://127.0.0.1:9999?x=1",
        "http://127.0.0.1:9999#x",
        "ftp://127.0.0.1:9999",
        "http://127.0.0.1:99999",
        "http://[::1",
        "",
    ],
)
async def test_a_callback_url_elsewhere_is_refused(client, url):
    with pytest.raises(AgentError, match="call-back URL"):
        await client.execute(tell(url), {"agent_token": TOKEN})


@pytest.mark.parametrize(
    "wrong",
    [{"name": "no dots"}, {"name": "a.b\n"}, {"params": []}, {"wait": "yes"}, {"more": 1}],
)
async def test_parameters_of_the_wrong_shape_are_refused(agent, client, wrong):
    with pytest.raises(InvalidInputError):
        await client.execute(tell(agent.url, **wrong), {})
    assert agent.requests == []


async def test_an_agent_that_is_not_there_is_an_error_without_its_token(client):
    with pytest.raises(AgentError, match="cannot be reached") as caught:
        await client.execute(tell("http://127.0.0.1:1"), {"agent_token": TOKEN})
    assert TOKEN not in str(caught.value)


async def test_a_certificate_that_is_none_is_refused(client):
    with pytest.raises(InvalidInputError, match="PEM"):
        await client.execute(tell("https://127.0.0.1:1", verify_ca="hello"), {})


async def test_an_address_that_is_denied_is_refused_for_good(agent):
    settings = BmcSettings(allow_loopback=True, denied_networks=("127.0.0.0/8",))
    denied = AgentClient(settings, lambda *_: None)
    with pytest.raises(AgentError, match="denied_networks") as refused:
        await denied.execute(tell(agent.url), {})
    assert not refused.value.transient
    await denied.close()


async def test_an_agent_cannot_be_on_the_gateways_own_host_unless_that_is_allowed(agent):
    denied = AgentClient(BmcSettings(), lambda *_: None)
    with pytest.raises(AgentError, match="allow_loopback"):
        await denied.execute(tell(agent.url), {})
    await denied.close()


@pytest.mark.parametrize("params", [{"name": 7}, {"params": []}, {"wings": 2}])
async def test_wrong_parameters_are_told_in_one_sentence(agent, client, params):
    with pytest.raises(InvalidInputError, match=r"[^.]\.$"):
        await client.execute(tell(agent.url, **params), {})
