"""What the front makes of what a worker sends, which may be anything."""

from __future__ import annotations

from typing import Any, cast

import pytest

from holdfast.serving.pool.queue import Query
from holdfast.serving.pool.spawner import Process
from holdfast.serving.pool.worker_line import WorkerLine
from holdfast.serving.workers.frames import HEAD_BYTES_MAX, Answers, Failed, Ready, pack

ANSWER_BYTES = 1000
OFFERS = {"f": (False, ["run"])}


class FakeProcess:
    """Counts how often it is killed."""

    def __init__(self) -> None:
        self.kills = 0

    def kill(self) -> None:
        self.kills += 1

    def close(self) -> None:
        pass


class FakeTransport:
    """Takes what is written."""

    def write(self, data: bytes) -> None:
        pass

    def abort(self) -> None:
        pass


class Rig:
    """A line with its owner, on a clock of its own."""

    def __init__(self) -> None:
        self.now = 100.0
        self.told: list[str] = []
        self.replies: list[tuple[int, bytes]] = []
        self.process = FakeProcess()
        process = cast("Process", self.process)
        self.line = WorkerLine(self, process, lambda: self.now, ANSWER_BYTES, OFFERS)
        self.line.connection_made(cast("Any", FakeTransport()))

    def worker_ready(self, worker: WorkerLine) -> None:
        self.told.append("ready")

    def worker_idle(self, worker: WorkerLine, spent_s: float, queries: int) -> None:
        self.told.append("idle")

    def worker_gone(self, worker: WorkerLine) -> None:
        self.told.append("gone")

    def ready(self) -> Rig:
        self.line.data_received(pack(Ready(OFFERS)))
        return self

    def busy(self, queries: int = 1) -> Rig:
        self.ready()
        made = [self.query() for _ in range(queries)]
        self.line.give("f", made, 2.0, 1)
        return self

    def query(self) -> Query:
        def reply(query: Query, status: int, body: bytes) -> None:
            self.replies.append((status, body))

        return Query("f", "run", b"{}", self.now, self.now + 2, reply)


def test_an_answer_that_was_asked_for_is_given():
    rig = Rig().busy()
    rig.line.data_received(pack(Answers(True, [(1, 200, b"x" * ANSWER_BYTES)])))
    assert rig.replies == [(200, b"x" * ANSWER_BYTES)]
    assert rig.told == ["ready", "idle"]
    assert not rig.process.kills


@pytest.mark.parametrize(
    "data",
    [b"\0", pack(Answers(True, [])), pack(Failed("x")), (1 << 30).to_bytes(4, "little")],
    ids=["a byte", "answers", "failed", "a length"],
)
def test_an_idle_worker_that_sends_anything_is_killed(data: bytes):
    rig = Rig().ready()
    rig.line.data_received(data)
    assert rig.process.kills
    assert rig.told == ["ready"]


def test_what_follows_the_last_answer_of_a_batch_kills():
    rig = Rig().busy()
    rig.line.data_received(pack(Answers(True, [(1, 200, b"{}")])) + b"\1")
    assert rig.replies == [(200, b"{}")]
    assert rig.process.kills


def test_a_batch_ends_once():
    rig = Rig().busy()
    rig.line.data_received(pack(Answers(True, [(1, 200, b"{}")])) + pack(Answers(True, [])))
    assert rig.told.count("idle") == 1
    assert rig.process.kills


def test_a_frame_that_says_it_is_too_long_kills_before_it_is_read():
    rig = Rig().busy()
    rig.line.data_received((ANSWER_BYTES + HEAD_BYTES_MAX + 1).to_bytes(4, "little"))
    assert rig.process.kills
    loading = Rig()
    loading.line.data_received((HEAD_BYTES_MAX + 1).to_bytes(4, "little"))
    assert loading.process.kills


def test_a_worker_that_was_killed_is_not_listened_to():
    rig = Rig().busy()
    rig.line.kill()
    rig.line.data_received(pack(Answers(True, [(1, 200, b"{}")])))
    assert rig.replies == []


def test_each_query_of_a_batch_has_the_endpoints_time_since_the_one_before():
    """Whoever waited long in the queue does not cost a worker that is not stuck."""
    rig = Rig()
    rig.ready()
    queries = [rig.query(), rig.query()]
    rig.now += 1.9
    rig.line.give("f", queries, 2.0, 1)
    assert rig.line.deadline == pytest.approx(rig.now + 2)
    rig.now += 1
    rig.line.data_received(pack(Answers(False, [(1, 200, b"{}")])))
    assert rig.line.deadline == pytest.approx(rig.now + 2)
    rig.line.data_received(pack(Answers(True, [(2, 200, b"{}")])))
    assert rig.line.deadline == float("inf")


@pytest.mark.parametrize("status", [299, 0, -1, 600, 99999, 100, 101, 204, 304])
def test_an_answer_whose_status_is_none_of_ours_kills_and_is_not_given(status: int):
    """Some would raise in the front; after others a client takes the body for a next answer."""
    rig = Rig().busy()
    rig.line.data_received(pack(Answers(True, [(1, status, b"{}")])))
    assert rig.process.kills
    assert rig.replies == []
    assert len(rig.line.inflight) == 1  # so that its owner asks again, or answers it
    assert "stopped" in rig.line.failure


@pytest.mark.parametrize(
    "told",
    [{}, {"g": (False, ["run"])}, {**OFFERS, "g": (False, ["run"])}, {"f": (True, ["run"])}],
    ids=["none", "another", "one more", "vectorised"],
)
def test_a_worker_is_ready_with_the_endpoints_of_its_package_only(
    told: dict[str, tuple[bool, list[str]]],
):
    rig = Rig()
    rig.line.data_received(pack(Ready(told)))
    assert rig.process.kills
    assert rig.told == []
    assert not rig.line.ready


def test_a_frame_without_answers_gives_a_worker_no_more_time():
    rig = Rig().busy()
    deadline = rig.line.deadline
    rig.now += 1
    rig.line.data_received(pack(Answers(False, [])))
    assert rig.line.deadline == deadline
