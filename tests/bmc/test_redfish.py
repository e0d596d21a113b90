"""The Redfish driver against a BMC in this process: actions, logins, and BMCs that misbehave."""

from __future__ import annotations

import asyncio
import socket
import zlib
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from aiohttp import web
from tests.bmc.fakes import command
from tests.bmc.mockbmc import MANAGER, PASSWORD, RESET, SESSIONS, SYSTEM, USER, MockBmc, refuse

from holdfast.bmc.errors import (
    BmcAuthError,
    BmcRefusedError,
    BmcTimeoutError,
    BmcUnreachableError,
)
from holdfast.bmc.redfish import Redfish
from holdfast.bmc.settings import BmcSettings
from holdfast.errors import InvalidInputError

SETTINGS = BmcSettings(allow_loopback=True, answer_bytes_max=64 << 10)
SECRETS = {"username": USER, "password": PASSWORD}
CD = f"{SYSTEM}/VirtualMedia/Cd"


class Rig:
    """A driver and a BMC."""

    def __init__(self, bmc: MockBmc, driver: Redfish) -> None:
        self.bmc = bmc
        self.driver = driver
        self.connections: list[bool] = []

    async def __call__(self, action: str, secrets: Any = None, **kwargs: Any) -> dict[str, Any]:
        target = {key: kwargs.pop(key) for key in TARGET_KEYS if key in kwargs}
        target.setdefault("address", self.bmc.url)
        sent = command(action=action, params=kwargs, **target)
        return await self.driver.execute(sent, SECRETS if secrets is None else secrets)


TARGET_KEYS = ("address", "auth_type", "system_id", "verify_ca")


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    async with MockBmc() as bmc:
        connections: list[bool] = []
        driver = Redfish(SETTINGS, lambda _, made: connections.append(made))
        made = Rig(bmc, driver)
        made.connections = connections
        yield made
        await driver.close()


# -- actions ----------------------------------------------------------------------------------


async def test_verify_tells_what_the_machine_is_and_finds_its_only_system(rig):
    assert await rig("verify") == {
        "vendor": "Mock",
        "model": "One",
        "system_id": SYSTEM,
        "uuid": "c0ffee00-0000-4000-8000-000000000001",
    }


async def test_observe_tells_power_boot_device_and_media(rig):
    rig.bmc.image = "http://192.0.2.9/a.iso"
    rig.bmc.boot = {"BootSourceOverrideEnabled": "Once", "BootSourceOverrideTarget": "Pxe"}
    assert await rig("observe") == {
        "power_state": "power off",
        "powering": False,
        "boot_device": "pxe",
        "media": "http://192.0.2.9/a.iso",
    }


async def test_observing_the_power_only_reads_one_resource(rig):
    rig.bmc.image = "http://192.0.2.9/a.iso"
    await rig("observe", power_only=True)
    before = len(rig.bmc.journal)
    seen = await rig("observe", power_only=True)
    assert rig.bmc.journal[before:] == [("GET", SYSTEM)]
    assert (seen["power_state"], seen["media"]) == ("power off", None)


@pytest.mark.parametrize(
    ("said", "state", "moving"),
    [
        ("On", "power on", False),
        ("PoweringOn", "power on", True),
        ("PoweringOff", "power off", True),
        ("Paused", None, False),
        ({"not": "a word"}, None, False),
        (None, None, False),
    ],
)
async def test_observe_translates_power_states_and_admits_what_it_does_not_know(
    rig, said, state, moving
):
    rig.bmc.power = said
    seen = await rig("observe")
    assert (seen["power_state"], seen["powering"]) == (state, moving)


@pytest.mark.parametrize(
    ("state", "kind"),
    [("power on", "On"), ("power off", "ForceOff"), ("soft power off", "GracefulShutdown")],
)
async def test_set_power_asks_for_an_absolute_state(rig, state, kind):
    assert await rig("set_power", state=state) == {}
    assert rig.bmc.changes() == [("POST", RESET)]
    assert rig.bmc.bodies[-1] == {"ResetType": kind}


async def test_set_power_never_falls_back_to_a_button_that_toggles(rig):
    rig.bmc.resets = ["PushPowerButton", "ForceRestart"]
    with pytest.raises(BmcRefusedError, match="offers none"):
        await rig("set_power", state="power on")
    assert rig.bmc.changes() == []


async def test_a_refusal_to_go_where_the_machine_is_already_is_no_failure(rig):
    rig.bmc.power = "On"
    rig.bmc.twist = lambda r: refuse(409, "Already on") if r.method == "POST" else None
    assert await rig("set_power", auth_type="basic", state="power on") == {}
    with pytest.raises(BmcRefusedError, match="Already on"):
        await rig("set_power", auth_type="basic", state="power off")


