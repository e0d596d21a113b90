"""The Redfish face, over real HTTP with aiohttp's client."""

from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
import pytest

from holdfast.sim.fleet.server import Fleet
from holdfast.sim.fleet.settings import FleetSettings, Times

NOW = (0.0, 0.0)
LATER = (3_600.0, 3_600.0)  # never, within a test
INSTANT = Times(power_on_s=NOW, power_off_s=NOW, graceful_s=NOW, boot_s=LATER, step_s=NOW)
SYSTEM = "/redfish/v1/Systems/1"
RESET = f"{SYSTEM}/Actions/ComputerSystem.Reset"
CD = "/redfish/v1/Managers/1/VirtualMedia/Cd"
BASIC = {"Authorization": "Basic YWRtaW46cGFzc3dvcmQ="}
WRONG = {"Authorization": "Basic YWRtaW46bm8="}


@pytest.fixture
async def fleet() -> AsyncIterator[Fleet]:
    fleet = Fleet(FleetSettings(count=2, port_base=0, times=INSTANT, session_limit=2))
    await fleet.start()
    yield fleet
    await fleet.close()


@pytest.fixture
async def bmc(fleet: Fleet) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(fleet.address(fleet.machines[0]), headers=BASIC) as session:
        yield session


@pytest.fixture
async def stranger(fleet: Fleet) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(fleet.address(fleet.machines[0])) as session:
        yield session


async def get(session: aiohttp.ClientSession, path: str, **more) -> dict:
    async with session.get(path, **more) as answer:
        assert answer.status == 200, await answer.text()
        return await answer.json()


async def status(session: aiohttp.ClientSession, method: str, path: str, body=None, **more) -> int:
    async with session.request(method, path, json=body, **more) as answer:
        return answer.status


async def refusal(session: aiohttp.ClientSession, method: str, path: str, **more):
    async with session.request(method, path, **more) as answer:
        error = (await answer.json())["error"]
        assert error["@Message.ExtendedInfo"][0]["MessageId"] == error["code"]
        return answer.status, error["code"].rpartition(".")[2]


async def test_every_resource_is_reachable_by_following_links_from_the_root(bmc):
    seen, todo = set(), ["/redfish/v1"]
    while todo:
        path = todo.pop()
        if path in seen:
            continue
        seen.add(path)
        document = await get(bmc, path)
        assert document["@odata.id"] == path

        def links(value):
            if isinstance(value, dict):
                if len(value) == 1 and "@odata.id" in value:
                    todo.append(value["@odata.id"])
                for inner in value.values():
                    links(inner)
            elif isinstance(value, list):
                for inner in value:
                    links(inner)

        links(document)
    assert {SYSTEM, CD, "/redfish/v1/Chassis/1", f"{SYSTEM}/EthernetInterfaces/1"} <= seen


async def test_only_the_root_and_the_login_are_open_to_strangers(stranger):
    assert await status(stranger, "GET", "/redfish/v1/") == 200
    assert await refusal(stranger, "GET", SYSTEM) == (401, "ResourceAtUriUnauthorized")
    assert await status(stranger, "POST", RESET, {"ResetType": "On"}) == 401
    assert await status(stranger, "GET", SYSTEM, headers=WRONG) == 401
    assert await status(stranger, "GET", SYSTEM, headers={"X-Auth-Token": "no"}) == 401


async def log_in(stranger, password="password"):
    body = {"UserName": "admin", "Password": password}
    async with stranger.post("/redfish/v1/SessionService/Sessions", json=body) as answer:
        return answer.status, answer.headers.get("X-Auth-Token"), answer.headers.get("Location")


async def test_a_session_lets_in_until_it_is_deleted(stranger):
    made, token, location = await log_in(stranger)
    assert made == 201
    key = {"X-Auth-Token": token}
    assert await status(stranger, "GET", SYSTEM, headers=key) == 200
    assert await status(stranger, "DELETE", location, headers=key) == 204
    assert await status(stranger, "GET", SYSTEM, headers=key) == 401
    assert (await log_in(stranger, "wrong"))[0] == 401


async def test_sessions_are_limited_and_lost_when_the_bmc_restarts(fleet, stranger):
    _, token, _ = await log_in(stranger)
    assert (await log_in(stranger))[0] == 201
    assert (await log_in(stranger))[0] == 503
    fleet.reset_bmc(fleet.machines[0])
    assert await status(stranger, "GET", SYSTEM, headers={"X-Auth-Token": token}) == 401
    assert (await log_in(stranger))[0] == 201


