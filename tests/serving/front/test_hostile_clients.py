"""Clients made to harm a real node, most without a key: refused, bounded, nobody else disturbed."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.serving.front.wires import Site, Wire, post, statuses
from tests.serving.nodes import KEY, NodeProcess, Reply, basic, function, make, until

from holdfast.serving.errors import QueryError
from holdfast.serving.front.http import Connection
from holdfast.serving.front.room import RESERVED

CODE = """
import time

def add(a, b=1):
    return a + b

def big(n):
    return "x" * n

def wait(x=None):
    time.sleep(2)
    return 1
"""
SETTINGS = """
[workers]
libraries = []
[http]
connections_max = 40
bodies_bytes_max = 33554432
"""


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("clients")
    made = NodeProcess(folder / "node", SETTINGS).start()
    pool = {"floor": 1, "cruise": 1, "ceil": 1, "queue": 100, "timeout_ms": 5000}
    made.put(make(folder, "slow", {"f.py": CODE}, [function("wait"), function("add")], pool=pool))
    made.put(
        make(folder, "good", {"f.py": CODE}, [function("add"), function("big")], generation="v1")
    )
    yield made
    made.stop()


def connect(node: NodeProcess) -> socket.socket:
    return socket.create_connection(("127.0.0.1", node.port), timeout=20)


def rss_mb(node: NodeProcess) -> float:
    assert node.process is not None
    status = Path(f"/proc/{node.process.pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


def metric(node: NodeProcess, name: str) -> float:
    for line in node.request("GET", "/metrics").data.decode().splitlines():
        if line.startswith(f"holdfast_serving_{name} "):
            return float(line.split()[-1])
    return 0.0


def test_a_client_that_reads_no_answers_fills_no_memory(node: NodeProcess):
    before = rss_mb(node)
    with connect(node) as client:
        client.settimeout(2.0)
        with pytest.raises(TimeoutError):
            client.sendall(b"GET / HTTP/1.1\r\n\r\n" * (4 << 20))
        assert rss_mb(node) - before < 30
        assert node.ask("good", "add/run", {"a": 1}).status == 200


def test_large_answers_are_read_whole_whenever_the_client_gets_to_it(node: NodeProcess):
    query = (
        f"POST /public/api/v1/good/big/run HTTP/1.1\r\nAuthorization: {basic(KEY)}\r\n"
        'Content-Length: 13\r\n\r\n{"n":3000000}'
    ).encode()
    with connect(node) as client:
        client.sendall(query * 4 + b"GET /isAlive/ HTTP/1.1\r\nConnection: close\r\n\r\n")
        until(lambda: metric(node, "unsent_bytes") > 0, "the first answer to be held up", 10)
        data = b""
        while chunk := client.recv(1 << 20):
            data += chunk
    assert data.count(b"HTTP/1.1 200 ") == 5
    assert data.count(b"x" * 3_000_000) == 4
    assert metric(node, "unsent_bytes") == 0


def test_bodies_of_queries_that_wait_have_a_bound(node: NodeProcess):
    replies: list[Reply] = []

    def ask() -> None:
        replies.append(node.ask("slow", "wait/run", b'{"x":"%b"}' % (b"x" * (7 << 20))))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    until(lambda: sum(reply.status == 503 for reply in replies) == 5, "five refusals", 10)
    assert 21 << 20 <= metric(node, "held_bytes") <= 24 << 20
    assert node.ask("good", "add/run", {"a": 1}).status == 200
    for thread in threads:
        thread.join()
    assert [reply.status for reply in replies].count(200) >= 1
    until(lambda: metric(node, "held_bytes") == 0, "all bodies to be let go")


@pytest.mark.parametrize("key", [None, "wrong"])
def test_a_body_is_read_only_of_those_who_may_ask(node: NodeProcess, key: str | None):
    """A bare NaN and a dispatch would have the front read it with a slow parser."""
    body = b'{"a":NaN,"dispatch":{"forcedGeneration":"v1"},"x":[' + b"[]," * (4 << 20) + b"1]}"
    assert node.ask("good", "add/run", body[:1000], key).status == 401
    before = metric(node, "held_bytes")
    with connect(node) as client:
        shown = f"Authorization: {basic(key)}\r\n" if key else ""
        head = f"POST /public/api/v1/good/add/run HTTP/1.1\r\nContent-Length: {len(body)}\r\n"
        client.sendall(f"{head}{shown}\r\n".encode() + body[:-1])
        assert metric(node, "held_bytes") == before
        client.sendall(body[-1:])
        assert client.recv(100).startswith(b"HTTP/1.1 401 ")


def test_a_large_query_with_a_dispatch_is_strict_json_and_a_small_one_need_not_be(
    node: NodeProcess,
):
    dispatch = b'{"a":NaN,"dispatch":{"forcedGeneration":"v1"},"x":['
    reply = node.ask("good", "add/run", dispatch + b"[]," * 100_000 + b"1]}")
    assert (reply.status, "null, not NaN" in reply.body["message"]) == (400, True)
    assert "arguments do not fit" in node.ask("good", "add/run", dispatch + b"1]}").body["message"]


def test_who_shows_no_key_learns_nothing_of_a_service(node: NodeProcess):
    asked = [
        ("POST", "good/add/run", b""),
        ("POST", "good/add/predict", b""),
        ("POST", "good/nothing/run", b""),
        ("POST", "good/add/run", b'{"dispatch":{"forcedGeneration":"v1"}}'),
        ("POST", "good/add/run", b'{"dispatch":{"forcedGeneration":"v9"}}'),
        ("GET", "good/v2/models/add", None),
        ("GET", "good/v2/models/nothing", None),
        ("GET", "good/swagger", None),
    ]
    found = {
        node.request(method, f"/public/api/v1/{path}", body, key).data
        for method, path, body in asked
        for key in (None, "wrong")
    }
    assert len(found) == 1
    assert b"needs one of its API keys" in found.pop()


def test_why_a_service_does_not_answer_is_for_the_admin(node: NodeProcess, tmp_path: Path):
    assert node.admin("POST", "services/", {"serviceId": "empty"}).status == 200
    reply = node.ask("empty", "add/run", {"a": 1}, key=None)
    assert reply.status == 503
    assert "cannot be served now" in reply.body["message"]
    assert (
        node.request("GET", "/public/api/v1/empty/isReady").body["reason"]
        == (reply.body["message"])
    )


def test_refused_queries_are_counted_and_audited(node: NodeProcess):
    before = metric(node, 'refused_total{status="401"}')
    mark = "x" * 500 + '"'
    assert node.ask("good", "add/run", {"a": 1}, key="wrong").status == 401
    assert node.ask("nowhere", f"{mark.replace(chr(34), '%22')}/run", {}).status == 404
    assert metric(node, 'refused_total{status="401"}') == before + 1
    lines = node.data / "audit" / "queries.jsonl"
    until(lambda: '"service":"nowhere"' in lines.read_text(), "the audit lines")
    found = [json.loads(line) for line in lines.read_text().splitlines()]
    refused = [
        {name: line[name] for name in ("service", "endpoint", "action", "status", "key")}
        for line in found
        if line["generation"] is None
    ]
    assert refused[-2:] == [
        {"service": "good", "endpoint": "add", "action": "run", "status": 401, "key": None},
        {
            "service": "nowhere",
            "endpoint": "x" * 200,
            "action": "run",
            "status": 404,
            "key": None,
        },
    ]


def ask_impatiently(node: NodeProcess, deadline_ms: int, endpoint: str = "wait") -> Reply:
    told = {"Holdfast-Deadline-Ms": str(deadline_ms), "Authorization": basic(KEY)}
    return node.request("POST", f"/public/api/v1/slow/{endpoint}/run", b"{}", headers=told)


def test_a_clients_own_deadline_drops_its_answer_and_harms_no_worker(node: NodeProcess):
    before = node.workers()
    assert node.ask("slow", "add/run", {"a": 1}).status == 200  # the worker is idle
    reply = ask_impatiently(node, 50)
    assert reply.status == 504
    assert "50 ms that the client gave" in reply.body["message"]
    assert ask_impatiently(node, 0).status == 504
    assert node.ask("slow", "add/run", {"a": 1}).status == 200
    assert node.workers() == before


def test_queries_whose_clients_have_gone_keep_no_place(node: NodeProcess):
    """100 may wait. Eighty clients ask and go away, then eighty again."""
    gone = (
        f"POST /public/api/v1/slow/wait/run HTTP/1.1\r\nAuthorization: {basic(KEY)}\r\n"
        "Content-Length: 2\r\n\r\n{}"
    ).encode()
    for _ in range(8):
        clients = [connect(node) for _ in range(20)]
        for client in clients:
            client.sendall(gone)
        for client in clients:
            client.close()
        until(lambda: metric(node, "connections") <= 2, "them to be gone", 10)
    assert node.ask("slow", "wait/run", {}).status == 200


def test_silent_connections_keep_nobody_out(node: NodeProcess):
    silent = [connect(node) for _ in range(40)]
    try:
        until(lambda: node.ask("good", "add/run", {"a": 1}).status == 200, "room", 5)
        for _ in range(20):
            assert node.ask("good", "add/run", {"a": 1}).status == 200
            assert node.request("GET", "/isAlive/").status == 200
    finally:
        for client in silent:
            client.close()


@contextlib.contextmanager
def refilled(node: NodeProcess, count: int, said: bytes = b"") -> Iterator[None]:
    """So many connections on which nothing but this comes, opened anew as they are closed."""
    clients: list[socket.socket] = []
    enough = threading.Event()

    def closed(client: socket.socket) -> bool:
        try:
            return client.recv(1000) == b"" or closed(client)
        except BlockingIOError:
            return False
        except OSError:
            return True

    def fill() -> None:
        while not enough.wait(0.1):
            for client in [one for one in clients if closed(one)]:
                client.close()
                clients.remove(client)
            while len(clients) < count:
                client = connect(node)
                clients.append(client)
                with contextlib.suppress(OSError):
                    client.sendall(said)
                client.setblocking(False)

    filler = threading.Thread(target=fill)
    filler.start()
    try:
        until(lambda: len(clients) == count, "all connections", 10)
        yield
    finally:
        enough.set()
        filler.join()
        for client in clients:
            client.close()


SLOW = b"POST /public/api/v1/good/add/run HTTP/1.1\r\nContent-Length: 60000\r\n%b\r\n{"


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"GET /isAl",
        SLOW % b"",
        SLOW % f"Authorization: {basic('wrong')}\r\n".encode(),
        b"GET /isAlive/ HTTP/1.1\r\nContent-Length: 60000\r\n\r\n{",
        b"POST /isAlive/ HTTP/1.1\r\nContent-Length: 60000\r\n\r\n{",
    ],
    ids=["silent", "head", "no-key", "wrong-key", "probe", "posted-probe"],
)
def test_connections_that_come_back_keep_nobody_out(node: NodeProcess, said: bytes):
    """As many as the bound and the reserve take together."""

    def answered() -> bool:
        with contextlib.suppress(OSError):  # all are too young yet to give way
            return node.ask("good", "add/run", {"a": 1}).status == 200
        return False

    with refilled(node, 40 + RESERVED, said):
        until(answered, "room", 5)
        found: list[int] = []
        for _ in range(20):
            threading.Event().wait(0.05)
            found += [node.ask("good", "add/run", {"a": 1}).status]
            found += [node.request("GET", "/isAlive/").status]
    assert found == [200] * 40


@pytest.mark.parametrize("path", ["isAlive/", "public/api/v1/good/isReady"])
def test_a_body_of_a_probe_is_not_waited_for(node: NodeProcess, path: str):
    with connect(node) as client:
        client.sendall(f"GET /{path} HTTP/1.1\r\nContent-Length: 60000\r\n\r\n{{".encode())
        data = b""
        while chunk := client.recv(1000):
            data += chunk
    assert data.startswith(b"HTTP/1.1 400 ")
    assert b"A probe has no body" in data


async def test_the_reserve_keeps_nobody_out_and_its_oldest_gives_way():
    site = Site(connections_max=2)
    made: list[tuple[Connection, Wire]] = []
    for _ in range(2 + RESERVED):
        made.append(site.connect())
        site.now += 0.001
    site.now += 0.1
    for at in range(2):
        one, wire = site.connect()
        one.data_received(post("/later"))
        assert [old.closed for _, old in made[:3]] == [True, at == 1, False]
        assert statuses(wire) == []
    _, probe = site.connect()
    assert made[2][1].closed
    assert not probe.closed
    assert len(site.room.connections) == 2 + RESERVED


async def test_who_sends_a_body_without_a_key_gives_way_before_who_is_idle_and_after_the_silent():
    site = Site(connections_max=3)
    site.refusal = QueryError("No key.")
    _, silent = site.connect()
    site.now += 0.5
    idle, idle_wire = site.connect()
    idle.data_received(post("/now"))
    sender, sender_wire = site.connect()
    sender.data_received(post("/now", b"x" * 100)[:-1])
    site.now += 0.6
    closed: list[list[bool]] = []
    for _ in range(3):
        one, _ = site.connect()
        one.data_received(post("/later"))
        closed.append([wire.closed for wire in (silent, sender_wire, idle_wire)])
    assert closed == [[True, False, False], [True, True, False], [True, True, True]]
    assert site.room.held_bytes == 0


async def test_who_has_a_key_gives_way_only_when_its_body_comes_too_slowly():
    site = Site(connections_max=2)
    wires = [site.connect() for _ in range(2)]
    for one, _ in wires:
        one.data_received(post("/now", b"x" * 60_000)[:10_000])
    wires[0][0].data_received(b"x" * 20_000)
    site.now += 2.5
    _, newcomer = site.connect()
    assert [wire.closed for _, wire in wires] == [False, True]
    assert not newcomer.closed


def test_an_upload_to_no_call_opens_no_file(node: NodeProcess):
    assert node.process is not None
    files = Path(f"/proc/{node.process.pid}/fd")
    before = len(list(files.iterdir()))
    for path in ("nowhere/actions/upload", "services/good/actions/upload"):
        reply = node.request("POST", f"/admin/api/{path}", b"x" * 1000, node.admin_key)
        assert reply.status == 404
    reply = node.request(
        "POST", "/admin/api/services/none/generations/actions/upload", b"x", node.admin_key
    )
    assert reply.status == 404
    until(lambda: len(list(files.iterdir())) <= before, "no more files than before", 5)
    assert list((node.data / "scratch").rglob("upload-*")) == []