@pytest.mark.parametrize("state", ["reboot", "power_on", "", None, 1])
async def test_only_known_absolute_power_states_are_accepted(rig, state):
    with pytest.raises(InvalidInputError, match="set_power"):
        await rig("set_power", state=state)
    assert rig.bmc.journal == []


@pytest.mark.parametrize(("device", "target"), [("pxe", "Pxe"), ("disk", "Hdd"), ("cdrom", "Cd")])
@pytest.mark.parametrize(("persistent", "enabled"), [(True, "Continuous"), (False, "Once")])
async def test_set_boot_device_overrides_once_or_for_good(rig, device, target, persistent, enabled):
    await rig("set_boot_device", device=device, persistent=persistent)
    assert rig.bmc.boot == {
        "BootSourceOverrideTarget": target,
        "BootSourceOverrideEnabled": enabled,
    }
    assert (await rig("observe"))["boot_device"] == device


@pytest.mark.parametrize(
    ("sent", "wanted"),
    [
        ('"a"', '"a"'),  # compares as it should
        ('W/"a"', '"a"'),  # sends a weak tag and compares a strong one
        ('"a"', None),  # refuses its own
        (None, None),
    ],
)
async def test_set_boot_device_gets_past_the_etag_habits_of_bmcs(rig, sent, wanted):
    rig.bmc.etag_sent, rig.bmc.etag = sent, wanted
    if sent and wanted is None:
        rig.bmc.twist = lambda r: refuse(412, "no") if "If-Match" in r.headers else None
    await rig("set_boot_device", device="pxe", persistent=False)
    assert rig.bmc.boot["BootSourceOverrideTarget"] == "Pxe"


@pytest.mark.parametrize("holder", [SYSTEM, MANAGER])
async def test_media_goes_into_the_cd_drive_of_the_system_or_its_manager(rig, holder):
    rig.bmc.media_under = holder
    await rig("insert_media", url="http://192.0.2.9/a.iso")
    assert (await rig("observe"))["media"] == "http://192.0.2.9/a.iso"
    await rig("eject_media")
    assert (await rig("observe"))["media"] is None


async def test_inserting_what_is_inserted_and_ejecting_what_is_not_does_nothing(rig):
    await rig("eject_media")
    await rig("insert_media", url="http://192.0.2.9/a.iso")
    await rig("insert_media", url="http://192.0.2.9/a.iso")
    assert rig.bmc.changes() == [("POST", f"{CD}/Actions/Insert")]


async def test_other_media_is_ejected_first(rig):
    rig.bmc.image = "http://192.0.2.9/old.iso"
    await rig("insert_media", url="http://192.0.2.9/a.iso")
    assert rig.bmc.changes() == [
        ("POST", f"{CD}/Actions/Eject"),
        ("POST", f"{CD}/Actions/Insert"),
    ]
    assert rig.bmc.image == "http://192.0.2.9/a.iso"


async def test_without_a_virtual_drive_media_is_refused_and_observing_still_works(rig):
    rig.bmc.media_under = ""
    assert (await rig("observe"))["media"] is None
    with pytest.raises(BmcRefusedError, match="no virtual CD"):
        await rig("insert_media", url="http://192.0.2.9/a.iso")


@pytest.mark.parametrize(
    "url", ["file:///etc/shadow", "a.iso", "http://a b", "http://a\r\nb", "http://a\n"]
)
async def test_media_urls_that_are_none_are_refused(rig, url):
    with pytest.raises(InvalidInputError):
        await rig("insert_media", url=url)


async def test_several_systems_need_a_choice_and_are_named(rig):
    rig.bmc.systems = [SYSTEM, "/redfish/v1/Systems/2"]
    with pytest.raises(BmcRefusedError, match=r"2 systems .*Systems/1, .*Systems/2"):
        await rig("observe")
    assert (await rig("verify", system_id="/redfish/v1/Systems/2"))["system_id"].endswith("/2")


async def test_a_system_id_is_a_path_on_the_bmc(rig):
    for wrong in ("1", "http://192.0.2.7/redfish/v1/Systems/1", "//192.0.2.7/x", ""):
        with pytest.raises(InvalidInputError, match="system id"):
            await rig("observe", system_id=wrong)


async def test_a_layout_that_turns_out_wrong_is_found_anew(rig):
    await rig("verify")
    rig.bmc.systems = ["/redfish/v1/Systems/other"]
    with pytest.raises(BmcRefusedError):
        await rig("verify")
    assert (await rig("verify"))["system_id"] == "/redfish/v1/Systems/other"


async def test_unknown_actions_and_parameters_are_refused(rig):
    with pytest.raises(InvalidInputError, match="no action"):
        await rig("explode")
    with pytest.raises(InvalidInputError, match="unknown field"):
        await rig("observe", surprise=1)


