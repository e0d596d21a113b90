"""The referee: a verdict over fleet journals. Pure; trusts nothing but what BMCs and agents saw.

Violations (docs/reliability, promises 1 and 3):
- ``stale``: a command took effect with an epoch below one already seen on that machine.
- ``two_owners``: one epoch used by two members on the same machine.
- ``repeated_step``: an agent executed the same deploy or clean step twice for one job.
- ``repeated_reset``: a reset that is not idempotent (restart, NMI) was executed twice
  for the same step of one job.
- ``unsigned``: a command without member or epoch took effect (only when asked for).

A repetition is excused, and counted as such, when that machine's power was cut on
purpose in between: then the work was undone and has to be done again. No other fault
excuses anything: after a lost answer, say, one has to look before one repeats.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

import msgspec

from holdfast.sim.fleet.journal import POWER_CUT, READS, Line, read_lines

VIOLATIONS_KEPT_MAX = 200
NOT_IDEMPOTENT_RESETS = ("ForceRestart", "GracefulRestart", "Nmi")
NOT_IDEMPOTENT_STEPS = (
    "agent.deploy.execute_deploy_step",
    "agent.clean.execute_clean_step",
    "agent.standby.prepare_image",
)

Key: TypeAlias = tuple[str, ...]


class Violation(msgspec.Struct, frozen=True, kw_only=True):
    """One broken promise: the command, and the earlier one it contradicts."""

    kind: str
    machine: str
    text: str
    line: Line
    before: Line | None = None


class Takeover(msgspec.Struct, frozen=True, kw_only=True):
    """A machine's commands passing from one member to another, within one job or between."""

    machine: str
    before: str
    after: str
    gap_s: float  # from the old member's last command to the new one's first
    job: str  # of the new member's command
    same_job: bool


class MachineReport(msgspec.Struct, kw_only=True):
    """What one machine has seen."""

    effects: int = 0
    refused: int = 0  # commands without effect
    reads: int = 0
    epoch_max: int = -1
    members: list[str] = []  # in order of first appearance
    jobs: int = 0
    actions: dict[str, int] = {}


class Verdict(msgspec.Struct, kw_only=True):
    """The outcome. ``ok`` is what a chaos run must end with."""

    lines: int = 0
    unreadable: int = 0
    commands: int = 0
    effects: int = 0
    stale_reads: int = 0  # harmless, but the gateway should not have let them pass
    excused: int = 0
    faults: int = 0
    counts: dict[str, int] = {}  # violations by kind
    violations: list[Violation] = []  # the first ones
    takeovers: list[Takeover] = []
    machines: dict[str, MachineReport] = {}

    @property
    def ok(self) -> bool:
        return not self.counts

    @property
    def double_commands(self) -> int:
        """Violations of any kind."""
        return sum(self.counts.values())


def judge(lines: Iterable[bytes | str], *, require_origin: bool = False) -> Verdict:
    """Judge journal lines in the order they were written (one fleet's file)."""
    referee = _Referee(require_origin=require_origin)
    for line in read_lines(lines):
        referee.see(line)
    return referee.verdict


class _Track(msgspec.Struct):
    """What must be remembered of a machine to judge its next command."""

    report: MachineReport
    highest: Line | None = None
    last: Line | None = None
    last_epoch_line: dict[int, Line] = {}
    done: dict[Key, Line] = {}
    broken_at: float = float("-inf")
    jobs: set[str] = set()


