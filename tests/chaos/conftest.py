"""The scorecards of chaos runs, shown at the end whatever pytest captures."""

from __future__ import annotations

import pytest
from tests.chaos.run import CARDS


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for card in CARDS:
        terminalreporter.section("chaos")
        terminalreporter.write_line(card)
