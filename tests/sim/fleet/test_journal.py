"""The journal's lines, and how the origin header is read."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

import pytest
from tests.sim.fleet.manual import request

from holdfast.bmc.commands import Origin as Sent
from holdfast.sim.fleet.journal import Journal, Origin, Outcome, read_lines

DONE = Outcome(status=204, done=True)


def test_what_a_gateway_sends_is_what_the_journal_reads():
    member, job = UUID(int=1), UUID(int=2)
    sent = Sent(member=member, epoch=9, job=job, step="power_on", attempt=3)
    assert Origin.parse(sent.header()) == Origin(
        member=str(member), epoch=9, job=str(job), step="power_on", attempt=3
    )
    assert Origin.parse(Sent(member=member, epoch=9).header()).job == ""


@pytest.mark.parametrize("header", ["", "nonsense", ";;=;", "epoch=x;attempt=-1", "epoch=-"])
def test_a_malformed_origin_is_an_unknown_one(header):
    assert Origin.parse(header) == Origin()


def test_lines_are_in_the_file_at_once_in_order_and_appended_to_an_older_journal(tmp_path: Path):
    path = tmp_path / "deep" / "journal.jsonl"
    for run in ("a", "b"):
        with Journal(str(path), clock=lambda: 1.0, wall=lambda: 2.0) as journal:
            journal.command(run, request("POST", "/x"), "power", "On", DONE)
            journal.state(run, "power", "PoweringOn")
            journal.fault(run, "power-cut", "")
            written = path.read_bytes()
    lines = [line for line in read_lines(written.splitlines()) if line is not None]
    assert [(line.machine, line.kind) for line in lines] == [
        (run, kind) for run in "ab" for kind in ("command", "state", "fault")
    ]
    assert (lines[0].t, lines[0].wall) == (1.0, 2.0)


def test_a_line_cut_short_is_told_apart_and_an_empty_one_skipped():
    assert list(read_lines([b'{"t":1,"wa', b"", b"\n"])) == [None]


def test_unset_fields_cost_no_bytes():
    journal = Journal()
    journal.state("bmc-1", "power", "On")
    assert b"member" not in journal.tail(1)[0]
    assert journal.tail(0) == []
