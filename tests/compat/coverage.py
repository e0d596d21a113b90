"""Which routes the clients used and how they were answered: docs/compatibility.md is made of it.

A pytest plugin. It reads the API processes' access logs as they grow and attributes each
request to the client of the test module that ran meanwhile (its ``CLIENT``). The document
is written when all tests passed and HOLDFAST_COMPAT_DOC is set, as ``make compat`` does.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.compat.baremetal.routes import AGENT, GROUPS, Route
from tests.compat.system import ROOT, System

DOCUMENT = ROOT / "docs" / "compatibility.md"
WORKS, REFUSED, UNKNOWN = "works", "refused with a clear error", "unknown"

_HEAD = """\
# What is compatible

Written by `make compat`, from runs of the unmodified clients as subprocesses over HTTP.
*Works*: a client used the route and was answered as it expects. *Refused*: a client was told in a
sentence that this release lacks it. *Unknown*: none has tried it in these tests.
"""


class Coverage:
    """Counts (method, path) -> status -> clients."""

    def __init__(self, *, write: bool) -> None:
        self._write = write
        self._system: System | None = None
        self._read: dict[Path, int] = {}
        self._seen: dict[tuple[str, str], dict[int, set[str]]] = defaultdict(dict)
        self._versions: set[str] = set()
        self._failed = False

    def watch(self, system: System) -> None:
        """Read this system's logs from now on."""
        self._system = system

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> None:
        module = item.getparent(pytest.Module)
        self._attribute(str(getattr(module.obj if module else None, "CLIENT", "")))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._failed = self._failed or report.failed

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if not self._seen:
            return
        answers = [status for _, _, status, _ in self._table()]
        counts = ", ".join(f"{answers.count(s)} {s}" for s in (WORKS, REFUSED, UNKNOWN))
        terminalreporter.write_line(f"routes of the Bare Metal and Identity APIs: {counts}")
        if self._write and not self._failed:
            DOCUMENT.write_text(self.document())
            terminalreporter.write_line(f"written: {DOCUMENT.relative_to(ROOT)}")

    def _attribute(self, client: str) -> None:
        """Give what the logs have grown by to this client."""
        if self._system is None:
            return
        for log in self._system.access_logs():
            with log.open("rb") as lines:
                lines.seek(self._read.get(log, 0))
                for line in lines:
                    if not line.endswith(b"\n"):
                        break
                    self._read[log] = self._read.get(log, 0) + len(line)
                    self._note(line, client)

    def _note(self, line: bytes, client: str) -> None:
        try:
            request: dict[str, Any] = json.loads(line)
        except ValueError:  # what a dying process left behind
            return
        if request.get("event") == "request":
            clients = self._seen[request["method"], request["path"]]
            clients.setdefault(int(request["status"]), set()).add(client)

    def document(self) -> str:
        """The whole of docs/compatibility.md."""
        lines, group = [_HEAD], ""
        for in_group, route, answer, clients in self._table():
            if in_group != group:
                group = in_group
                lines += [f"\n## {group}\n", "| route | answer | tried by |", "|---|---|---|"]
            lines.append(f"| `{route.method} {route.path}` | {answer} | {clients} |")
        return "\n".join(lines) + "\n"

    def _table(self) -> Iterator[tuple[str, Route, str, str]]:
        """Group, route, answer and clients, in the order of ``GROUPS``."""
        found: dict[Route, dict[int, set[str]]] = defaultdict(dict)
        matchers = [(route, _matcher(route)) for routes in GROUPS.values() for route in routes]
        for (method, path), by_status in self._seen.items():
            for route, pattern in matchers:
                if route.method == method and pattern.fullmatch(path):
                    for status, clients in by_status.items():
                        found[route].setdefault(status, set()).update(clients)
                    break
        for group, routes in GROUPS.items():
            for route in routes:
                yield (group, route, *_verdict(route, found[route]))


def _verdict(route: Route, by_status: dict[int, set[str]]) -> tuple[str, str]:
    """What a route's answers amount to, and who got them."""
    good = {c for status, clients in by_status.items() if status < 400 for c in clients}
    bad = {c for status, clients in by_status.items() if status >= 400 for c in clients}
    chosen, answer = (good, WORKS) if good else (bad, REFUSED if bad else UNKNOWN)
    if chosen and route in AGENT:
        chosen = {"the simulated ramdisk agent"}
    return answer, "; ".join(sorted(chosen))


def _matcher(route: Route) -> re.Pattern[str]:
    """Parts in braces match one part of a path."""
    path = route.prefix + (route.path if route.path != "/" else "")
    parts = ["[^/]+" if part.startswith("{") else re.escape(part) for part in path.split("/")]
    return re.compile("/".join(parts))