async def test_power_goes_on_and_off_by_reset(bmc, fleet):
    assert (await get(bmc, SYSTEM))["PowerState"] == "Off"
    assert await status(bmc, "POST", RESET, {"ResetType": "On"}) == 204
    assert (await get(bmc, SYSTEM))["PowerState"] in ("PoweringOn", "On")
    fleet.machines[0].cut_power()
    assert await refusal(bmc, "POST", RESET, json={"ResetType": "Nmi"}) == (
        409, "ResourceInStandby",
    )  # fmt: skip


async def test_the_other_machine_is_not_touched(bmc, fleet):
    await status(bmc, "POST", RESET, {"ResetType": "On"})
    assert fleet.machines[1].power.value == "Off"


async def test_the_boot_override_is_set_and_wrong_ones_are_refused(bmc, fleet):
    boot = {"BootSourceOverrideTarget": "Cd", "BootSourceOverrideEnabled": "Once"}
    assert await status(bmc, "PATCH", SYSTEM, {"Boot": boot}) == 204
    read = (await get(bmc, SYSTEM))["Boot"]
    assert (read["BootSourceOverrideTarget"], read["BootSourceOverrideEnabled"]) == ("Cd", "Once")
    assert "Pxe" in read["BootSourceOverrideTarget@Redfish.AllowableValues"]
    for body, code in (
        ({"Boot": {"BootSourceOverrideTarget": "Floppy"}}, "PropertyValueNotInList"),
        ({"Boot": {"BootSourceOverrideMode": "Odd"}}, "PropertyValueNotInList"),
        ({"AssetTag": "x"}, "PropertyUnknown"),
        ({}, "PropertyUnknown"),
    ):
        assert await refusal(bmc, "PATCH", SYSTEM, json=body) == (400, code)
    assert fleet.machines[0].override == ("Cd", "Once")


async def test_a_change_based_on_an_old_etag_is_refused(bmc):
    async with bmc.get(SYSTEM) as answer:
        etag = answer.headers["ETag"]
        assert (await answer.json())["@odata.etag"] == etag
    assert await status(bmc, "GET", SYSTEM, headers={"If-None-Match": etag}) == 304
    boot = {"Boot": {"BootSourceOverrideTarget": "Pxe"}}
    assert await status(bmc, "PATCH", SYSTEM, boot, headers={"If-Match": etag}) == 204
    assert await status(bmc, "PATCH", SYSTEM, boot, headers={"If-Match": etag}) == 412


async def test_media_is_inserted_once_and_ejected(bmc):
    image = {"Image": "http://images/a.iso"}
    other = {"Image": "http://images/b.iso"}
    insert, eject = (f"{CD}/Actions/VirtualMedia.{verb}Media" for verb in ("Insert", "Eject"))
    assert await status(bmc, "POST", insert, image) == 204
    assert await status(bmc, "POST", insert, image) == 204
    assert await refusal(bmc, "POST", insert, json=other) == (409, "ResourceInUse")
    read = await get(bmc, CD)
    assert (read["Image"], read["Inserted"]) == ("http://images/a.iso", True)
    assert await status(bmc, "POST", eject, {}) == 204
    assert (await get(bmc, CD))["Inserted"] is False
    assert await refusal(bmc, "POST", insert, json={}) == (400, "PropertyMissing")


async def test_bad_requests_get_redfish_errors(bmc):
    assert await refusal(bmc, "GET", "/redfish/v1/Nosuch") == (404, "ResourceMissingAtURI")
    assert await refusal(bmc, "GET", "/redfish/v1/Systems/2") == (404, "ResourceMissingAtURI")
    assert await refusal(bmc, "DELETE", SYSTEM) == (405, "OperationNotAllowed")
    assert await refusal(bmc, "GET", RESET) == (405, "OperationNotAllowed")
    assert await refusal(bmc, "POST", RESET, data=b"{oops") == (400, "MalformedJSON")
    assert await refusal(bmc, "POST", RESET, json={}) == (400, "PropertyValueNotInList")


async def test_on_a_single_port_all_machines_are_systems_of_one_bmc():
    fleet = Fleet(FleetSettings(count=3, port_base=0, single_port=True, times=INSTANT))
    await fleet.start()
    try:
        assert len({fleet.address(machine) for machine in fleet.machines}) == 1
        async with aiohttp.ClientSession(fleet.address(fleet.machines[0]), headers=BASIC) as bmc:
            systems = await get(bmc, "/redfish/v1/Systems")
            assert [m["@odata.id"].rpartition("/")[2] for m in systems["Members"]] == [
                "0", "1", "2",
            ]  # fmt: skip
            path = "/redfish/v1/Systems/2/Actions/ComputerSystem.Reset"
            assert await status(bmc, "POST", path, {"ResetType": "On"}) == 204
        assert [machine.power.value != "Off" for machine in fleet.machines] == [False, False, True]
    finally:
        await fleet.close()
