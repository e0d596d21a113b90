"""Wait conditions: signals that come early, late, twice, badly, or never."""

from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec.structs import replace
from tests.stacks.types.bench import T0, Bench, Clock

from holdfast.errors import InvalidInputError
from holdfast.stacks.resource import Peer, Ready, Replace, ResourceFailedError
from holdfast.stacks.types.conditions import (
    UpdateWaitConditionHandle,
    WaitCondition,
    WaitConditionHandle,
)
from holdfast.stacks.types.signalling import opens

ADDRESS = "http://hf/orchestration/v1"


class Pair:
    """A handle, and a condition that names it."""

    def __init__(self, handle: dict[str, Any] | None = None, **condition: Any) -> None:
        self.clock = Clock()
        call = {"orchestration_url": ADDRESS}
        self.handle = Bench(
            WaitConditionHandle(), handle, name="handle", clock=self.clock, call=call
        )
        self._given = {"timeout": 60, **condition}

    async def made(self) -> Pair:
        await self.handle.create()
        given = {"handle": self.handle.row.physical_id, **self._given}
        self.condition = Bench(
            WaitCondition(), given, name="condition", clock=self.clock, peers=self._peer
        )
        return self

    def _peer(self, reference: str) -> Peer | None:
        handle = self.handle
        if reference != handle.row.physical_id:
            return None
        return Peer(row=handle.row, signals=tuple(handle.signals))

    async def signal(self, payload: Any = None) -> None:
        kept = await self.handle.kind.signal(self.handle.context(), payload)
        self.handle.signals.append(kept)


async def test_signals_before_the_condition_count():
    pair = await Pair(count=2).made()
    await pair.signal({"id": "a", "data": "one"})
    await pair.signal({"id": "b", "data": "two"})
    await pair.condition.create()
    assert pair.clock.now == T0
    assert json.loads(pair.condition.row.attributes["data"]) == {"a": "one", "b": "two"}


async def test_it_waits_for_as_many_as_it_wants_and_says_how_many_came():
    pair = await Pair(count=3).made()
    await pair.signal()
    await pair.signal({"status": "SUCCESS", "data": {"ip": "::1"}})

    async def third_comes() -> None:
        if pair.clock.now >= T0 + 20 and len(pair.handle.signals) == 2:
            await pair.signal({"reason": "up"})

    await pair.condition.create(each=third_comes)
    assert T0 + 20 <= pair.clock.now <= T0 + 30
    assert pair.condition.waits[0].reason == "2 of 3 received"
    data = json.loads(pair.condition.row.attributes["data"])
    assert data == {"1": None, "2": {"ip": "::1"}, "3": None}


async def test_a_second_signal_of_an_id_replaces_the_first():
    pair = await Pair(count=2).made()
    await pair.signal({"id": "a"})
    await pair.signal({"id": "a"})
    with pytest.raises(ResourceFailedError, match="1 of 2 received - Signal 2 received"):
        await pair.condition.create()


async def test_the_first_failure_fails_it_with_all_reasons():
    pair = await Pair(count=9).made()
    await pair.signal({"status": "SUCCESS"})
    await pair.signal({"status": "FAILURE", "reason": "disk"})
    await pair.signal({"status": "FAILURE", "reason": "net"})
    with pytest.raises(ResourceFailedError, match="WaitConditionFailure: disk;net"):
        await pair.condition.create()


async def test_the_time_is_up_when_it_is_up():
    pair = await Pair(count=2, timeout=33).made()
    await pair.signal({"reason": "half way"})
    with pytest.raises(
        ResourceFailedError, match="WaitConditionTimeout: 1 of 2 received - half way"
    ):
        await pair.condition.create()
    assert pair.clock.now == T0 + 33


async def test_a_higher_count_waits_anew():
    pair = await Pair(count=1).made()
    await pair.signal()
    await pair.condition.create()
    given = {"handle": pair.handle.row.physical_id, "timeout": 60, "count": 2}

    async def another() -> None:
        if pair.clock.now >= T0 + 10 and len(pair.handle.signals) == 1:
            await pair.signal()

    assert isinstance(await pair.condition.update(given, each=another), Ready)
    assert pair.clock.now >= T0 + 10


async def test_no_signal_means_no_wait():
    pair = await Pair({"signal_transport": "NO_SIGNAL"}).made()
    await pair.condition.create()
    assert pair.clock.now == T0


async def test_what_is_no_handle_is_refused():
    pair = await Pair().made()
    pair.handle.row = replace(pair.handle.row, data={})
    with pytest.raises(ResourceFailedError, match="is not a valid wait condition handle"):
        await pair.condition.create()
    nowhere = Bench(WaitCondition(), {"handle": "nobody", "timeout": 5})
    with pytest.raises(ResourceFailedError, match="nobody is not a valid wait condition handle"):
        await nowhere.create()


@pytest.mark.parametrize(
    "payload", ["text", [1], {"status": "MAYBE"}, {"id": "a", "colour": "red"}]
)
async def test_a_signal_of_another_form_is_refused(payload: Any):
    pair = await Pair().made()
    with pytest.raises(InvalidInputError):
        await pair.signal(payload)


async def test_a_handle_says_how_it_is_signalled_and_only_its_token_opens_it():
    pair = await Pair().made()
    row = pair.handle.row
    known = row.attributes
    path = f"p/stacks/app/{row.stack}/resources/handle/signal"
    assert known["endpoint"] == f"{ADDRESS}/{path}"
    assert known["curl_cli"] == (
        f"curl -i -X POST -H 'X-Auth-Token: {known['token']}' "
        "-H 'Content-Type: application/json' -H 'Accept: application/json' "
        f"{known['endpoint']}"
    )
    assert json.loads(known["signal"])["token"] == known["token"]
    assert opens(row, known["token"])
    assert not opens(row, "")
    assert not opens(replace(row, data={}), known["token"])


async def test_with_ones_own_credentials_there_is_no_token():
    pair = await Pair({"signal_transport": "HEAT_SIGNAL"}).made()
    known = pair.handle.row.attributes
    assert (known["token"], known["endpoint"], known["curl_cli"]) == (None, None, None)
    assert json.loads(known["signal"])["resource_name"] == "handle"
    assert not opens(pair.handle.row, "None")


@pytest.mark.parametrize("transport", ["CFN_SIGNAL", "TEMP_URL_SIGNAL", "ZAQAR_SIGNAL"])
def test_transports_of_services_that_are_not_here_are_refused_by_name(transport: str):
    with pytest.raises(InvalidInputError, match=f"{transport} needs .* which is not here"):
        Bench(WaitConditionHandle(), {"signal_transport": transport})


async def test_an_update_handle_is_replaced_with_every_update():
    bench = Bench(UpdateWaitConditionHandle())
    assert bench.kind.always_updates
    await bench.create()
    assert bench.row.attributes["token"]
    assert isinstance(await bench.update({}), Replace)