# -- connections and logins -------------------------------------------------------------------


async def test_connections_and_sessions_are_used_again(rig):
    for _ in range(5):
        await rig("observe")
    assert rig.connections.count(True) == 1
    assert rig.bmc.logins == 1


async def test_every_request_says_who_sends_it_and_why(rig):
    await rig("set_power", state="power on")
    await rig.driver.close()
    origins = {headers.get("X-Holdfast-Origin") for headers in rig.bmc.headers}
    assert origins == {command().origin.header()}


async def test_sessions_are_closed_at_the_end(rig):
    await rig("observe")
    assert len(rig.bmc.tokens) == 1
    await rig.driver.close()
    assert rig.bmc.tokens == set()


async def test_a_session_that_has_ended_is_renewed_once(rig):
    await rig("observe")
    rig.bmc.tokens.clear()
    await rig("set_power", state="power on")
    assert rig.bmc.logins == 2
    assert rig.bmc.power == "On"


async def test_a_bmc_that_takes_no_session_of_its_own_is_an_authentication_error(rig):
    def forgets(request: web.Request):
        return None if request.path in ("/redfish/v1/", SESSIONS) else refuse(401, "no")

    rig.bmc.twist = forgets
    with pytest.raises(BmcAuthError):
        await rig("observe")
    assert rig.bmc.logins == 2


async def test_without_a_session_service_basic_authentication_is_used_and_remembered(rig):
    rig.bmc.has_sessions = False
    await rig("observe")
    await rig("observe")
    assert rig.bmc.journal.count(("GET", "/redfish/v1/")) == 2  # once to log in, once to find it
    assert ("POST", SESSIONS) not in rig.bmc.journal


async def test_a_full_session_table_falls_back_to_basic(rig):
    rig.bmc.twist = lambda r: refuse(503, "Too many") if r.path == SESSIONS else None
    assert (await rig("observe"))["power_state"] == "power off"


async def test_auth_type_session_does_not_fall_back(rig):
    rig.bmc.has_sessions = False
    with pytest.raises(BmcAuthError, match="auth_type"):
        await rig("observe", auth_type="session")


async def test_auth_type_basic_asks_for_no_session(rig):
    await rig("observe", auth_type="basic")
    assert rig.bmc.logins == 0


async def test_without_credentials_none_are_sent(rig):
    rig.bmc.authenticated = False
    await rig("observe", secrets={})
    assert not any("Authorization" in h or "X-Auth-Token" in h for h in rig.bmc.headers)


@pytest.mark.parametrize("auth_type", ["auto", "basic", "session"])
async def test_wrong_credentials_are_an_authentication_error_that_does_not_show_them(
    rig, auth_type
):
    wrong = {"username": USER, "password": "hunter2hunter2"}
    with pytest.raises(BmcAuthError) as caught:
        await rig("observe", secrets=wrong, auth_type=auth_type)
    assert "hunter2" not in str(caught.value)
    assert USER in str(caught.value)


async def test_a_new_password_makes_a_new_session(rig):
    await rig("observe")
    with pytest.raises(BmcAuthError):
        await rig("observe", secrets={"username": USER, "password": "other"})


# -- BMCs that misbehave ----------------------------------------------------------------------

NONSENSE = {
    "no json": b"<html>hello</html>",
    "no object": b"[1, 2]",
    "a number": b"7",
    "nothing": b"",
    "deep": b"[" * 60_000,
    "too large": b'{"a": "' + b"x" * (65 << 10) + b'"}',
    "broken text": b'{"a": "\xff\xfe"}',
}


@pytest.mark.parametrize("body", NONSENSE.values(), ids=NONSENSE.keys())
@pytest.mark.parametrize("action", ["observe", "verify"])
async def test_nonsense_is_refused_with_a_sentence(rig, body, action):
    rig.bmc.twist = lambda r: web.Response(body=body) if r.path == SYSTEM else None
    with pytest.raises(BmcRefusedError, match="The BMC at"):
        await rig(action)


@pytest.mark.parametrize("lie", [None, 1, "x", [], {}, {"Members": 3}, {"Members": [7]}])
async def test_wrong_types_anywhere_are_refused(rig, lie):
    rig.bmc.twist = lambda r: web.json_response(lie) if r.path == "/redfish/v1/Systems" else None
    with pytest.raises(BmcRefusedError):
        await rig("observe")


async def test_a_compressed_answer_is_read_and_a_bomb_is_not(rig):
    def packed(document: Any):
        pack = zlib.compressobj(wbits=31)
        body = pack.compress(msgspec.json.encode(document)) + pack.flush()
        return web.Response(body=body, headers={"Content-Encoding": "gzip"})

    rig.bmc.twist = lambda r: packed({"PowerState": "On"}) if r.path == SYSTEM else None
    assert (await rig("observe"))["power_state"] == "power on"
    rig.bmc.twist = lambda r: packed({"a": "x" * (10 << 20)}) if r.path == SYSTEM else None
    with pytest.raises(BmcRefusedError, match="larger than"):
        await rig("observe")


