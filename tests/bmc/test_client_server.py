"""The gateway process as its clients see it, over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import aiohttp
import pytest
from aiohttp import web
from tests.bmc.fakes import BMC, Machine, Memory, command
from tests.bmc.mockbmc import PASSWORD, USER, MockBmc

from holdfast.bmc import errors as bmc_errors
from holdfast.bmc import wire
from holdfast.bmc.client import GatewayClient
from holdfast.bmc.commands import Observed
from holdfast.bmc.errors import (
    BmcError,
    BmcTimeoutError,
    BreakerOpenError,
    FloorNeededError,
    GatewayUnavailableError,
    StaleTokenError,
)
from holdfast.bmc.gateway import GatewayCore
from holdfast.bmc.metrics import GatewayMetrics
from holdfast.bmc.sealing import seal, seal_context
from holdfast.bmc.server import GatewayApp, serve
from holdfast.bmc.settings import BmcSettings
from holdfast.errors import InvalidInputError, NotAuthenticatedError

SECRET = "between us"
SETTINGS = BmcSettings(allow_loopback=True, drain_s=5, late_s=0)


class Gateway:
    """A whole gateway process's inside, running in this one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.stop = asyncio.Event()
        self.url = ""
        self.task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self.stop = asyncio.Event()
        ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.task = asyncio.create_task(
            serve(SETTINGS, self.folder, SECRET, "127.0.0.1", 0, ready.set_result, self.stop)
        )
        await asyncio.wait([ready, self.task], return_when=asyncio.FIRST_COMPLETED)
        self.url = ready.result()

    async def end(self) -> None:
        assert self.task is not None
        self.stop.set()
        await self.task


@pytest.fixture
async def gateway(tmp_path) -> AsyncIterator[Gateway]:
    made = Gateway(tmp_path / "gateway")
    await made.start()
    yield made
    await made.end()


@pytest.fixture
async def client(gateway) -> AsyncIterator[GatewayClient]:
    made = GatewayClient(gateway.url, SECRET)
    yield made
    await made.close()


async def test_a_command_reaches_the_bmc_and_its_credential_is_sealed_on_the_way(client):
    async with MockBmc() as bmc:
        identity = await client.identity()
        await client.floor(BMC, incarnation=identity.incarnation, term=5, floor=3)
        context = seal_context(BMC, bmc.url)
        sealed = seal({"username": USER, "password": PASSWORD}, identity.public_key, context)
        sent = command(address=bmc.url, sealed=sealed)
        assert (await client.command(sent))["power_state"] == "power off"
        status = await client.status()
        assert (status["bmcs"][0]["term"], status["bmcs"][0]["token"]) == (5, 7)
        assert PASSWORD not in str(status)


async def test_what_the_gate_refuses_is_raised_at_the_client(client):
    with pytest.raises(FloorNeededError):
        await client.command(command())
    identity = await client.identity()
    await client.floor(BMC, incarnation=identity.incarnation, term=5, floor=8)
    with pytest.raises(StaleTokenError) as caught:
        await client.command(command(7))
    assert caught.value.details == {"token": 7, "seen": 8}


async def test_many_are_observed_in_one_request_and_each_answers_for_itself(client):
    other = UUID(int=201)
    async with MockBmc() as bmc, MockBmc() as slow:
        identity = await client.identity()
        for one in (BMC, other):
            await client.floor(one, incarnation=identity.incarnation, term=5, floor=3)
        released = asyncio.Event()
        slow.before = lambda _: released.wait()
        slow.authenticated = bmc.authenticated = False
        commands = [
            command(address=slow.url, lane="sync"),
            command(bmc=other, address=bmc.url, lane="sync", params={"power_only": True}),
            command(bmc=UUID(int=202), lane="sync"),
        ]
        found: dict[int, Observed] = {}
        async for together in client.observe(commands):
            found |= {one.index: one for one in together}
            if {1, 2} <= found.keys():
                assert released.is_set() or 0 not in found
                released.set()
    assert found[1].result is not None
    assert found[1].result["power_state"] == "power off"
    assert isinstance(found[2].error, FloorNeededError)
    assert (found[0].error, 0 < found[1].seconds < 60) == (None, True)


async def test_no_observations_are_an_answer_too_and_other_commands_are_refused(client):
    assert [one async for one in client.observe([])] == []
    with pytest.raises(InvalidInputError, match="lane sync"):
        await anext(client.observe([command(action="set_power")]))


@pytest.mark.parametrize("ending", [b"", b'{"index":1,"sec', b"<html>"])
async def test_a_gateway_that_ends_in_the_middle_owes_the_rest(ending):
    async def answer(request: web.Request) -> web.Response:
        return web.Response(body=b'{"index":0,"seconds":0.1,"result":{}}\n' + ending)

    app = web.Application()
    app.router.add_post(wire.OBSERVATIONS, answer)
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    client = GatewayClient(f"http://127.0.0.1:{runner.addresses[0][1]}", SECRET)
    found: list[Observed] = []

    async def observe() -> None:
        async for together in client.observe([command(lane="sync"), command(lane="sync")]):
            found.extend(together)

    with pytest.raises(GatewayUnavailableError):
        await observe()
    assert [one.index for one in found] == [0]
    await client.close()
    await runner.cleanup()


async def test_marks_outlive_the_process(gateway, client):
    before = await client.identity()
    await client.floor(BMC, incarnation=before.incarnation, term=5, floor=8)
    await gateway.end()
    await gateway.start()
    again = GatewayClient(gateway.url, SECRET)
    assert await again.identity() == before
    with pytest.raises(StaleTokenError):
        await again.command(command(7))
    await again.close()


