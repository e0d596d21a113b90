"""The referee sees each kind of broken promise, and nothing in a clean journal."""

from __future__ import annotations

import msgspec
import pytest

from holdfast.sim.fleet.journal import Line
from holdfast.sim.fleet.referee import judge, summary

STEP = "agent.deploy.execute_deploy_step"


class History:
    """Writes journal lines, a second apart."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.t = 0.0

    def add(self, **fields: object) -> History:
        self.t += 1.0
        line = {"t": self.t, "wall": self.t, "machine": "bmc-1", **fields}
        self.lines.append(msgspec.json.encode(msgspec.convert(line, Line)))
        return self

    def command(self, member: str, epoch: int, action: str = "power", value: str = "On",
                **fields: object) -> History:  # fmt: skip
        return self.add(
            member=member, epoch=epoch, action=action, value=value,
            **{"status": 204, "done": True, "job": "j1", **fields},
        )  # fmt: skip

    def verdict(self, **options: bool):
        return judge(self.lines, **options)


@pytest.fixture
def history() -> History:
    return History()


def test_a_clean_history_with_a_takeover_is_clean(history):
    verdict = (
        history.command("a", 1, "media", "http://x")
        .command("a", 1, "boot", "Cd:Once")
        .command("a", 1)
        .add(kind="state", action="power", value="On")
        .command("a", 1, STEP, "write_image")
        .command("b", 2, "agent.standby.power_off", "")
        .command("b", 2, "power", "ForceOff")
        .verdict(require_origin=True)
    )
    assert verdict.ok
    assert (verdict.effects, verdict.double_commands, verdict.lines) == (6, 0, 7)
    report = verdict.machines["bmc-1"]
    assert (report.members, report.epoch_max, report.jobs) == (["a", "b"], 2, 1)
    assert report.actions["power"] == 2
    (takeover,) = verdict.takeovers
    assert (takeover.before, takeover.after, takeover.gap_s, takeover.same_job) == (
        "a", "b", 1.0, True,
    )  # fmt: skip


def test_a_machine_may_come_back_to_its_first_owner_under_a_higher_epoch(history):
    assert history.command("a", 1).command("b", 2).command("a", 3).verdict().ok


def test_a_lower_epoch_after_a_higher_one_is_a_double_command(history):
    verdict = history.command("a", 1).command("b", 2).command("a", 1).verdict()
    assert verdict.counts == {"stale": 1}
    (violation,) = verdict.violations
    assert (violation.line.member, violation.before.member) == ("a", "b")
    assert not verdict.ok


def test_epochs_of_different_machines_are_not_compared(history):
    assert history.command("a", 5).command("b", 2, machine="bmc-2").verdict().ok


def test_one_epoch_used_by_two_members_means_two_owners(history):
    assert history.command("a", 1).command("b", 1).verdict().counts == {"two_owners": 1}


def test_a_step_executed_twice_for_one_job_is_a_violation_by_whomever(history):
    same = history.command("a", 1, STEP, "write_image").command("b", 2, STEP, "write_image")
    assert same.verdict().counts == {"repeated_step": 1}


def test_a_step_may_be_executed_again_for_another_job_or_after_a_refusal(history):
    history.command("a", 1, STEP, "write_image", done=False, status=409)
    history.command("a", 1, STEP, "write_image").command("a", 1, STEP, "write_image", job="j2")
    history.command("a", 1, STEP, "other_step")
    assert history.verdict().ok


def test_a_repetition_after_a_power_cut_is_excused_and_counted(history):
    history.command("a", 1, STEP, "write_image").add(kind="fault", action="power-cut")
    verdict = history.command("a", 1, STEP, "write_image").verdict()
    assert (verdict.ok, verdict.excused, verdict.faults) == (True, 1, 1)
    verdict = history.command("a", 1, STEP, "write_image").verdict()
    assert verdict.counts == {"repeated_step": 1}


@pytest.mark.parametrize(
    "fault", [{"action": "power-cut", "machine": "bmc-2"}, {"action": "faults"}]
)
def test_other_faults_and_those_of_other_machines_excuse_nothing(history, fault):
    history.command("a", 1, STEP, "write_image").add(kind="fault", **fault)
    assert not history.command("a", 1, STEP, "write_image").verdict().ok


@pytest.mark.parametrize("reset", ["ForceRestart", "GracefulRestart", "Nmi"])
def test_a_reset_that_is_not_idempotent_may_happen_once_a_step(history, reset):
    history.command("a", 1, "power", reset, step="s1").command("a", 1, "power", reset, step="s2")
    assert history.verdict().ok
    history.command("a", 1, "power", reset, step="s1")
    assert history.verdict().counts == {"repeated_reset": 1}


def test_idempotent_commands_may_be_repeated(history):
    history.command("a", 1, "power", "On").command("a", 1, "power", "On").command("b", 2)
    assert history.verdict().ok


def test_a_stale_command_without_effect_is_no_violation(history):
    history.command("b", 2).command("a", 1, done=False, status=500)
    verdict = history.command("a", 1, "read", "").verdict()
    assert (verdict.ok, verdict.stale_reads) == (True, 1)
    assert verdict.machines["bmc-1"].refused == 1


def test_unsigned_commands_count_only_when_all_must_be_signed(history):
    history.add(action="power", value="On", status=204, done=True)
    assert history.verdict().ok
    assert history.verdict(require_origin=True).counts == {"unsigned": 1}


def test_a_line_cut_short_is_counted_and_skipped(history):
    history.command("a", 1).lines.append(b'{"t": 3')
    verdict = history.verdict()
    assert (verdict.ok, verdict.unreadable, verdict.lines) == (True, 1, 2)


def test_the_summary_names_what_broke_and_how_long_takeovers_took(history):
    text = summary(history.command("a", 1).command("b", 2).verdict())
    assert "clean" in text
    assert "longest 1.00 s" in text
    text = summary(history.command("a", 1).verdict())
    assert "BROKEN" in text
    assert "epoch 1 of a after 2 of b" in text
    assert "none within a job" in summary(judge([]))
