"""A whole fleet over real sockets: a machine is deployed, and broken, and mended."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from tests.sim.fleet.manual import NODE, TOKEN

from holdfast.errors import ConfigError
from holdfast.sim.fleet.faults import Faults
from holdfast.sim.fleet.http import HttpServer, Reply, Request, Response, json_response
from holdfast.sim.fleet.referee import judge
from holdfast.sim.fleet.server import Fleet, FleetError, FleetInfo, run_fleet
from holdfast.sim.fleet.settings import AgentSettings, FleetSettings, Times

NOW = (0.0, 0.0)
INSTANT = Times(power_on_s=NOW, power_off_s=NOW, graceful_s=NOW, boot_s=NOW, step_s=NOW)
ORIGIN = {"X-Holdfast-Origin": "member=m;epoch=1;job=j;step=s;attempt=1"}
BASIC = "Basic YWRtaW46cGFzc3dvcmQ="


class Ironic:
    """As much of the Ironic API as an agent sees, and the heartbeats it got."""

    def __init__(self) -> None:
        self.beats: asyncio.Queue[dict] = asyncio.Queue()

    def __call__(self, request: Request, reply: Reply) -> None:
        if request.path == "/v1/lookup":
            config = {"heartbeat_timeout": 300, "agent_token": TOKEN}
            reply(json_response({"node": {"uuid": NODE}, "config": config}))
        elif request.path.startswith("/v1/heartbeat/"):
            self.beats.put_nowait(request.document())
            reply(Response(202))
        else:
            reply(json_response({"default_version": {"version": "1.95"}}))


class Rig:
    def __init__(self, fleet: Fleet, info: FleetInfo, http: aiohttp.ClientSession) -> None:
        self.fleet, self.info, self.http = fleet, info, http
        self.ironic: Ironic

    async def control(self, method: str, path: str, body: object = None) -> tuple[int, dict]:
        url = f"{self.info.control_url}/control/{path}"
        async with self.http.request(method, url, json=body) as answer:
            return answer.status, await answer.json()

    async def bmc(self, method: str, path: str, body: object = None, index: int = 0) -> int:
        url = self.fleet.address(self.fleet.machines[index]) + "/redfish/v1/" + path
        headers = {**ORIGIN, "Authorization": BASIC}
        async with self.http.request(method, url, json=body, headers=headers) as answer:
            return answer.status

    async def agent(self, callback: str, name: str, **params: object) -> dict:
        url = f"{callback}/v1/commands/?wait=true&agent_token={TOKEN}"
        body = {"name": name, "params": params}
        async with self.http.post(url, json=body, headers=ORIGIN) as answer:
            return await answer.json()


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    ironic = Ironic()
    api = HttpServer(ironic, "127.0.0.1", 0)
    await api.open()
    fleet = Fleet(
        FleetSettings(
            count=3, port_base=0, times=INSTANT, api_url=f"http://127.0.0.1:{api.port}",
            journal=str(tmp_path / "journal.jsonl"), agent=AgentSettings(heartbeat_min_s=0.0),
        )
    )  # fmt: skip
    async with aiohttp.ClientSession() as http:
        rig = Rig(fleet, await fleet.start(), http)
        rig.ironic = ironic
        yield rig
    await fleet.close()
    api.close()


async def boot_ramdisk(rig: Rig) -> str:
    """Boot the ramdisk on the first machine; its agent's call-back URL."""
    boot = {"BootSourceOverrideTarget": "Cd", "BootSourceOverrideEnabled": "Once"}
    insert = "Managers/1/VirtualMedia/Cd/Actions/VirtualMedia.InsertMedia"
    assert await rig.bmc("POST", insert, {"Image": "http://i/ramdisk.iso"}) == 204
    assert await rig.bmc("PATCH", "Systems/1", {"Boot": boot}) == 204
    reset = "Systems/1/Actions/ComputerSystem.Reset"
    assert await rig.bmc("POST", reset, {"ResetType": "On"}) == 204
    beat = await rig.ironic.beats.get()
    assert beat["agent_token"] == TOKEN
    return beat["callback_url"]


async def test_a_machine_is_deployed_by_its_bmc_and_its_agent_and_the_journal_is_clean(rig):
    callback = await boot_ramdisk(rig)
    done = await rig.agent(
        callback, "deploy.execute_deploy_step", step={"step": "write_image"},
        node={"instance_info": {"image_source": "debian"}}, ports=[],
    )  # fmt: skip
    assert done["command_status"] == "SUCCEEDED"
    await rig.ironic.beats.get()  # told at once, since no pause is set
    _, seen = await rig.control("GET", "machines/0")
    assert (seen["disk"], seen["running"], seen["agent"]["node_uuid"]) == (
        "debian", "ramdisk", NODE,
    )  # fmt: skip
    assert await rig.bmc("POST", "Systems/1/Actions/ComputerSystem.Reset",
                         {"ResetType": "ForceRestart"}) == 204  # fmt: skip
    with pytest.raises(aiohttp.ClientConnectionError):
        await rig.agent(callback, "standby.sync")
    verdict = judge(Path(rig.info.journal).read_bytes().splitlines(), require_origin=True)
    assert (verdict.ok, verdict.effects) == (True, 5)


