"""Both faces over real sockets: what the course decides is what happens."""

from __future__ import annotations

import asyncio
import json
import os
import threading
import time
from typing import Any

import pytest
from tests.client.servers import Asked, Server, answer

from holdfast.client import (
    AnswerError,
    ApiNodes,
    AsyncApiNodes,
    DeadlineError,
    NoInstanceError,
    Settings,
)
from holdfast.errors import InvalidInputError

UNPROBED = Settings(probe_s=0.0)


class Face:
    """Either client, asked from a test's thread."""

    def __init__(self, kind: str, servers: list[Server], **told: Any) -> None:
        self.servers = servers
        urls = [one.url for one in servers]
        told = {"settings": UNPROBED, "pure": ("f",)} | told
        self._loop = asyncio.new_event_loop()
        self.client: Any = (ApiNodes if kind == "threads" else AsyncApiNodes)(
            urls, "s", "key", **told
        )

    def call(self, what: Any) -> Any:
        return self._loop.run_until_complete(what) if asyncio.iscoroutine(what) else what

    def ask(self, **arguments: Any) -> str:
        return self.call(self.client.run_function("f", **arguments))["response"]

    def within(self, deadline_s: float) -> str:
        return self.call(self.client.within(deadline_s).run_function("f"))["response"]

    def states(self) -> dict[str, str]:
        states = [one["state"] for one in self.client.instances()]
        return dict(zip((one.name for one in self.servers), states, strict=True))

    def warm(self, count: int = 80) -> None:
        for _ in range(count):
            self.ask()

    def close(self) -> None:
        self.call(self.client.close())
        self._loop.close()


@pytest.fixture(params=["threads", "loop"])
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def face(kind: str, servers: list[Server]) -> Any:
    made = Face(kind, servers)
    yield made
    made.close()


def test_a_query_is_sent_as_dataikuapi_sends_it_with_the_time_left(face: Face):
    face.within(3.0)
    (asked,) = [query for one in face.servers for query in one.asked]
    assert (asked.method, asked.path) == ("POST", "/public/api/v1/s/f/run")
    assert asked.headers["authorization"] == "Basic a2V5Og=="
    assert 2000 < int(asked.headers["holdfast-deadline-ms"]) <= 3000


def test_every_call_has_its_path_and_body(face: Face, servers: list[Server]):
    client = face.client
    for one in servers:
        one.reply = lambda query: answer({"results": [json.loads(query.body)], "at": query.path})
    row = {"x": 1}
    for call, path, body in (
        (client.predict_record("e", row), "e/predict", {"features": row}),
        (
            client.predict_record("e", row, forced_generation="v1", context={"c": 1}),
            "e/predict",
            {"features": row, "context": {"c": 1}, "dispatch": {"forcedGeneration": "v1"}},
        ),
        (
            client.predict_records("e", [{"features": row}], dispatch_key="k"),
            "e/predict-multi",
            {"items": [{"features": row}], "dispatch": {"dispatchKey": "k"}},
        ),
        (client.forecast("e", [row]), "e/forecast", {"items": [row]}),
        (client.sql_query("e", row), "e/query", row),
        (client.lookup_records("e", [{"data": row}]), "e/lookup-multi", {"items": [{"data": row}]}),
        (client.run_function("e/é", endpoint=2), "e%2F%C3%A9/run", {"endpoint": 2}),
    ):
        told = face.call(call)
        assert (told["at"], told["results"]) == (f"/public/api/v1/s/{path}", [body])
    assert face.call(client.lookup_record("e", row)) == {"data": row}
    with pytest.raises(InvalidInputError, match="'features'"):
        face.call(client.predict_records("e", [row]))
    with pytest.raises(InvalidInputError, match="JSON"):
        face.call(client.sql_query("e", {"x": object()}))


def test_connections_are_kept(face: Face):
    face.warm(30)
    assert sum(one.connections for one in face.servers) <= 3


def test_a_connection_closed_under_the_query_is_made_good_elsewhere(face: Face):
    """The kept-alive connection that a stopping node closes: the classic lost query."""
    face.warm(20)
    for one in face.servers[:2]:
        one.reply = lambda _: None
    assert {face.ask() for _ in range(20)} == {"c"}


def test_connections_that_ended_while_idle_are_not_used(face: Face):
    face.warm(20)
    for one in face.servers:
        one.drop()
    assert face.ask() in "abc"


def test_a_dead_instance_is_left_out_and_all_dead_is_said(face: Face, servers: list[Server]):
    servers[0].stop()
    servers[1].stop()
    assert {face.ask() for _ in range(20)} == {"c"}
    assert face.states() == {"a": "down", "b": "down", "c": "used"}
    servers[2].stop()
    with pytest.raises(NoInstanceError, match=f"{servers[1].port}: cannot be connected to"):
        face.ask()


def test_overload_is_taken_to_another_instance(face: Face):
    busy = answer({}, 503, "Retry-After: 5\r\n")
    face.servers[0].reply = lambda _: busy
    assert {face.ask() for _ in range(20)} == {"b", "c"}
    assert len(face.servers[0].asked) <= 1


@pytest.mark.parametrize("status", [400, 404, 500])
def test_an_error_is_not_asked_again(face: Face, status: int):
    text = {"errorType": "QueryError", "detailedMessage": "That is wrong."}
    for one in face.servers:
        one.reply = lambda _: answer(text, status)
    with pytest.raises(AnswerError, match=f"answered {status}: QueryError: That is wrong") as told:
        face.ask()
    assert (told.value.answer_status, told.value.error_type) == (status, "QueryError")
    assert sum(len(one.asked) for one in face.servers) == 1


