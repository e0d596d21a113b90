"""The query audit: lines are JSON, files turn over, a sample has all errors; it is shipped."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.serving.nodes import NodeProcess, adder, until

from holdfast.errors import ConfigError
from holdfast.serving.front.audit import Audit
from holdfast.serving.front.shipping import Shipper
from holdfast.serving.settings import AuditSettings

WHO, WHERE = b'"key":"me",', b'"service":"s","endpoint":"e","generation":"g"'


def lines(folder: Path, settings: AuditSettings, statuses: list[int]) -> list[dict[str, object]]:
    audit = Audit(folder, settings)
    for status in statuses:
        audit.note(WHO, WHERE, "run", status, 0.0015, b'{"a":\n 1}', b'{"response": 2}')
    audit.close()
    files = sorted(folder.glob("queries*.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


def test_a_line_says_who_asked_what_and_how_it_ended(tmp_path: Path):
    (line,) = lines(tmp_path, AuditSettings(), [200])
    assert line.pop("time")
    assert line == {
        "action": "run",
        "status": 200,
        "ms": 1.5,
        "bytes": 9,
        "key": "me",
        "service": "s",
        "endpoint": "e",
        "generation": "g",
    }


def test_bodies_are_written_if_wanted_and_stay_on_the_line(tmp_path: Path):
    """Those of errors, too: they are the ones that are looked for."""
    good, bad = lines(tmp_path, AuditSettings(bodies=True), [200, 400])
    for line in (good, bad):
        assert (line["query"], line["answer"]) == ({"a": 1}, {"response": 2})


@pytest.mark.parametrize(
    ("query", "told"),
    [
        (b"", {}),
        (b'{"a":\r\n[1]}', {"a": [1]}),
        (b'{"a": NaN}', '{"a": NaN}'),
        (b'{"a":\n', '{"a":\n'),
        (b'"\xff"', '"\\xff"'),
        (b"[" * 9999, "[" * 9999),
        (b'1}\n{"forged":1', '1}\n{"forged":1'),
    ],
)
def test_every_line_is_sound_json_whatever_the_query_is(tmp_path: Path, query: bytes, told: object):
    audit = Audit(tmp_path, AuditSettings(bodies=True))
    audit.note(WHO, WHERE, "run", 400, 0.001, query, b'{"message":"no"}')
    audit.close()
    (line,) = (tmp_path / "queries.jsonl").read_text().splitlines()
    assert json.loads(line)["query"] == told
    assert json.loads(line)["answer"] == {"message": "no"}


def test_bodies_have_bounds_and_who_has_no_key_writes_none(tmp_path: Path):
    audit = Audit(tmp_path, AuditSettings(bodies=True))
    audit.note(WHO, WHERE, "run", 400, 0.001, b" " * (64 << 10), b"{}")
    audit.note_refused(["s"], 401, b'{"a":1}')
    audit.close()
    for line in (tmp_path / "queries.jsonl").read_text().splitlines():
        assert "query" not in json.loads(line)


def test_a_disk_that_is_slow_makes_nothing_grow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("holdfast.serving.front.audit._PENDING_BYTES_MAX", 1000)
    audit = Audit(tmp_path, AuditSettings(bodies=True))
    for _ in range(100):
        audit.note(WHO, WHERE, "run", 200, 0.001, b'"%b"' % (b"x" * 88), b'"answers"')
    audit.close()
    assert audit.dropped >= 80
    assert audit.dropped + audit.written == 100


def test_times_are_of_microseconds(node: NodeProcess, tmp_path: Path):
    """An adder takes less than a millisecond or two: whole ones would tell nothing."""
    node.put(adder(tmp_path, "v1"))
    for number in range(20):
        node.ask("sums", "add/run", {"a": number})
    file = node.data / "audit" / "queries.jsonl"
    until(lambda: file.exists() and file.read_text().count("\n") == 20, "the audit", 10)
    times = [json.loads(line)["ms"] for line in file.read_text().splitlines()]
    assert len({ms % 1 for ms in times}) > 10
    assert all(0 < ms < 1000 for ms in times)


def test_a_sample_has_every_error(tmp_path: Path):
    found = lines(tmp_path, AuditSettings(sampling=0.1), [200] * 500 + [500] * 7)
    statuses = [line["status"] for line in found]
    assert statuses.count(500) == 7
    assert 10 < statuses.count(200) < 120


def test_files_turn_over_by_size_and_old_ones_go(tmp_path: Path):
    settings = AuditSettings(file_bytes_max=1000, files=3)
    for _ in range(6):
        lines(tmp_path, settings, [200] * 20)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["queries.1.jsonl", "queries.2.jsonl"]


def test_nothing_is_written_when_it_is_off(tmp_path: Path):
    assert lines(tmp_path, AuditSettings(enabled=False), [200, 500]) == []


def shipped(handle: Callable[[socket.socket], None], url: str, count: int) -> Shipper:
    """Ship lines to a server of one connection at a time; ``url`` has its port filled in."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        shipper = Shipper(url.format(port=server.getsockname()[1]), "Bearer token")
        shipper.put([b'{"n":%d}\n' % number for number in range(count)])
        connection, _ = server.accept()
        with connection:
            handle(connection)
    shipper.close()
    return shipper


