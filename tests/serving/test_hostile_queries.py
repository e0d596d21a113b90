"""Queries and functions made to harm: contained, and the neighbours go on undisturbed."""

from __future__ import annotations

import resource
import signal
import socket
import threading
import time
from pathlib import Path

import pytest
from tests.serving.nodes import KEY, NodeProcess, basic, function, is_alive, make, until

CODE = """
import os, subprocess, sys, threading, time

kept = []

def add(a, b=1):
    return a + b

def loop():
    while True:
        pass

def stuck():
    time.sleep(3600)

def eat():
    while True:
        kept.append(bytearray(1 << 20))

def die():
    os.kill(os.getpid(), 9)

def leave():
    sys.exit(3)

def crash():
    import ctypes
    ctypes.string_at(0)

def fork():
    return os.fork()

def shell():
    return subprocess.run(["/bin/true"]).returncode

def thread():
    found = []
    one = threading.Thread(target=lambda: found.append(1))
    one.start()
    one.join()
    return found

def environ():
    return dict(os.environ)

def files():
    return sorted(os.listdir("/proc/self/fd"))

def fill():
    with open("big", "wb") as file:
        while True:
            file.write(bytes(1 << 20))

def strange():
    return object()

def circle():
    found = []
    found.append(found)
    return found

def odd():
    raise ValueError("what came: \\ud800")

class Mute(Exception):
    def __str__(self):
        raise KeyError

def mute():
    raise Mute

def named():
    raise type("\\udc00", (Exception,), {})

def unsent():
    class Strange:
        def __getattr__(self, name):
            raise SystemExit(name)
    return Strange()

def large(n):
    return "x" * n

def late(size):
    def write():
        time.sleep(0.1)
        try:
            os.write(3, size.to_bytes(4, "little"))
            while True:
                os.write(3, bytes(1 << 16))
        except OSError:
            pass
    threading.Thread(target=write, daemon=True).start()
    return os.getpid()

def doze(s):
    time.sleep(s)
    return os.getpid()

def line():
    os.write(3, b"garbage" * 100)
    time.sleep(1)
"""
NAMES = [word.split("(")[0] for word in CODE.split("\ndef ")[1:]]
SETTINGS = """
[workers]
libraries = []
[workers.limits]
memory_bytes = 268435456
file_bytes = 33554432
answer_bytes = 2097152
[http]
body_bytes_max = 1048576
bodies_bytes_max = 4194304
request_timeout_s = 1.0
"""


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("hostile")
    made = NodeProcess(folder / "node", SETTINGS).start()
    endpoints = [function(name) for name in NAMES]
    pool = {"floor": 2, "cruise": 2, "ceil": 3, "timeout_ms": 2000}
    made.put(make(folder, "bad", {"f.py": CODE}, endpoints, pool=pool))
    made.put(make(folder, "good", {"f.py": CODE}, [function("add")]))
    yield made
    made.stop()


class Neighbour:
    """Asks another service all the time."""

    def __init__(self, node: NodeProcess) -> None:
        self.answers = 0
        self.failures: list[object] = []
        self._node = node
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self._over.wait(0.02):
            reply = self._node.ask("good", "add/run", {"a": 1})
            if reply.status == 200:
                self.answers += 1
            else:
                self.failures.append(reply)

    def __enter__(self) -> Neighbour:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


@pytest.mark.parametrize(
    ("name", "status", "told"),
    [
        ("loop", 504, "within 2000 ms"),
        ("stuck", 504, "within 2000 ms"),
        ("eat", 500, "memory"),
        ("die", 500, "dies"),
        ("crash", 500, "dies"),
        ("leave", 500, "3"),
        ("fork", 500, "not permitted"),
        ("shell", 500, "not permitted"),
        ("fill", 500, ""),
        ("strange", 500, "cannot be sent"),
        ("circle", 500, "cannot be sent"),
        ("line", 500, "dies"),
        ("odd", 500, "\\ud800"),
        ("mute", 500, "Mute"),
        ("named", 500, ""),
        ("unsent", 500, "cannot be sent"),
    ],
)
def test_a_harmful_function_ends_as_an_error_and_disturbs_nobody(
    node: NodeProcess, name: str, status: int, told: str
):
    with Neighbour(node) as neighbour:
        reply = node.ask("bad", f"{name}/run")
        until(lambda: neighbour.answers >= 5, "answers of the neighbour", 10)
    assert reply.status == status, reply
    assert told in reply.body["message"]
    assert neighbour.failures == []
    until(lambda: node.ask("bad", "add/run", {"a": 1}).status == 200, "a new worker", 10)