async def test_credentials_follow_neither_a_redirect_nor_a_link_to_another_host(rig):
    async with MockBmc() as other:
        elsewhere = f"{other.url}{SYSTEM}"
        rig.bmc.twist = lambda r: (
            web.Response(status=307, headers={"Location": elsewhere}) if r.path == SYSTEM else None
        )
        with pytest.raises(BmcRefusedError, match="points elsewhere"):
            await rig("observe")
        rig.bmc.twist = lambda r: (
            web.json_response({"Members": [{"@odata.id": elsewhere}]})
            if r.path == "/redfish/v1/Systems"
            else None
        )
        with pytest.raises(BmcRefusedError, match="points elsewhere"):
            await rig("verify", address=rig.bmc.url.replace("127.0.0.1", "localhost"))
        assert other.journal == []


async def test_a_redirect_at_home_is_followed_for_reading_only(rig):
    def moved(request: web.Request):
        if request.path == "/redfish/v1/Systems":
            return web.Response(status=308, headers={"Location": "/redfish/v1/Systems/"})
        if request.path == "/redfish/v1/Systems/":
            return web.json_response({"Members": [{"@odata.id": SYSTEM}]})
        if request.path == RESET:
            return web.Response(status=308, headers={"Location": RESET + "/"})
        return None

    rig.bmc.twist = moved
    await rig("observe")
    with pytest.raises(BmcRefusedError, match="redirecting"):
        await rig("set_power", state="power on")


async def test_an_endless_redirect_ends(rig):
    rig.bmc.twist = lambda r: (
        web.Response(status=302, headers={"Location": SYSTEM}) if r.path == SYSTEM else None
    )
    with pytest.raises(BmcRefusedError, match="redirecting"):
        await rig("observe")


async def test_an_error_of_the_bmc_is_told_short_and_printable(rig):
    said = "No \x1b[31m" + "very " * 200
    rig.bmc.twist = lambda r: refuse(500, said) if r.path == SYSTEM else None
    with pytest.raises(BmcRefusedError, match="500 No") as caught:
        await rig("observe")
    assert "\x1b" not in str(caught.value)
    assert len(str(caught.value)) < 500


async def test_a_bmc_that_is_not_there_is_unreachable():
    with socket.socket() as taken:  # bound and not listening: refuses
        taken.bind(("127.0.0.1", 0))
        driver = Redfish(SETTINGS, lambda *_: None)
        sent = command(address=f"http://127.0.0.1:{taken.getsockname()[1]}")
        with pytest.raises(BmcUnreachableError, match="cannot be reached"):
            await driver.execute(sent, SECRETS)
        await driver.close()


async def serve_raw(answer: bytes) -> tuple[asyncio.Server, str]:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    return server, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def test_a_connection_broken_off_leaves_the_outcome_unknown():
    server, url = await serve_raw(b"")
    driver = Redfish(SETTINGS, lambda *_: None)
    with pytest.raises(BmcTimeoutError, match="unknown"):
        await driver.execute(command(address=url), {})
    await driver.close()
    server.close()


@pytest.mark.parametrize("answer", [b"SSH-2.0-dropbear\r\n", b"HTTP/1.1 999999 x\r\n\r\n"])
async def test_what_does_not_speak_http_is_refused(answer):
    server, url = await serve_raw(answer)
    driver = Redfish(SETTINGS, lambda *_: None)
    with pytest.raises(BmcRefusedError, match="does not speak HTTP"):
        await driver.execute(command(address=url), {})
    await driver.close()
    server.close()


@pytest.mark.parametrize(
    "address",
    [
        "",
        "ftp://192.0.2.1",
        "192.0.2.1",
        "http://",
        "http://u:p@192.0.2.1",
        "http://a/b",
        "http://a:x",
    ],
)
async def test_addresses_that_are_none_are_refused(address):
    driver = Redfish(SETTINGS, lambda *_: None)
    with pytest.raises(InvalidInputError, match="not the address of a BMC"):
        await driver.execute(command(address=address), SECRETS)
    await driver.close()


@pytest.mark.parametrize("path", ["/etc/shadow", "/etc/ssl/../shadow", "/etc/ssl/nothing.pem"])
async def test_verify_ca_reads_no_file_outside_the_ca_folders(path):
    driver = Redfish(SETTINGS, lambda *_: None)
    with pytest.raises(InvalidInputError, match="is not a file of CA certificates"):
        await driver.execute(command(address="https://192.0.2.1", verify_ca=path), SECRETS)
    await driver.close()