class _Referee:
    def __init__(self, *, require_origin: bool) -> None:
        self.verdict = Verdict()
        self._require_origin = require_origin
        self._tracks: dict[str, _Track] = {}

    def see(self, line: Line | None) -> None:
        self.verdict.lines += 1
        if line is None:
            self.verdict.unreadable += 1
            return
        track = self._track(line.machine)
        if line.kind == "fault":
            self.verdict.faults += 1
            if line.action == POWER_CUT:
                track.broken_at = line.t
        elif line.kind == "command":
            self.verdict.commands += 1
            self._command(track, line)

    def _track(self, machine: str) -> _Track:
        track = self._tracks.get(machine)
        if track is None:
            report = self.verdict.machines[machine] = MachineReport()
            track = self._tracks[machine] = _Track(report)
        return track

    def _command(self, track: _Track, line: Line) -> None:
        report = track.report
        stale = track.highest is not None and 0 <= line.epoch < track.highest.epoch
        if line.action in READS:
            report.reads += 1
            self.verdict.stale_reads += stale
            return
        if not line.effect:
            report.refused += 1
            return
        report.effects += 1
        self.verdict.effects += 1
        report.actions[line.action] = report.actions.get(line.action, 0) + 1
        if line.epoch >= 0 and line.member:
            self._ownership(track, line, stale=stale)
        elif self._require_origin:
            self._violation("unsigned", line, None, "carries no member and epoch")
        self._repetition(track, line)

    def _ownership(self, track: _Track, line: Line, *, stale: bool) -> None:
        report, highest = track.report, track.highest
        if stale and highest is not None:
            text = f"epoch {line.epoch} of {line.member} after {highest.epoch} of {highest.member}"
            self._violation("stale", line, highest, text)
        same = track.last_epoch_line.get(line.epoch)
        if same is not None and same.member != line.member:
            text = f"epoch {line.epoch} used by {line.member} and {same.member}"
            self._violation("two_owners", line, same, text)
        track.last_epoch_line[line.epoch] = line
        if line.member not in report.members:
            report.members.append(line.member)
        if highest is None or line.epoch > highest.epoch:
            track.highest = line
            report.epoch_max = line.epoch
        if line.job and line.job not in track.jobs:
            track.jobs.add(line.job)
            report.jobs += 1
        self._takeover(track.last, line)
        track.last = line

    def _takeover(self, last: Line | None, line: Line) -> None:
        if last is not None and last.member != line.member:
            self.verdict.takeovers.append(
                Takeover(
                    machine=line.machine, before=last.member, after=line.member,
                    gap_s=round(line.t - last.t, 6), job=line.job, same_job=last.job == line.job,
                )
            )  # fmt: skip

    def _repetition(self, track: _Track, line: Line) -> None:
        if line.action in NOT_IDEMPOTENT_STEPS:
            kind, key = "repeated_step", (line.job, line.action, line.value)
        elif line.action == "power" and line.value in NOT_IDEMPOTENT_RESETS:
            kind, key = "repeated_reset", (line.job, line.step, line.value)
        else:
            return
        if not line.job:
            return
        before = track.done.get(key)
        track.done[key] = line
        if before is None:
            return
        if track.broken_at >= before.t:
            self.verdict.excused += 1
        else:
            text = f"{line.value or line.action} executed twice for job {line.job}"
            self._violation(kind, line, before, text)

    def _violation(self, kind: str, line: Line, before: Line | None, text: str) -> None:
        counts = self.verdict.counts
        counts[kind] = counts.get(kind, 0) + 1
        if len(self.verdict.violations) < VIOLATIONS_KEPT_MAX:
            self.verdict.violations.append(
                Violation(kind=kind, machine=line.machine, text=text, line=line, before=before)
            )


def summary(verdict: Verdict) -> str:
    """The verdict as plain text, for a terminal or a log."""
    busy = [report for report in verdict.machines.values() if report.effects]
    shared = sum(len(report.members) > 1 for report in busy)
    rows = [
        f"verdict     {'clean' if verdict.ok else 'BROKEN'}",
        f"lines       {verdict.lines} ({verdict.unreadable} unreadable)",
        f"commands    {verdict.commands}, {verdict.effects} took effect on {len(busy)} machines",
        f"machines    {shared} commanded by more than one member in turn",
        f"faults      {verdict.faults} injected, {verdict.excused} repetitions after power cuts",
        f"stale reads {verdict.stale_reads}",
        f"takeovers   {_gaps(verdict.takeovers)}",
    ]
    rows += [f"{kind:<11} {count}" for kind, count in sorted(verdict.counts.items())]
    rows += [
        f"  {violation.kind} at t={violation.line.t:.3f} on {violation.machine}: {violation.text}"
        for violation in verdict.violations[:20]
    ]
    return "\n".join(rows)


def _gaps(takeovers: list[Takeover]) -> str:
    gaps = sorted(takeover.gap_s for takeover in takeovers if takeover.same_job)
    if not gaps:
        return f"{len(takeovers)}, none within a job"
    p99 = gaps[min(len(gaps) - 1, int(len(gaps) * 0.99))]
    return (
        f"{len(takeovers)}, {len(gaps)} within a job: gap median {gaps[len(gaps) // 2]:.2f} s, "
        f"p99 {p99:.2f} s, longest {gaps[-1]:.2f} s"
    )
