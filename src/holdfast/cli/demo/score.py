"""The scorecard: what was lost (nothing may be), and how quickly work went on."""

from __future__ import annotations

from pathlib import Path

import msgspec
from rich.table import Table

from holdfast.sim.fleet.referee import Verdict, judge


class Score(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome. ``takeover_s`` is None when no conductor was killed, or nobody took over."""

    nodes: int
    active: int
    resumed: int
    failed: int
    takeover_s: float | None
    took_s: float
    killed: str
    double_commands: int
    commands: int

    def faults(self) -> list[str]:
        """What was lost; empty: nothing."""
        found: list[str] = []
        if self.active != self.nodes:
            found.append(f"{self.nodes - self.active} of {self.nodes} machines are not active")
        if self.failed:
            found.append(f"{self.failed} machines failed")
        if self.double_commands:
            found.append(f"{self.double_commands} commands were given twice or by two owners")
        if not self.commands:
            found.append("the machines' BMCs saw no command at all")
        if self.killed and self.takeover_s is None:
            found.append(f"nobody took over what {self.killed} owned")
        return found


def verdict_of(journal: Path) -> Verdict:
    """The referee's verdict over what the BMCs and agents saw; unsigned commands count."""
    with journal.open("rb") as lines:
        return judge(lines, require_origin=True)


def card(score: Score) -> Table:
    """The scorecard, for rich."""
    table = Table(title="Scorecard", show_header=False, title_justify="left")
    table.add_column()
    table.add_column(justify="right")
    good, bad = "bold green", "bold red"

    def row(what: str, value: str, *, right: bool = True) -> None:
        table.add_row(what, f"[{good if right else bad}]{value}[/]")

    row("machines active", f"{score.active} of {score.nodes}", right=score.active == score.nodes)
    if score.killed:
        row(f"deployments resumed after kill -9 of {score.killed}", str(score.resumed))
        takeover = "never" if score.takeover_s is None else f"{score.takeover_s * 1000:.0f} ms"
        row("takeover, kill to last shard owned", takeover, right=score.takeover_s is not None)
    row("failed", str(score.failed), right=not score.failed)
    row(
        "double commands seen by the BMCs",
        f"{score.double_commands} of {score.commands}",
        right=not score.double_commands and score.commands > 0,
    )
    row("time", f"{score.took_s:.1f} s")
    return table