@pytest.mark.parametrize("name", ["odd", "mute", "named", "unsent"])
def test_an_error_that_cannot_be_said_costs_no_worker(node: NodeProcess, name: str):
    before = {node.ask("bad", "doze/run", {"s": 0}).body["response"] for _ in range(5)}
    assert node.ask("bad", f"{name}/run").status == 500
    assert before <= set(node.workers())


def test_an_answer_has_a_maximum_and_the_sentence_says_so(node: NodeProcess):
    assert len(node.ask("bad", "large/run", {"n": 2_000_000}).body["response"]) == 2_000_000
    reply = node.ask("bad", "large/run", {"n": 2_200_000})
    assert reply.status == 500
    assert reply.body["errorType"] == "AnswerTooLargeError"
    assert "2097152 may be sent" in reply.body["message"]


def test_a_worker_that_sends_what_nobody_asked_for_is_killed(node: NodeProcess):
    """Nothing of what it announces is kept for it in the front."""
    assert node.process is not None
    before = rss_bytes(node.process.pid)
    pid = node.ask("bad", "late/run", {"size": 1 << 29}).body["response"]
    until(lambda: not is_alive(pid), "the worker to be killed", 10)
    assert rss_bytes(node.process.pid) < before + (32 << 20)


def test_a_clients_deadline_costs_no_worker(node: NodeProcess):
    """Only the endpoint's own time-out kills; whoever else waits for the worker is answered."""
    before = {node.ask("bad", "doze/run", {"s": 0.02}).body["response"] for _ in range(10)}
    told = {"Holdfast-Deadline-Ms": "50"}
    for _ in range(4):
        reply = node.request("POST", "/public/api/v1/bad/doze/run", b'{"s": 0.4}', KEY, told)
        assert reply.status == 504, reply
    after = {node.ask("bad", "doze/run", {"s": 0.02}).body["response"] for _ in range(10)}
    assert before <= set(node.workers())
    assert after <= set(node.workers())


def rss_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()


def test_a_stuck_worker_is_gone_after_its_deadline(node: NodeProcess):
    before = set(node.workers())
    assert node.ask("bad", "loop/run").status == 504
    until(lambda: any(not is_alive(pid) for pid in before), "one of the workers to be gone", 5)


def test_a_stuck_worker_does_not_outlive_its_killed_node(tmp_path: Path):
    node = NodeProcess(tmp_path / "node", SETTINGS).start()
    try:
        node.put(make(tmp_path, "slow", {"f.py": CODE}, [function("stuck")]))
        workers = node.workers()
        with connect(node) as client:
            client.sendall(head(2).replace(b"good/add", b"slow/stuck") + b"{}")
            until(lambda: node.admin("GET", "metrics").status == 200, "the query to be there")
            node.signal(signal.SIGKILL)
            node.wait()
        assert workers
        until(lambda: not any(is_alive(pid) for pid in workers), "its worker to end", 10)
    finally:
        node.stop()


def test_threads_may_be_started_in_a_function(node: NodeProcess):
    assert node.ask("bad", "thread/run").body["response"] == [1]


def test_a_worker_has_nothing_of_the_nodes_environment_and_no_file_but_its_line(node: NodeProcess):
    environ = node.ask("bad", "environ/run").body["response"]
    assert set(environ) - {"LC_CTYPE"} == {
        "PATH",
        "LANG",
        "HOME",
        "TMPDIR",
        *(
            f"{name}_NUM_THREADS"
            for name in ("OMP", "OPENBLAS", "MKL", "NUMEXPR", "VECLIB_MAXIMUM")
        ),
    }
    # stdin, stdout, stderr, the line, and the folder that is being listed
    assert node.ask("bad", "files/run").body["response"] == ["0", "1", "2", "3", "4"]


def connect(node: NodeProcess) -> socket.socket:
    return socket.create_connection(("127.0.0.1", node.port), timeout=20)


def read_all(client: socket.socket) -> bytes:
    data = b""
    try:
        while chunk := client.recv(65536):
            data += chunk
    except ConnectionResetError:
        pass
    return data


def head(length: int) -> bytes:
    return (
        f"POST /public/api/v1/good/add/run HTTP/1.1\r\nHost: x\r\nAuthorization: {basic(KEY)}\r\n"
        f"Content-Length: {length}\r\n\r\n"
    ).encode()


