"""What a package's code can reach: itself, its own files, the system's libraries; nothing else.

Signals are sent to a process of the test's own, or are number 0, which only asks.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.serving.nodes import NodeProcess, Reply, function, make

from holdfast.errors import ConfigError
from holdfast.serving.workers import landlock
from holdfast.serving.workers.users import VARIABLE, choose_user

CODE = """
import ctypes, os, resource, shutil, socket, sys, tempfile

def read(path):
    with open(path, "rb") as file:
        return len(file.read())

def listing(path):
    return os.listdir(path)

def write(path):
    with open(path, "a") as file:
        return file.write("x")

def empty(path):
    return os.open(path, os.O_RDONLY | os.O_TRUNC)

def truncate(path):
    os.truncate(path, 0)

def remove(path):
    os.remove(path)

def create(path):
    os.mkdir(path)

def move(path):
    os.rename(path, "mine")

def mode(path):
    os.chmod(path, 0o777)
    os.utime(path, (1, 1))

def owner(path):
    os.chown(path, os.getuid(), os.getgid())

def signal(pid, number=0):
    os.kill(pid, number)

def pidfd(pid):
    os.pidfd_open(pid)

def call(number, arguments):
    libc = ctypes.CDLL(None, use_errno=True)
    found = libc.syscall(number, *arguments)
    if found < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return found

def limit(pid):
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (0, 0))

def nicer(pid):
    os.setpriority(os.PRIO_PROCESS, pid, 19)

def pin(pid):
    os.sched_setaffinity(pid, {0})

def unix(path):
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(path)

def own():
    with open("kept", "w") as file:
        file.write("mine")
    shutil.copy2("kept", "copy")
    os.makedirs("deep/er")
    os.rename("copy", "deep/er/copy")
    with open("deep/er/copy") as file:
        text = file.read()
    shutil.rmtree("deep")
    with tempfile.TemporaryFile() as file:
        file.write(b"x")
    os.kill(os.getpid(), 0)
    resource.getrlimit(resource.RLIMIT_AS)
    os.sched_setaffinity(0, os.sched_getaffinity(0))
    with open("/dev/null", "w") as null, open("/proc/self/maps") as maps, open(__file__) as code:
        return [text, null.write("x"), "[stack]" in maps.read(), "listing" in code.read()]

def libraries():
    import asyncio, sqlite3, ssl, zoneinfo
    sqlite3.connect("new.sqlite").execute("CREATE TABLE t (x)")
    socket.getaddrinfo("localhost", 80)
    return [ssl.create_default_context().verify_mode, asyncio.run(asyncio.sleep(0, 7))]

def capabilities():
    with open("/proc/self/status") as file:
        return [line.split()[1] for line in file if line.startswith("Cap")]
"""
NAMES = [word.split("(")[0] for word in CODE.split("def ")[1:]]
PEOPLE = "id,name\n1,Ada\n"
LOOKUP = {"id": "people", "kind": "lookup", "data": "people.csv", "keys": ["id"]}
needs_landlock = pytest.mark.skipif(not landlock.version(), reason="this kernel has no Landlock")


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    folder = tmp_path_factory.mktemp("confined")
    made = NodeProcess(folder / "node").start()
    endpoints = [function(name) for name in NAMES]
    made.put(make(folder, "bad", {"f.py": CODE}, endpoints))
    made.put(make(folder, "neighbour", {"f.py": CODE, "people.csv": PEOPLE}, [LOOKUP]))
    yield made
    made.stop()


@pytest.fixture
def victim() -> Iterator[subprocess.Popen[bytes]]:
    """A process of the node's user."""
    made = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield made
    made.kill()
    made.wait()


def ask(node: NodeProcess, name: str, **arguments: Any) -> Reply:
    return node.ask("bad", f"{name}/run", arguments)


def refused(reply: Reply) -> bool:
    return reply.status == 500 and reply.body["errorType"] == "PermissionError"


def files_of(node: NodeProcess) -> dict[str, bytes]:
    """All that the node has, but its log and what workers may write."""
    kept = (path for path in node.data.rglob("*") if path.is_file() and path.name != "log")
    return {
        str(path): path.read_bytes()
        for path in kept
        if not path.is_relative_to(node.data / "scratch") and "audit" not in path.parts
    }


@needs_landlock
def test_the_nodes_files_can_be_neither_read_nor_changed(node: NodeProcess):
    before = files_of(node)
    assert {Path(path).name for path in before} >= {"admin.key", "apinode.toml", "bad.json"}
    modes = {path: Path(path).stat().st_mode for path in before}
    for path in before:
        own = "/content/" in path and "people" not in path and Path(path).read_text() == CODE
        for what in ("read", "write", "empty", "truncate", "remove", "move", "owner"):
            if not (own and what == "read"):
                assert refused(ask(node, what, path=path)), (what, path)
        ask(node, "mode", path=path)
    for folder in ("services", "packages", "audit", "."):
        assert refused(ask(node, "listing", path=str(node.data / folder)))
        assert refused(ask(node, "create", path=str(node.data / folder / "new")))
    assert files_of(node) == before
    assert {path: Path(path).stat().st_mode for path in before} == modes


