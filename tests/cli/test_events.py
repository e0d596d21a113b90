"""``holdfast events``: lines for people, JSON for programs, and a stream that goes on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from click.testing import CliRunner

from holdfast.cli import context
from holdfast.cli import events as module
from holdfast.cli.client import Frame
from holdfast.cli.events import sentence
from holdfast.cli.main import cli
from holdfast.errors import UnavailableError


def event(number: int, kind: str = "node.power_state", **fields: Any) -> dict[str, Any]:
    return {
        "position": f"{number}-{number}",
        "at": 1_700_000_000.0 + number,
        "kind": kind,
        "result": None,
        "object": {"kind": "node", "id": "n1", "name": "web-1"},
        "actor": None,
        "member": {"slot": "conductor-1", "id": "m1", "epoch": 12},
        "request_id": None,
        "data": {"from": "power off", "to": "power on", "job": "j1", "job_kind": "node.power"},
        **fields,
    }


class Log:
    """Stands for the cluster API: three events, then two more on a stream that breaks once."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.followed: list[str | None] = []

    def get(self, path: str, **query: Any) -> Any:
        self.asked.append(query)
        newest = [event(3), event(2), event(1)]
        if query["before"] is not None:
            return {"events": newest[2:], "position": "1-1", "more": False}
        return {"events": newest[:2], "position": "2-2", "more": True}

    def follow(self, path: str, last_id: str | None, **query: Any) -> Iterator[Frame]:
        self.followed.append(last_id)
        if len(self.followed) == 1:
            yield Frame("4-4", event(4))
            yield Frame("5-0", None)
            raise UnavailableError("nothing answers")
        yield Frame("6-6", event(6))
        raise KeyboardInterrupt


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Log:
    log = Log()
    monkeypatch.setattr(context.Cli, "client", lambda self: log)
    monkeypatch.setattr(module, "AGAIN_S", 0)
    return log


def run(*argv: str) -> str:
    result = CliRunner().invoke(cli, ["events", *argv])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.output


def test_the_newest_stand_last_and_pages_are_put_together(log: Log):
    text = run("--kind", "node.*", "--kind", "job.ended", "--node", "web-1")
    header, *rows = text.splitlines()
    assert header.split() == ["TIME", "EVENT", "OBJECT", "WHAT", "BY"]
    assert len(rows) == 3
    assert "node web-1  power off → power on  conductor-1 under epoch 12" in rows[0]
    assert [query["before"] for query in log.asked] == [None, "2-2"]
    assert log.asked[0]["kind"] == "node.*,job.ended"
    assert log.asked[0]["node"] == "web-1"


def test_json_is_the_document(log: Log):
    document = json.loads(run("-o", "json"))
    assert [one["position"] for one in document["events"]] == ["1-1", "2-2", "3-3"]


def test_following_goes_on_after_a_broken_stream_where_it_was(log: Log):
    text = run("--follow", "-o", "json")
    lines = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    assert [one["position"] for one in lines] == ["1-1", "2-2", "3-3", "4-4", "6-6"]
    assert log.followed == ["3-3", "5-0"]


def test_following_without_the_past_begins_now(log: Log):
    text = run("--follow", "--limit", "0")
    assert log.asked == []
    assert log.followed[0] is None
    assert "web-1" in text


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"kind": "node.error", "data": {"error": "no answer"}}, "no answer"),
        (
            {"kind": "job.ended", "result": "failed",
             "data": {"job": "j", "job_kind": "node.deploy", "error": "gave up"}},
            "node.deploy failed gave up",
        ),
        (
            {"kind": "claims.moved", "result": "taken",
             "data": {"shards": 4, "from": {"conductor-2": 4}}},
            'taken shards=4 from={"conductor-2": 4}',
        ),
        (
            {"kind": "audit.role.grant", "result": "ok", "data": {"role": "member"}},
            "ok role=member",
        ),
    ],
)  # fmt: skip
def test_each_kind_is_said_in_a_line(fields: dict[str, Any], said: str):
    assert sentence(event(1, **fields)) == said
