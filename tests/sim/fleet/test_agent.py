"""The agent's life on the wire: lookup, heartbeats, retries; as ironic-python-agent does."""

from __future__ import annotations

import msgspec
import pytest
from tests.sim.fleet.manual import (
    NODE,
    TOKEN,
    Answers,
    IronicApi,
    ManualClock,
    make_machine,
    request,
    surroundings,
)

from holdfast.sim.fleet.agent import Agent, ApiReply
from holdfast.sim.fleet.faults import Faults
from holdfast.sim.fleet.journal import Journal
from holdfast.sim.fleet.machine import Media

CALLBACK = "http://127.0.0.1:9999"
STEP = {"name": "deploy.execute_deploy_step", "params": {"step": {"step": "write_image"}}}


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def api() -> IronicApi:
    return IronicApi()


def make_agent(clock: ManualClock, api: IronicApi, **changes: object) -> Agent:
    machine = make_machine(clock)
    for name, value in changes.items():
        setattr(machine, name, value)
    return Agent(
        machine,
        surroundings(clock, api, Journal()),
        api_url="http://api/baremetal/",
    )


def found(**config: object) -> ApiReply:
    document = {"node": {"uuid": NODE}, "config": {"heartbeat_timeout": 300, **config}}
    return ApiReply(status=200, body=msgspec.json.encode(document))


def test_it_asks_for_the_version_looks_itself_up_and_heartbeats_at_once(clock, api):
    make_agent(clock, api).start(CALLBACK)
    root, lookup, beat = api.calls
    assert (root.method, root.url) == ("GET", "http://api/baremetal/")
    assert lookup.url == "http://api/baremetal/v1/lookup?addresses=52:54:00:00:00:00"
    assert lookup.headers["X-OpenStack-Ironic-API-Version"] == "1.62"
    assert (beat.method, beat.url) == ("POST", f"http://api/baremetal/v1/heartbeat/{NODE}")
    assert beat.headers["X-OpenStack-Ironic-API-Version"] == "1.68"
    assert msgspec.json.decode(beat.body) == {
        "callback_url": CALLBACK,
        "agent_token": TOKEN,
        "agent_version": "13.0.0",
    }


def test_an_api_that_tells_no_version_is_taken_for_an_old_one(clock, api):
    api.version = ""
    make_agent(clock, api).start(CALLBACK)
    (beat,) = api.of("/heartbeat/")
    assert beat.headers["X-OpenStack-Ironic-API-Version"] == "1.31"
    assert list(msgspec.json.decode(beat.body)) == ["callback_url"]


def test_kernel_parameters_in_the_media_url_come_first(clock, api):
    media = Media(image=f"http://i/x.iso?ipa-api-url=http://other&node_uuid={NODE}")
    make_agent(clock, api, media=media).start(CALLBACK)
    assert api.calls[1].url == (
        f"http://other/v1/lookup?addresses=52:54:00:00:00:00&node_uuid={NODE}"
    )


def test_heartbeats_come_at_a_jittered_share_of_the_timeout(clock, api):
    make_agent(clock, api).start(CALLBACK)
    clock.advance(89.9)
    assert len(api.of("/heartbeat/")) == 1
    clock.advance(90.2)
    assert len(api.of("/heartbeat/")) == 2
    clock.advance(3_600.0)
    assert 20 <= len(api.of("/heartbeat/")) <= 43


@pytest.mark.parametrize("status", [409, 500, 503, 0])
def test_a_refused_heartbeat_is_repeated_within_five_to_ten_seconds(clock, api, status):
    api.heartbeat = ApiReply(status=status)
    agent = make_agent(clock, api)
    agent.start(CALLBACK)
    clock.advance(4.9)
    assert len(api.of("/heartbeat/")) == 1
    api.heartbeat = ApiReply(status=202)
    clock.advance(5.2)
    assert (len(api.of("/heartbeat/")), agent.heartbeats) == (2, 1)


@pytest.mark.parametrize("status", [404, 500, 0, 200])
def test_a_failed_lookup_is_repeated_until_the_node_is_found(clock, api, status):
    api.lookup = ApiReply(status=status, body=b"oops")
    make_agent(clock, api).start(CALLBACK)
    clock.advance(120.0)
    assert len(api.of("/lookup")) >= 3
    assert api.of("/heartbeat/") == []
    api.lookup = found(agent_token=TOKEN)
    clock.advance(60.0)
    assert len(api.of("/heartbeat/")) == 1


def test_a_lookup_of_a_locked_node_waits_five_ten_and_thirty_seconds(clock, api):
    api.lookup = ApiReply(status=409)
    make_agent(clock, api).start(CALLBACK)
    times = []
    for _ in range(80):
        if len(api.of("/lookup")) > len(times):
            times.append(clock.now - 1_000.0)
        clock.advance(1.0)
    assert times == [0.0, 5.0, 15.0, 45.0, 75.0]


def test_an_agent_nobody_knows_gives_up(clock, api):
    api.lookup = ApiReply(status=404)
    agent = make_agent(clock, api)
    agent.start(CALLBACK)
    clock.advance(700.0)
    count = len(api.calls)
    clock.advance(7_200.0)
    assert len(api.calls) == count
    assert not agent.serving


def test_a_token_handed_out_before_is_fatal(clock, api):
    api.lookup = found(agent_token="******")
    agent = make_agent(clock, api)
    agent.start(CALLBACK)
    assert not agent.serving
    assert api.of("/heartbeat/") == []


def test_a_token_from_the_kernel_command_line_survives_a_masked_one(clock, api):
    api.lookup = found(agent_token="******")
    agent = make_agent(clock, api, media=Media(image=f"http://i/x?ipa-agent-token={TOKEN}"))
    agent.start(CALLBACK)
    assert agent.token == TOKEN
    assert len(api.of("/heartbeat/")) == 1


def test_a_command_that_ended_is_told_by_a_heartbeat_soon_but_not_sooner_than_five_seconds(
    clock, api
):
    agent = make_agent(clock, api)
    agent.start(CALLBACK)
    agent.handle(request("POST", f"/v1/commands/?agent_token={TOKEN}", STEP), Answers())
    clock.advance(19.9)
    assert len(api.of("/heartbeat/")) == 1
    clock.advance(0.2)  # ended at 20 s, the last heartbeat long ago
    assert len(api.of("/heartbeat/")) == 2
    agent.command_ended()
    clock.advance(4.8)
    assert len(api.of("/heartbeat/")) == 2
    clock.advance(0.2)
    assert len(api.of("/heartbeat/")) == 3


def test_a_command_that_ends_while_a_heartbeat_is_under_way_is_told_by_another(clock, api):
    agent = make_agent(clock, api)
    agent.start(CALLBACK)
    api.held = []
    clock.advance(181.0)
    assert len(api.of("/heartbeat/")) == 2
    agent.command_ended()
    assert len(api.of("/heartbeat/")) == 2
    api.held.pop()()
    clock.advance(5.0)
    assert len(api.of("/heartbeat/")) == 3


def test_a_stopped_agent_calls_nobody_even_when_an_answer_comes_late(clock, api):
    api.held = []
    agent = make_agent(clock, api)
    agent.start(CALLBACK)
    agent.stop()
    for answer in api.held:
        answer()
    clock.advance(3_600.0)
    assert len(api.calls) == 1


def test_a_silent_agent_serves_and_never_calls(clock, api):
    agent = make_agent(clock, api, faults=Faults(agent_silent=True))
    agent.start(CALLBACK)
    clock.advance(3_600.0)
    assert api.calls == []
    assert agent.serving