async def test_without_the_secret_nothing_is_said(gateway):
    stranger = GatewayClient(gateway.url, "guess")
    for ask in (stranger.identity(), stranger.status(), stranger.command(command())):
        with pytest.raises(NotAuthenticatedError):
            await ask
    await stranger.close()


async def ask(gateway: Gateway, method: str, path: str, body: bytes = b"") -> tuple[int, str]:
    headers = {"Authorization": f"Bearer {SECRET}"}
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, gateway.url + path, data=body, headers=headers) as response,
    ):
        return response.status, await response.text()


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("POST", wire.COMMANDS, b"{", 400, "invalid"),
        ("POST", wire.COMMANDS, b"\xff", 400, "invalid"),
        ("POST", wire.COMMANDS, b"[" * 100_000, 400, "invalid"),
        ("POST", wire.COMMANDS, b'{"bmc": 7}', 400, "invalid"),
        ("PUT", wire.floor_path("no-uuid"), b"{}", 400, "invalid"),
        ("PUT", wire.floor_path(BMC), b'{"term": "x"}', 400, "invalid"),
        ("GET", "/v1/nothing", b"", 404, "not_found"),
        ("DELETE", wire.COMMANDS, b"", 400, "invalid"),
    ],
)
async def test_malformed_requests_get_a_structured_error(gateway, method, path, body, status, code):
    got, text = await ask(gateway, method, path, body)
    assert got == status
    assert f'"code":"{code}"' in text


async def test_probes_and_metrics_answer_without_the_secret(gateway, client):
    with pytest.raises(FloorNeededError):
        await client.command(command())
    async with aiohttp.ClientSession() as session:
        for path in ("/livez", "/readyz"):
            async with session.get(gateway.url + path) as response:
                assert response.status == 200
        async with session.get(gateway.url + "/metrics") as response:
            text = await response.text()
    assert 'holdfast_gateway_commands_total{action="observe",result="floor_needed"} 1.0' in text
    assert 'holdfast_gateway_breakers{state="open"} 0.0' in text


def test_what_an_alert_watches_the_rise_of_is_there_before_it_first_rises():
    """HoldfastStaleCommandsRefused: ``increase`` of a series that begins at 1 is nothing."""
    text = GatewayMetrics().text().decode()
    for code in ("stale_token", "stale_term"):
        assert f'holdfast_gateway_stale_refused_total{{code="{code}"}} 0.0' in text


async def test_a_gateway_that_is_not_there_is_unavailable():
    lonely = GatewayClient("http://127.0.0.1:1", SECRET)
    with pytest.raises(GatewayUnavailableError, match="unknown"):
        await lonely.command(command())
    await lonely.close()


async def test_what_is_no_gateway_is_unavailable():
    async with MockBmc() as bmc:
        astray = GatewayClient(bmc.url, SECRET)
        with pytest.raises(GatewayUnavailableError, match="no BMC gateway"):
            await astray.identity()
        await astray.close()


def kinds() -> list[type[BmcError]]:
    return [
        value
        for value in vars(bmc_errors).values()
        if isinstance(value, type) and issubclass(value, BmcError)
    ]


@pytest.mark.parametrize("kind", kinds())
def test_every_error_survives_the_wire(kind):
    back = wire.error_of(wire.problem_of(kind("why", retry_after_s=1.5)))
    assert type(back) is kind
    assert (back.message, back.details) == ("why", {"retry_after_s": 1.5})


async def test_details_travel_with_an_error_and_a_draining_gateway_refuses():
    """One core behind the routes, with a machine that does as the test says."""
    machine, memory = Machine(), Memory()
    core = await GatewayCore.open(memory=memory, device=machine, unseal=lambda *_: {})
    metrics = GatewayMetrics()
    settings = BmcSettings(allow_loopback=True, request_bytes_max=1 << 20)
    runner = web.AppRunner(GatewayApp(core, metrics, SECRET, settings).app, shutdown_timeout=0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    client = GatewayClient(f"http://127.0.0.1:{runner.addresses[0][1]}", SECRET)
    identity = await client.identity()
    await client.floor(BMC, incarnation=identity.incarnation, term=5, floor=1)

    def dead(_: object) -> None:
        raise BmcTimeoutError("no answer")

    machine.behave = dead
    for _ in range(5):
        with pytest.raises(BmcTimeoutError):
            await client.command(command())
    with pytest.raises(BreakerOpenError) as caught:
        await client.command(command())
    assert float(str(caught.value.details["retry_after_s"])) <= 2
    core.drain()
    with pytest.raises(GatewayUnavailableError):
        await client.command(command())
    await client.close()
    await runner.cleanup()


async def test_a_command_in_flight_at_a_stop_still_gets_its_answer(gateway, client):
    async with MockBmc() as bmc:
        bmc.authenticated = False
        arrived, go_on = asyncio.Event(), asyncio.Event()

        async def slow(_: web.Request) -> None:
            arrived.set()
            await go_on.wait()

        bmc.before = slow
        identity = await client.identity()
        await client.floor(BMC, incarnation=identity.incarnation, term=5, floor=1)
        task = asyncio.create_task(client.command(command(address=bmc.url)))
        await arrived.wait()
        gateway.stop.set()
        go_on.set()
        assert (await task)["power_state"] == "power off"


async def test_requests_with_the_wrong_shape_of_numbers_are_refused(client):
    with pytest.raises(InvalidInputError):
        await client.floor(BMC, incarnation=UUID(int=1), term=-1, floor=0)
