"""A client as an object: deadlines, copies, other processes, other loops."""

from __future__ import annotations

import asyncio
import copy
import gc
import math
import os
import pickle
import threading
import tracemalloc
import weakref
from typing import Any

import pytest
from tests.client.servers import Server

from holdfast.client import ApiNodes, AsyncApiNodes, DnsName, Settings, session
from holdfast.client.calls import is_hedged
from holdfast.errors import InvalidInputError

UNPROBED = Settings(probe_s=0.0)
FAR = "http://192.0.2.1:1"


@pytest.mark.parametrize("deadline_s", [0, -1, math.inf, -math.inf, math.nan, 1e9])
def test_a_deadline_is_a_time_that_ends(deadline_s: float):
    for made in (ApiNodes(FAR, "s"), AsyncApiNodes(FAR, "s")):
        with pytest.raises(InvalidInputError, match="more than 0 and at most 86400 s"):
            made.within(deadline_s)
    with pytest.raises(InvalidInputError):
        Settings(deadline_s=deadline_s)


@pytest.mark.parametrize("name", ["probe_s", "refresh_s", "backoff_s", "idle_s", "hedging"])
@pytest.mark.parametrize("value", [math.inf, math.nan, -1.0])
def test_settings_are_numbers(name: str, value: float):
    told: dict[str, Any] = {name: value}
    with pytest.raises(InvalidInputError, match=name):
        Settings(**told)


def test_within_shares_the_connections(servers: list[Server]):
    with ApiNodes(servers[0].url, "s", settings=UNPROBED) as client:
        for _ in range(5):
            client.within(3.0).run_function("f")
    assert servers[0].connections == 1


@pytest.mark.parametrize("again", [copy.copy, lambda one: pickle.loads(pickle.dumps(one))])
def test_a_client_can_be_taken_to_another_process(servers: list[Server], again: Any):
    """By multiprocessing or joblib: what it was told goes along, what it has open does not."""
    told: dict[str, Any] = {"settings": UNPROBED, "pure": ("f",)}
    with ApiNodes(servers[0].url, "s", "key", **told).within(3.0) as client:
        client.run_function("f")
        with again(client) as other:
            assert other.run_function("f") == {"response": "a"}
            assert other._engine is not client._engine
    assert [one.headers["authorization"] for one in servers[0].asked] == ["Basic a2V5Og=="] * 2
    assert 2000 < int(servers[0].asked[1].headers["holdfast-deadline-ms"]) <= 3000
    source = DnsName("http://nodes.test")
    assert again(AsyncApiNodes(source, "s", bearer_token="t"))._headers[-1][1] == b"Bearer t"


def test_a_session_can_be_taken_to_another_process(servers: list[Server]):
    url = f"{servers[0].url}/public/api/v1/s/e/predict"
    with session(servers[0].url, settings=UNPROBED) as made:
        made.post(url, data=b"{}")
        with pickle.loads(pickle.dumps(made)) as other:
            assert other.post(url, data=b"{}").json() == {"response": "a"}


def test_a_fork_while_other_threads_ask_leaves_the_child_a_client_that_works(
    servers: list[Server],
):
    """Locks that were held in the parent are not waited for in the child."""
    with ApiNodes([one.url for one in servers], "s", settings=UNPROBED) as client:
        over = threading.Event()

        def run() -> None:
            while not over.is_set():
                client.run_function("f")

        threads = [threading.Thread(target=run) for _ in range(4)]
        for one in threads:
            one.start()
        statuses: list[int] = []
        for turn in range(10):
            held = client._engine._lock if turn == 0 else threading.Lock()
            with held:
                child = os.fork()
            if child == 0:
                try:
                    client.within(5.0).run_function("f")
                    os._exit(0)
                except BaseException:
                    os._exit(1)
            statuses.append(os.waitpid(child, 0)[1])
        over.set()
        for one in threads:
            one.join()
    assert statuses == [0] * 10


def test_a_client_serves_one_loop_after_the_other_but_not_two_at_once(servers: list[Server]):
    client = AsyncApiNodes(servers[0].url, "s", settings=UNPROBED)

    async def ask() -> Any:
        return await client.within(5.0).run_function("f")

    for _ in range(3):
        assert asyncio.run(ask()) == {"response": "a"}
    first, second = asyncio.new_event_loop(), asyncio.new_event_loop()
    first.run_until_complete(ask())
    with pytest.raises(InvalidInputError, match="another event loop's"):
        second.run_until_complete(ask())
    first.run_until_complete(client.close())
    first.close()
    assert second.run_until_complete(ask()) == {"response": "a"}
    second.run_until_complete(client.close())
    second.close()


def test_clients_that_are_closed_and_used_again_leave_nothing(servers: list[Server]):
    client = ApiNodes(servers[0].url, "s", settings=UNPROBED)
    before = len(weakref.finalize._registry)  # pyright: ignore[reportAttributeAccessIssue]
    for _ in range(20):
        client.run_function("f")
        client.close()
    gc.collect()
    assert len(weakref.finalize._registry) <= before  # pyright: ignore[reportAttributeAccessIssue]
    names = [one.name for one in threading.enumerate()]
    assert "holdfast-client-watch" not in names


def test_many_calls_of_many_kinds_do_not_grow_the_client(servers: list[Server]):
    """Bounded by what is remembered of a kind, however many names callers make up."""
    settings = Settings(probe_s=0.0, latency_decay_s=3.0)
    with ApiNodes(servers[0].url, "s", settings=settings) as client:
        for one in servers:
            one.asked = _Forgetful()
        for number in range(2200):
            client.run_function(f"f{number}")
        tracemalloc.start()
        for number in range(1100):
            client.run_function(f"g{number}")
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        for number in range(1000):
            client.run_function(f"h{number}")
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()
    assert grown < 300_000


class _Forgetful(list[Any]):
    def append(self, _: Any) -> None: ...


def test_a_function_is_never_hedged_unless_declared(servers: list[Server]):
    """However its path is written: a node reads ``r%75n`` and ``//`` as any other."""
    assert not is_hedged("run", "f", frozenset())
    assert is_hedged("run", "f", frozenset({"f"}))
    hedged: list[bool] = []
    with session(servers[0].url, settings=UNPROBED) as made:
        adapter: Any = made.get_adapter(servers[0].url + "/")
        made.post(f"{servers[0].url}/public/api/v1/s/f/run", data=b"{}")
        real = adapter._engine.ask

        def ask(*arguments: Any, **told: Any) -> Any:
            hedged.append(told["hedged"])
            return real(*arguments, **told)

        adapter._engine.ask = ask
        for path in ("f/run", "f//run", "f/run/", "f/run?x=1", "f/r%75n", "f/%72un//"):
            request = made.prepare_request(_request(servers[0].url, path))
            request.url = f"{servers[0].url}/public/api/v1/s/{path}"  # not put right by requests
            adapter.send(request, verify=adapter._trust[0])
    assert hedged == [False] * 6


def _request(url: str, path: str) -> Any:
    import requests

    return requests.Request("POST", f"{url}/public/api/v1/s/{path}", data=b"{}")
