"""What holds for every test run: groups in order of cost, and no skip that nobody agreed to."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

TESTS = Path(__file__).parent

# API nodes that are root run the packages of tests as root: nobody might not read this Python.
os.environ.setdefault("HOLDFAST_APINODE_WORKERS_USER", "root")

# Cheap and telling first. Budgets are what a run in CI may take on two cores, in seconds.
BUDGET_S = {"unit": 180, "store": 180, "sim": 300, "e2e": 300, "compat": 600, "chaos": 900}


def group_of(item: pytest.Item) -> str:
    """The group a test belongs to: its top folder's name, or ``unit``."""
    top = item.path.relative_to(TESTS).parts[0]
    return top if top in BUDGET_S else "unit"


def allowed_skips() -> tuple[str, ...]:
    """Beginnings of the node ids that ``skips.txt`` lists."""
    lines = (TESTS / "skips.txt").read_text().splitlines()
    return tuple(line.split(" # ")[0].strip() for line in lines if line and line[0] != "#")


class Groups:
    """Orders the groups, adds up their time and notices skips that are not listed."""

    def __init__(self) -> None:
        self.group: dict[str, str] = {}
        self.spent_s: dict[str, float] = {}
        self.unlisted: list[str] = []
        self.allowed = allowed_skips()

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        order = list(BUDGET_S)
        self.group = {item.nodeid: group_of(item) for item in items}
        items.sort(key=lambda item: order.index(self.group[item.nodeid]))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        group = self.group.get(report.nodeid, "unit")
        self.spent_s[group] = self.spent_s.get(group, 0.0) + report.duration
        self._note_skip(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        self._note_skip(report)

    def _note_skip(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        if not report.skipped or hasattr(report, "wasxfail"):
            return
        if not report.nodeid.startswith(self.allowed or ("\0",)):
            self.unlisted.append(report.nodeid)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.unlisted and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        for nodeid in self.unlisted:
            terminalreporter.write_line(f"SKIPPED and not listed in tests/skips.txt: {nodeid}")
        if len(self.spent_s) > 1:
            for name, budget_s in BUDGET_S.items():
                if name in self.spent_s:
                    spent_s = self.spent_s[name]
                    over = "  OVER BUDGET" if spent_s > budget_s else ""
                    terminalreporter.write_line(f"{name:<8}{spent_s:7.1f} s of {budget_s} s{over}")


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Groups(), "holdfast-groups")


def pytest_report_header() -> str:
    return f"started: {time.strftime('%Y-%m-%d %H:%M:%S %z')}"
