"""The commands that look: documents of the cluster API become lines for people."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from holdfast.cli import context, reads
from holdfast.cli.main import cli
from holdfast.errors import NotFoundError
from holdfast.ops.gateway_links import BrokenLink, GatewayLinks

NOW = time.time()
MEMBER = {
    "id": "a1",
    "role": "conductor",
    "slot": "conductor-1",
    "host": "h",
    "zone": "z",
    "group": "",
    "version": "0",
    "address": "http://h:12000",
    "epoch": 7,
    "state": "up",
    "drain_requested": False,
    "lease_until": NOW + 4,
    "registered_at": NOW,
    "gone_reason": None,
}
GONE = {**MEMBER, "id": "a2", "slot": "conductor-2", "epoch": 6, "state": "gone"}
GONE["gone_reason"] = "obituary: killed by signal 9 (SIGKILL)"
RING = {
    "group": "",
    "shards": 2,
    "objects": 3,
    "unowned_shards": 1,
    "spread": 1.5,
    "members": [{**MEMBER, "shards": 1, "objects": 3, "wished_shards": 2}],
}
CLAIMS = [
    {"shard": 0, "owner": "a1", "incarnation": 7, "epoch": 9, "objects": 3, "since": NOW},
    {"shard": 1, "owner": "a2", "incarnation": 6, "epoch": 8, "objects": 0, "since": NOW},
]
J1 = "11111111-1111-4111-8111-111111111111"
JOB = {
    "id": J1,
    "kind": "node.deploy",
    "object": {"kind": "node", "id": "n1"},
    "state": "waiting",
    "step": "wait_agent",
    "attempt": 2,
    "owners": 2,
    "progress": {"done": 4, "total": 10, "message": "waiting for the agent's call-back"},
    "wake_at": NOW + 30,
    "deadline": NOW + 100,
    "error": None,
    "requested_by": "admin@admin",
    "created_at": NOW - 12,
}
WHY = {
    "claim": {"epoch": 9, "since": NOW - 60, "incarnation": 7},
    "owner": MEMBER,
    "token": 9,
    "job": JOB,
    "sentences": ["conductor-1 on h owns this node."],
}
ANSWERS: dict[str, Any] = {
    "/status": {
        "members": [MEMBER],
        "rings": [RING],
        "jobs": {"queued": 0, "running": 1, "waiting": 2},
        "warnings": ["not HA: 1 conductor is up"],
    },
    "/members": {"members": [MEMBER, GONE]},
    "/services": {
        "services": [
            {
                "hostname": f"{slot}.h",
                "binary": binary,
                "port": port,
                "status": status,
                "updated_at": 1_800_000_000.5,
            }
            for slot, binary, port, status in (
                ("engine-1", "heat-eng", 0, "up"),
                ("engine-2", "heat-eng", 0, "down"),
                ("api-1", "heat-api", 8004, "up"),
            )
        ]
    },
    "/ring": {"rings": [RING]},
    "/claims": {"group": "", "claims": CLAIMS},
    "/jobs": {"jobs": [JOB]},
    "/jobs/" + J1: {
        "job": {
            **JOB,
            "journal": [
                {
                    "ordinal": 0,
                    "step": "power_off",
                    "attempt": 1,
                    "epoch": 5,
                    "finished_at": NOW - 10,
                }
            ],
        }
    },
    "/why/web-1": WHY,
}


def links(**given: Any) -> GatewayLinks:
    return GatewayLinks(url="http://127.0.0.1:8083", **given)


class Canned:
    """Stands for the cluster API."""

    posted: list[str] = []

    def node_name(self, node: str) -> str | None:
        return {"n1": "web-1"}.get(node)

    def get(self, path: str, **query: object) -> Any:
        return ANSWERS[path]

    def post(self, path: str, body: Any = None) -> Any:
        self.posted.append(path)
        return {"member": MEMBER, "job": JOB}


@pytest.fixture(autouse=True)
def _canned(monkeypatch: pytest.MonkeyPatch) -> None:
    Canned.posted.clear()
    monkeypatch.setattr(context.Cli, "client", lambda self: Canned())
    monkeypatch.setattr(time, "time", lambda: NOW)
    monkeypatch.setattr(reads, "_gateway_links", lambda obj: links(bmcs=3, silent=1))


def shown(*argv: str) -> str:
    result = CliRunner().invoke(cli, list(argv))
    assert result.exit_code == 0, result.output
    return result.output


def test_status_shows_members_shares_work_and_warnings():
    text = shown("status")
    assert "conductor-1  conductor  up" in text
    assert "group default: 3 objects in 2 shards, fullest over mean 1.500" in text
    assert "1 shards without a living owner" in text
    assert "jobs: 0 queued, 1 running, 2 waiting" in text
    assert "warning: not HA" in text


def test_status_shows_the_gateway_and_the_links_that_are_broken(monkeypatch: pytest.MonkeyPatch):
    assert (
        "gateway http://127.0.0.1:8083: 2 of 3 BMCs answer; 1 were not asked yet; "
        "0 commands under way, 0 wait"
    ) in shown("status")
    dead = tuple(BrokenLink(bmc=f"n{n}", breaker="open", last="bmc_timeout") for n in range(1, 8))
    broken = links(bmcs=7, broken=dead, commands=2, waiting=5)
    monkeypatch.setattr(reads, "_gateway_links", lambda obj: broken)
    text = shown("status")
    assert "0 of 7 BMCs answer; 7 do not; 2 commands under way, 5 wait" in text
    assert "warning: no link to the BMC of web-1 (breaker open, last: bmc_timeout)" in text
    assert "warning: no link to the BMC of n2 (breaker open" in text
    assert "warning: 2 more BMCs without a link" in text
    document = json.loads(shown("status", "-o", "json"))["gateway"]
    assert [one["bmc"] for one in document["broken"]] == [f"n{n}" for n in range(1, 8)]


def test_status_says_that_the_gateway_does_not_answer_or_could_not_be_asked(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(reads, "_gateway_links", lambda obj: links(fault="it is away"))
    text = shown("status")
    assert "gateway http://127.0.0.1:8083: does not answer" in text
    assert "warning: no command reaches any BMC: it is away" in text
    monkeypatch.setattr(reads, "_gateway_links", lambda obj: None)
    assert "gateway: not asked, this host has no gateway.secret" in shown("status")
    assert json.loads(shown("status", "-o", "json"))["gateway"] is None


def test_a_job_is_shown_with_its_nodes_name_and_id():
    assert "object    n1 (web-1)" in shown("jobs", "show", J1)
    document = json.loads(shown("jobs", "show", J1, "-o", "json"))
    assert document["job"]["object"] == {"kind": "node", "id": "n1", "name": "web-1"}


def test_names_of_others_settings_are_said_where_they_count_and_never_into_a_document(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setenv("HOLDFAST_DATA_DIR", str(tmp_path))
    (tmp_path / "holdfast.toml").write_text("heat_engine_workers = 3\n")
    word = "heat_engine_workers"
    for looking in (["status"], ["jobs"], ["members"], ["doctor", "-o", "json"]):
        result = CliRunner().invoke(cli, looking)
        assert word not in result.stderr, looking
    result = CliRunner().invoke(cli, ["config", "check"])
    assert result.stdout.count(word) == 1
    assert word not in result.stderr
    (document,) = json.loads(shown("config", "check", "-o", "json"))["warnings"]
    assert word in document
    result = CliRunner().invoke(cli, ["migrate"])
    assert result.stderr.count(word) == 1
    assert word not in CliRunner().invoke(cli, ["migrate", "-o", "json"]).stderr


def test_the_default_group_is_asked_for_by_the_name_it_is_shown_under(
    monkeypatch: pytest.MonkeyPatch,
):
    asked: list[object] = []

    class Asked(Canned):
        def get(self, path: str, **query: object) -> Any:
            asked.append(query.get("group"))
            return super().get(path)

    monkeypatch.setattr(context.Cli, "client", lambda self: Asked())
    for argv in (["ring", "--group", "default"], ["ring", "--group", "rack-7"], ["ring"]):
        shown(*argv)
    assert asked == ["", "rack-7", None]
    shown("owners")
    assert asked[3] == ""


def test_a_table_of_nothing_says_so_and_a_document_does_not(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(ANSWERS, "/jobs", {"jobs": []})
    result = CliRunner().invoke(cli, ["jobs"])
    assert result.stdout.startswith("JOB")
    assert result.stderr == "(none)\n"
    assert CliRunner().invoke(cli, ["jobs", "-o", "json"]).stderr == ""


def test_a_role_that_no_member_has_is_refused_by_its_names():
    result = CliRunner().invoke(cli, ["members", "--role", "rack"])
    assert result.exit_code == 2
    assert "'conductor', 'engine', 'api', 'apinode'" in result.output


def test_members_that_are_gone_say_why():
    assert "killed by signal 9 (SIGKILL)" in shown("members", "--gone")


def test_members_shows_addresses():
    header, *rows = shown("members").splitlines()
    assert header.split()[-1] == "ADDRESS"
    assert rows[0].split()[-1] == "http://h:12000"


def test_x21_services_have_the_columns_of_the_reference():
    header, *rows = shown("services").splitlines()
    assert header.split("  ")[0] == "HOSTNAME"
    assert header.split() == ["HOSTNAME", "BINARY", "PORT", "STATUS", "UPDATED", "AT"]
    assert [row.split() for row in rows] == [
        ["engine-1.h", "heat-eng", "0", "up", "2027-01-15T08:00:00Z"],
        ["engine-2.h", "heat-eng", "0", "down", "2027-01-15T08:00:00Z"],
        ["api-1.h", "heat-api", "8004", "up", "2027-01-15T08:00:00Z"],
    ]


def test_services_can_be_chosen_by_binary_and_by_being_down():
    assert shown("services", "--binary", "heat-eng", "-o", "name").split() == [
        "engine-1.h",
        "engine-2.h",
    ]
    down = json.loads(shown("services", "--down", "-o", "json"))["services"]
    assert [one["hostname"] for one in down] == ["engine-2.h"]


def test_ring_shows_held_and_wished():
    header, row, *_ = shown("ring").splitlines()
    assert header.split() == ["GROUP", "MEMBER", "STATE", "SHARDS", "WISHED", "OBJECTS"]
    assert row.split() == ["default", "conductor-1", "up", "1", "2", "3"]


def test_owners_tells_the_dead_from_the_living():
    text = shown("owners")
    assert "conductor-1         1       3" in text
    assert "conductor-2 (gone)  1       0" in text
    assert "0      conductor-1" in shown("owners", "--shards")


def test_why_answers_in_sentences():
    """Who owns it since when, with which token; which step, how often, until when."""
    assert shown("why", "web-1").splitlines() == [
        "conductor-1 on h owns this node.",
        "It has been owned so for 60 s; commands to its BMC carry token 9.",
        "The job was asked for by admin@admin 12 s ago; this step was begun 2 times.",
        "It looks again in 30 s at the latest.",
        "If it has not ended in 100 s it fails.",
    ]


def test_jobs_shows_progress_and_owners():
    _, row = shown("jobs").splitlines()
    assert row.split()[:7] == [J1, "node.deploy", "n1", "waiting", "wait_agent", "4/10", "2"]


def test_a_job_is_shown_with_its_journal():
    text = shown("jobs", "show", J1)
    assert "power_off" in text
    assert "+2.00 s" in text


def test_drain_takes_a_slot_or_an_id():
    shown("drain", "conductor-1")
    assert Canned.posted == ["/members/a1/drain"]
    shown("drain", "--force", "conductor-1")
    assert Canned.posted == ["/members/a1/drain", "/members/a1/drain?force=true"]
    result = CliRunner().invoke(cli, ["drain", "stranger"])
    assert "no living member 'stranger'; there are: conductor-1" in str(result.exception)


@pytest.mark.parametrize(
    "argv", [("status",), ("members",), ("ring",), ("owners",), ("jobs",), ("why", "web-1")]
)
def test_json_is_the_document(argv: tuple[str, ...]):
    assert isinstance(json.loads(shown("-o", "json", *argv)), dict)


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("why", ""), "no such node"),
        (("jobs", "show", ""), "no such job"),
        (("jobs", "show", "zz"), "no such job: 'zz'"),
        (("jobs", "cancel", "zz"), "no such job: 'zz'"),
    ],
)
def test_what_names_nothing_is_said_to_be_nothing(argv: tuple[str, ...], said: str):
    result = CliRunner().invoke(cli, list(argv))
    assert isinstance(result.exception, NotFoundError)
    assert said in result.exception.message
    assert Canned.posted == []


def test_a_job_of_an_older_api_is_shown_without_what_it_does_not_tell(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setitem(ANSWERS, f"/jobs/{J1}", {"job": JOB})
    assert "node.deploy" in shown("jobs", "show", J1)


def test_an_error_that_ends_with_a_full_stop_gets_no_second_one(monkeypatch: pytest.MonkeyPatch):
    failed = {**JOB, "error": {"code": "bmc", "message": "the BMC refused."}}
    monkeypatch.setitem(ANSWERS, "/why/n1", {**WHY, "job": failed})
    assert "Its last error: the BMC refused.\n" in shown("why", "n1") + "\n"