@needs_landlock
def test_answers_of_another_package_cannot_be_changed(node: NodeProcess):
    """A lookup's index is made without the package's code, and only ever read by workers."""
    query = {"data": {"id": 1}}
    found = node.ask("neighbour", "people/lookup", query).body["results"][0]["data"]["name"]
    assert found == "Ada"
    indexes = list(node.data.rglob("people.sqlite"))
    assert indexes
    for path in indexes:
        for what in ("read", "write", "remove", "move"):
            assert refused(ask(node, what, path=str(path))), what
        assert refused(ask(node, "create", path=str(path.parent / "new")))


@needs_landlock
@pytest.mark.parametrize(
    "path",
    ["/etc/shadow", "/proc/1/environ", "/root", "/tmp", "/dev/mem", "/var/log", "/etc/ssl/private"],
)
def test_other_files_of_the_machine_cannot_be_read(node: NodeProcess, path: str):
    if not os.path.exists(path):  # noqa: PTH110 - /proc/1/environ may not be looked at
        path = "/etc/hostname"
    what = "listing" if Path(path).is_dir() else "read"
    assert refused(ask(node, what, path=path))


def test_no_other_process_can_be_signalled_or_bounded(
    node: NodeProcess, victim: subprocess.Popen[bytes]
):
    for name in ("signal", "pidfd", "limit", "nicer", "pin"):
        assert refused(ask(node, name, pid=victim.pid)), name
    assert refused(ask(node, "signal", pid=0))  # its group
    assert refused(ask(node, "signal", pid=-1))  # all there are; the number asks only
    kill_by = {"tkill": (200, 130), "tgkill": (234, 131), "sigqueue": (129, 138)}
    column = 0 if os.uname().machine == "x86_64" else 1
    for numbers in kill_by.values():
        arguments = [victim.pid, 0, 0] if numbers[0] != 234 else [victim.pid, victim.pid, 0]
        reply = ask(node, "call", number=numbers[column], arguments=arguments)
        assert refused(reply), numbers
    assert victim.poll() is None


@pytest.mark.parametrize(
    "numbers",
    [
        *((101, 117), (165, 40), (272, 97), (321, 280), (250, 219), (298, 241), (319, 279)),
        *((425, 425), (254, 27), (301, 263)),
    ],
)
def test_calls_that_no_model_needs_are_refused(node: NodeProcess, numbers: tuple[int, int]):
    """ptrace, mount, unshare, bpf, keyctl, perf_event_open, memfd_create, io_uring_setup, and
    being told of what others do with files."""
    column = 0 if os.uname().machine == "x86_64" else 1
    assert refused(ask(node, "call", number=numbers[column], arguments=[0, 0, 0, 0]))


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="x32 is of x86-64")
def test_calls_by_their_x32_numbers_are_refused(node: NodeProcess):
    assert refused(ask(node, "call", number=0x40000000 + 39, arguments=[]))  # getpid


def test_a_socket_that_is_a_file_cannot_be_connected_to(node: NodeProcess, tmp_path: Path):
    assert refused(ask(node, "unix", path=str(tmp_path / "s")))


def test_its_own_scratch_and_process_are_a_workers_own(node: NodeProcess):
    reply = ask(node, "own")
    assert reply.status == 200, reply
    assert reply.body["response"] == ["mine", 1, True, True]


def test_the_standard_library_works_within(node: NodeProcess):
    assert ask(node, "libraries").body["response"] == [2, 7]


def test_a_worker_has_no_capability(node: NodeProcess):
    found: list[str] = ask(node, "capabilities").body["response"]
    assert len(found) == 5
    bounded = 5 if os.geteuid() == 0 else 3  # the bounding set is only root's to change
    assert [int(one, 16) for one in found].count(0) >= bounded


@needs_landlock
def test_folders_that_the_node_names_can_be_read(tmp_path: Path):
    shared = tmp_path / "shared"
    shared.mkdir()
    (shared / "words").write_text("abc")
    told = f"[workers]\nlibraries = []\n[workers.limits]\nreadable = [{json.dumps(str(shared))}]\n"
    node = NodeProcess(tmp_path / "node", told).start()
    try:
        node.put(make(tmp_path, "bad", {"f.py": CODE}, [function("read"), function("write")]))
        assert ask(node, "read", path=str(shared / "words")).body["response"] == 3
        assert refused(ask(node, "write", path=str(shared / "words")))
    finally:
        node.stop()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root is refused")
def test_a_node_of_root_refuses_to_start_where_nobody_may_not_read(tmp_path: Path):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(ConfigError, match=r"nobody.*run the node as another user"):
        choose_user("", [closed], {})
    assert choose_user("", [closed], {VARIABLE: "root"})[0] == "root"