def test_a_body_of_100_mb_is_refused_before_it_is_read(node: NodeProcess):
    with connect(node) as client:
        client.sendall(head(100 << 20))
        answer = read_all(client)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"Connection: close" in answer


def test_a_chunked_body_is_refused_at_the_bound(node: NodeProcess):
    chunk = b"10000\r\n" + bytes(1 << 16) + b"\r\n"
    with connect(node) as client:
        client.sendall(head(0).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked"))
        sent = 0
        try:
            while sent < 100 << 20:
                client.sendall(chunk)
                sent += len(chunk)
        except OSError:
            pass
        assert sent < 16 << 20


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01",  # TLS
        b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 20_000 + b"\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"nonsense\r\n\r\n",
    ],
)
def test_what_is_not_sound_http_is_refused_and_the_connection_closed(
    node: NodeProcess, data: bytes
):
    with connect(node) as client:
        client.sendall(data)
        answer = read_all(client)
    assert answer[:12] in (b"HTTP/1.1 400", b"")


def test_a_request_that_never_ends_is_cut_off(node: NodeProcess):
    with connect(node) as client:
        client.sendall(head(100) + b"{")
        began = time.monotonic()
        assert read_all(client) == b""
    assert time.monotonic() - began < 5


def test_many_bodies_together_have_a_bound(node: NodeProcess):
    clients = [connect(node) for _ in range(8)]
    refused = 0
    for client in clients:
        try:
            client.sendall(head(1 << 20))
            for _ in range(15):
                client.sendall(b" " * (1 << 16))
            client.settimeout(0.3)
            refused += client.recv(12) == b"HTTP/1.1 503"
        except TimeoutError:
            pass
        except OSError:
            refused += 1
    for client in clients:
        client.close()
    assert 1 <= refused <= 7
    assert node.ask("good", "add/run", {"a": 1}).status == 200


def test_pipelined_queries_are_answered_in_order(node: NodeProcess):
    with connect(node) as client:
        for number in range(300):
            body = b'{"a": %d}' % number
            client.sendall(head(len(body)) + body)
        client.sendall(b"GET /isAlive/ HTTP/1.1\r\nConnection: close\r\n\r\n")
        answer = read_all(client)
    found = [int(part.split(b",")[0]) for part in answer.split(b'{"response":')[1:]]
    assert found == list(range(1, 301))
    assert b'"alive":true' in answer


def test_pipelined_refusals_exhaust_no_stack(node: NodeProcess):
    with connect(node) as client:
        client.sendall(b"GET /isAlive/ HTTP/1.1\r\n\r\n")
        client.sendall(b"POST /public/api/v1/x/y/z HTTP/1.1\r\nContent-Length: 0\r\n\r\n" * 5000)
        client.sendall(b"GET /isAlive/ HTTP/1.1\r\nConnection: close\r\n\r\n")
        answer = read_all(client)
    assert answer.count(b"HTTP/1.1 404") == 5000


def test_a_full_queue_is_told_with_when_to_come_again(node: NodeProcess, tmp_path: Path):
    pool = {"floor": 1, "cruise": 1, "ceil": 1, "queue": 2, "timeout_ms": 1500}
    node.put(make(tmp_path, "slow", {"f.py": CODE}, [function("stuck")], pool=pool))
    replies: list[tuple[int, str | None]] = []

    def ask() -> None:
        reply = node.ask("slow", "stuck/run")
        replies.append((reply.status, reply.headers.get("retry-after")))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert replies.count((429, "1")) >= 5
    assert {status for status, _ in replies} == {429, 504}


def test_a_generation_whose_workers_die_at_the_start_is_left_alone_for_a_while(
    node: NodeProcess, tmp_path: Path
):
    """Crash loops are quarantined; the queries meanwhile are refused, not held."""
    flag = tmp_path / "flag"
    code = f"import os\nif os.path.exists({str(flag)!r}):\n    os._exit(1)\n{CODE}"
    pool = {"floor": 1, "cruise": 1, "ceil": 1, "timeout_ms": 2000}
    node.put(make(tmp_path, "loopy", {"f.py": code}, [function("add"), function("die")], pool=pool))
    flag.touch()
    assert node.ask("loopy", "die/run").status in (500, 504)
    until(
        lambda: "cannot be served now" in str(node.ask("loopy", "add/run", {"a": 1}).body),
        "the quarantine",
        20,
    )
    flag.unlink()
    mended = node.admin("POST", "services/loopy/actions/enable")
    assert mended.status == 200
    assert node.ask("loopy", "add/run", {"a": 1}).status == 200