def body_of(connection: socket.socket) -> tuple[bytes, bytes]:
    """(head, body) of one request."""
    stream = connection.makefile("rb")
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += stream.readline()
    size = int(head.lower().partition(b"content-length: ")[2].split(b"\r")[0])
    return head, stream.read(size)


def test_lines_are_sent_by_http():
    found: list[tuple[bytes, bytes]] = []

    def handle(connection: socket.socket) -> None:
        found.append(body_of(connection))
        connection.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")

    shipper = shipped(handle, "http://127.0.0.1:{port}/audit?x=1", 3)
    ((head, body),) = found
    assert head.startswith(b"POST /audit?x=1 HTTP/1.1")
    assert b"Authorization: Bearer token" in head
    assert body == b'{"n":0}\n{"n":1}\n{"n":2}\n'
    assert (shipper.shipped, shipper.dropped) == (3, 0)


@pytest.mark.parametrize(("status", "dropped"), [(b"400 Bad", 3), (b"503 Busy", 3)])
def test_what_is_refused_is_dropped_and_counted(status: bytes, dropped: int):
    """A 503 would be tried again, but for the end that comes first."""

    def handle(connection: socket.socket) -> None:
        body_of(connection)
        connection.sendall(b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\n\r\n")

    shipper = shipped(handle, "http://127.0.0.1:{port}", 3)
    assert (shipper.shipped, shipper.dropped) == (0, dropped)


def test_lines_are_sent_as_syslog_frames_or_as_they_are():
    """RFC 5424 messages in frames of RFC 6587."""
    found: list[bytes] = []

    def handle(connection: socket.socket) -> None:
        found.append(connection.recv(10_000))

    shipped(handle, "syslog://127.0.0.1:{port}", 1)
    shipped(handle, "tcp://127.0.0.1:{port}", 2)
    size, _, message = found[0].partition(b" ")
    assert int(size) == len(message)
    assert message.startswith(b"<134>1 - ")
    assert message.endswith(b'query - {"n":0}')
    assert found[1] == b'{"n":0}\n{"n":1}\n'


def test_what_waits_has_a_bound():
    with socket.create_server(("127.0.0.1", 0)) as server:
        shipper = Shipper(f"http://127.0.0.1:{server.getsockname()[1]}", bytes_max=100)
        shipper.put([b"0123456789" for _ in range(25)])
        assert shipper.dropped == 15


@pytest.mark.parametrize("url", ["ftp://x", "tcp://x", "http://", "syslog://x:y", "x"])
def test_a_target_that_cannot_be_is_refused(url: str):
    with pytest.raises(ConfigError, match=r"audit\.ship"):
        Shipper(url)