async def test_an_agent_whose_port_was_taken_meanwhile_calls_from_another(rig):
    callback = await boot_ramdisk(rig)
    reset = "Systems/1/Actions/ComputerSystem.Reset"
    assert await rig.bmc("POST", reset, {"ResetType": "ForceOff"}) == 204
    thief = HttpServer(rig.ironic, "127.0.0.1", int(callback.rpartition(":")[2]))
    await thief.open()
    another = await boot_ramdisk(rig)
    thief.close()
    assert another != callback
    done = await rig.agent(another, "standby.sync")
    assert done["command_status"] == "SUCCEEDED"


async def test_machines_are_listed_with_their_addresses_and_filtered(rig):
    _, listed = await rig.control("GET", "machines")
    assert len({machine["address"] for machine in listed["machines"]}) == 3
    assert len({machine["mac"] for machine in listed["machines"]}) == 3
    _, listed = await rig.control("GET", "machines?power=On&running=ramdisk")
    assert listed["machines"] == []
    assert (await rig.control("GET", "machines?colour=red"))[0] == 400


async def test_dead_bmcs_refuse_connections_until_mended(rig):
    body = {"machines": "1-2", "faults": {"dead": "refuse"}}
    assert await rig.control("PUT", "faults", body) == (200, {"machines": 2})
    with pytest.raises(aiohttp.ClientConnectorError):
        await rig.bmc("GET", "Systems/1", index=1)
    assert await rig.bmc("GET", "Systems/1", index=0) == 200
    assert await rig.control("DELETE", "faults") == (200, {"machines": 3})
    assert await rig.bmc("GET", "Systems/1", index=1) == 200


async def test_faults_are_set_for_the_machines_named_and_journalled(rig):
    body = {"machines": [0, 2, 2], "faults": {"latency": {"median_s": 0.0}, "error_rate": 1.0}}
    assert await rig.control("PUT", "faults", body) == (200, {"machines": 2})
    assert await rig.bmc("GET", "Systems/1", index=2) == 500
    assert await rig.bmc("GET", "Systems/1", index=1) == 200
    _, lines = await rig.control("GET", "journal?tail=2")
    assert [(line["kind"], line["machine"]) for line in lines] == [
        ("fault", "bmc-00000"), ("fault", "bmc-00002"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("PUT", "faults", {"machines": "all", "faults": {"nosuch": 1}}, 400),
        ("PUT", "faults", {"machines": "all"}, 400),
        ("PUT", "faults", {"faults": {}}, 400),
        ("PUT", "faults", {"machines": "9", "faults": {}}, 404),
        ("PUT", "faults", {"machines": "first", "faults": {}}, 400),
        ("POST", "power-cut", [], 400),
        ("GET", "journal?tail=x", None, 400),
        ("GET", "nosuch", None, 404),
        ("GET", "machines/9", None, 404),
    ],
)
async def test_control_requests_that_make_no_sense_are_refused(rig, method, path, body, status):
    got, document = await rig.control(method, path, body)
    assert (got, "message" in document) == (status, True)


async def test_a_power_cut_takes_the_agent_with_it(rig):
    callback = await boot_ramdisk(rig)
    assert await rig.control("POST", "power-cut", {"machines": "all"}) == (200, {"machines": 3})
    with pytest.raises(aiohttp.ClientConnectionError):
        await rig.agent(callback, "standby.sync")
    _, stats = await rig.control("GET", "stats")
    assert (stats["power"], stats["running"]) == ({"Off": 3}, {"dark": 3})


async def test_a_bmc_reset_is_a_fault_in_the_journal(rig):
    assert (await rig.control("POST", "bmc-reset", {"machines": 1}))[0] == 200
    _, lines = await rig.control("GET", "journal")
    assert lines[-1]["action"] == "bmc-reset"


async def test_a_fleet_may_start_broken():
    fleet = Fleet(FleetSettings(count=1, port_base=0, faults=Faults(error_rate=1.0)))
    await fleet.start()
    assert fleet.machines[0].faults.error_rate == 1.0
    await fleet.close()


async def test_a_port_in_use_is_said_so():
    first = Fleet(FleetSettings(count=1, port_base=0))
    info = await first.start()
    with pytest.raises(FleetError, match="choose another port"):
        await Fleet(FleetSettings(count=1, port_base=info.port_base)).start()
    await first.close()


@pytest.mark.parametrize(
    "wrong",
    [
        {"count": -1},
        {"port_base": 60_000, "count": 10_000},
        {"times": Times(boot_s=(2.0, 1.0))},
        {"session_limit": 0},
    ],
)
async def test_settings_that_cannot_be_are_refused_by_name(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        await run_fleet(FleetSettings(**wrong), print)


async def test_a_fleet_runs_until_cancelled_and_leaves_no_port_open():
    started: asyncio.Future[FleetInfo] = asyncio.get_running_loop().create_future()
    running = asyncio.create_task(
        run_fleet(FleetSettings(count=1, port_base=0), started.set_result)
    )
    info = await started
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    with pytest.raises(OSError, match="Connect call failed"):
        await asyncio.open_connection(info.host, info.port_base)