def test_who_says_connection_close_is_left_alone(face: Face):
    leaving = answer({"response": "a"}, 200, "Connection: close\r\n")
    face.servers[0].reply = lambda _: leaving
    face.warm(30)
    assert len(face.servers[0].asked) == 1
    assert face.states()["a"] == "shunned"


def test_a_stuck_instance_is_hedged(face: Face):
    face.warm()
    stuck = face.servers[0]
    stuck.asked.clear()
    stuck.hold = True
    began = time.monotonic()
    while not stuck.asked:
        assert face.ask() != "a"
    assert time.monotonic() - began < 5.0  # the deadline is 10 s


def test_a_function_that_is_not_declared_pure_is_asked_once(kind: str, servers: list[Server]):
    face = Face(kind, servers, pure=())
    face.warm()
    before = sum(len(one.asked) for one in servers)
    for one in servers:
        one.hold = True
    with pytest.raises(DeadlineError):
        face.within(0.3)
    assert sum(len(one.asked) for one in servers) == before + 1
    face.close()


def test_the_deadline_holds_when_nobody_answers(face: Face):
    for one in face.servers:
        one.hold = True
    began = time.monotonic()
    with pytest.raises(DeadlineError, match=r"http://127\.0\.0\.1"):
        face.within(0.3)
    assert 0.29 < time.monotonic() - began < 2.0


def test_what_is_given_up_is_closed_so_that_the_node_can_forget_it(face: Face):
    for one in face.servers:
        one.hold = True
    with pytest.raises(DeadlineError):
        face.within(0.2)
    assert all(one["inFlight"] == 0 for one in face.client.instances())
    for one in face.servers:
        one.let_go()
    assert face.ask() in "abc"


def test_an_answer_that_is_no_json_is_said(face: Face):
    for one in face.servers:
        one.reply = lambda _: b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno"
    with pytest.raises(Exception, match="no JSON object"):
        face.ask()


def test_an_answer_that_is_no_http_is_taken_to_another_instance(face: Face):
    for one in face.servers[:1]:
        one.reply = lambda _: b"what?\r\n\r\n"
    assert {face.ask() for _ in range(20)} == {"b", "c"}


def test_probes_keep_queries_from_who_is_not_ready(kind: str, servers: list[Server]):
    servers[0].get = lambda _: answer({}, 503)
    unknown = answer({"errorType": "UnknownServiceError"}, 404)
    servers[1].get = lambda _: unknown
    face = Face(kind, servers, settings=Settings(probe_s=0.1))
    seen = threading.Event()
    servers[2].get = lambda query: _seen(seen, query)
    while not (seen.is_set() and face.states() == {"a": "down", "b": "down", "c": "used"}):
        face.ask()
    assert {face.ask() for _ in range(20)} == {"c"}
    assert servers[2].gets[0] == "/public/api/v1/s/isReady"
    face.close()


def _seen(event: threading.Event, query: Asked) -> bytes:
    event.set()
    return answer({})


def test_a_node_of_another_make_is_asked_for_its_own_probe(servers: list[Server]):
    """One that knows no isReady: 404, but not for want of the service."""
    servers[0].get = lambda query: answer({}, 404 if "isReady" in query.path else 200)
    with ApiNodes(servers[0].url, "s", settings=Settings(probe_s=0.05)) as client:
        while "/isAlive/" not in servers[0].gets[:-1]:
            client.run_function("f")
        assert client.instances()[0]["state"] == "used"


async def test_a_cancelled_query_leaves_nothing_behind(servers: list[Server]):
    urls = [one.url for one in servers]
    async with AsyncApiNodes(urls, "s", settings=UNPROBED) as client:
        for one in servers:
            one.hold = True
        query = asyncio.create_task(client.run_function("f"))
        while not any(one.asked for one in servers):
            await asyncio.sleep(0)
        query.cancel()
        with pytest.raises(asyncio.CancelledError):
            await query
        assert all(one["inFlight"] == 0 for one in client.instances())


def test_a_client_works_on_in_a_forked_child(servers: list[Server]):
    """A web server that forks after loading: sockets and threads are the parent's."""
    with ApiNodes([one.url for one in servers], "s", settings=Settings(probe_s=0.1)) as client:
        client.run_function("f")
        child = os.fork()
        if child == 0:
            try:
                told = {client.run_function("f")["response"] for _ in range(30)}
                os._exit(0 if told <= {"a", "b", "c"} else 1)
            except BaseException:
                os._exit(2)
        for _ in range(30):
            client.run_function("f")
        _, status = os.waitpid(child, 0)
    assert status == 0


def test_many_threads_share_a_client(servers: list[Server]):
    failures: list[BaseException] = []
    with ApiNodes([one.url for one in servers], "s", settings=UNPROBED) as client:

        def run() -> None:
            try:
                for _ in range(50):
                    client.run_function("f")
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=run) for _ in range(10)]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
        assert all(one["inFlight"] == 0 for one in client.instances())
    assert failures == []
    assert sum(len(one.asked) for one in servers) == 500


def test_a_forgotten_client_leaves_no_thread(servers: list[Server]):
    def watchers() -> list[threading.Thread]:
        return [one for one in threading.enumerate() if one.name == "holdfast-client-watch"]

    before = len(watchers())
    client = ApiNodes(servers[0].url, "s")
    client.run_function("f")
    assert len(watchers()) == before + 1
    del client
    assert len(watchers()) == before
