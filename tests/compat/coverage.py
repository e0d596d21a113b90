"""Which routes the clients used and how they were answered: docs/compatibility.md is made of it.

A pytest plugin. It reads the API processes' access logs, in which each client gives its name.
The document is written when HOLDFAST_COMPAT_DOC is set, as by ``make compat``, and all tests of
bare metal ran and passed; a route or a command of the CLI that none of them tried fails the run.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
from tests.compat.baremetal.routes import GROUPS, Route
from tests.compat.clients import BIN, ENDED
from tests.compat.system import ROOT, System

PINNED = ROOT / "tests" / "requirements-clients.txt"
CLIENTS = (
    *("dataiku-api-client", "ironic-tempest-plugin", "openstacksdk", "python-ironicclient"),
    *("python-openstackclient", "tempest"),
)
EMULATOR = "sushy-tools"
DOCUMENT = ROOT / "docs" / "compatibility.md"
_AGENTS = {"python-urllib3": "ironic-tempest-plugin"}  # which gives no name of its own
UNAVAILABLE = 503  # said on purpose, as when the database is away
TESTS = ROOT / "tests" / "compat" / "baremetal"
WORKS, REFUSED, UNKNOWN = "works", "refused with a clear error", "unknown"

_HEAD = """\
# What is compatible

Written by `make compat`, from runs of the unmodified clients as subprocesses over HTTP.
*Works*: a client used the route and was answered as it expects. *Refused*: a client was told in a
sentence that this release lacks it. *Unknown*: none has tried it in these tests.

The clients: {clients}.
The machines: Holdfast's own fleet, and {emulator}."""


class Coverage:
    """Counts (method, path) -> status -> clients."""

    def __init__(self, *, write: bool) -> None:
        self._write = write
        self._seen: dict[tuple[str, str], dict[int, set[str]]] = defaultdict(dict)
        self._whole = False  # every test ran, and passed
        self.chapters: list[str] = []  # what other suites have to say, for the end

    def read(self, system: System) -> None:
        """Count what this system's logs tell."""
        for log in system.access_logs():
            for line in log.read_bytes().splitlines():
                self._note(line)

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self._whole = {item.path for item in session.items} >= set(TESTS.glob("test_*.py"))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._whole = self._whole and not report.failed

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self._complete and self._untried():
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    @property
    def _complete(self) -> bool:
        return self._write and self._whole and bool(self._seen)

    def _untried(self) -> list[str]:
        """Routes and commands that no client tried."""
        routes = [f"{r.method} {r.path}" for _, r, answer, _ in self._table() if answer == UNKNOWN]
        return routes + [words for words, answer in _commands() if answer == UNKNOWN]

    def crashes(self) -> list[str]:
        """Requests that were answered with a fault of the server's own."""
        return [
            f"{method} {path}: {status}"
            for (method, path), by_status in self._seen.items()
            for status in by_status
            if status >= 500 and status != UNAVAILABLE
        ]

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if not self._seen:
            return
        answers = [status for _, _, status, _ in self._table()]
        counts = ", ".join(f"{answers.count(s)} {s}" for s in (WORKS, REFUSED, UNKNOWN))
        terminalreporter.write_line(f"routes of the Bare Metal and Identity APIs: {counts}")
        if self._complete and (untried := self._untried()):
            terminalreporter.write_line(f"no client tried: {', '.join(untried)}", red=True)
        elif self._complete:
            DOCUMENT.write_text(self.document())
            terminalreporter.write_line(f"written: {DOCUMENT.relative_to(ROOT)}")

    def _note(self, line: bytes) -> None:
        try:
            request: dict[str, Any] = json.loads(line)
        except ValueError:  # what a dying process left behind
            return
        if request.get("event") == "request":
            clients = self._seen[request["method"], request["path"]]
            clients.setdefault(int(request["status"]), set()).add(_name(request["agent"] or ""))

    def document(self) -> str:
        """The whole of docs/compatibility.md."""
        pinned = dict(
            line.split()[0].split("==") for line in PINNED.read_text().splitlines() if "==" in line
        )
        clients = [f"`{name} {pinned[name]}`" for name in CLIENTS]
        emulator = f"`{EMULATOR} {pinned[EMULATOR]}`"
        lines, group = [_HEAD.format(clients=", ".join(clients), emulator=emulator)], ""
        for in_group, route, answer, clients in self._table():
            if in_group != group:
                group = in_group
                lines += [f"\n## {group}\n", "| route | answer | tried by |", "|---|---|---|"]
            lines.append(f"| `{route.method} {route.path}` | {answer} | {clients} |")
        return "\n".join([*lines, *self.chapters, _commands_chapter()]) + "\n"

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
                yield (group, route, *_verdict(found[route]))


def _verdict(by_status: dict[int, set[str]]) -> tuple[str, str]:
    """What a route's answers amount to, and who got them."""
    good = {c for status, clients in by_status.items() if status < 400 for c in clients}
    bad = {c for status, clients in by_status.items() if status >= 400 for c in clients}
    chosen, answer = (good, WORKS) if good else (bad, REFUSED if bad else UNKNOWN)
    return answer, ", ".join(sorted(chosen - {""}))


_LIST_COMMANDS = """
from importlib.metadata import entry_points
print(*(e.name for e in entry_points(group="openstack.baremetal.v1")), sep="\\n")
"""


@cache
def _known_commands() -> tuple[str, ...]:
    """Every command that ironicclient gives the CLI, in words."""
    asked = [BIN / "python", "-c", _LIST_COMMANDS]
    listed = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
    return tuple(sorted(name.replace("_", " ") for name in listed.split()))


def _commands() -> Iterator[tuple[str, str]]:
    """Each command of ``openstack baremetal``, and how it fared."""
    known = _known_commands()
    found: dict[str, set[bool]] = defaultdict(set)
    for words, done in ENDED:
        said = " ".join(words) + " "
        found[max((c for c in known if said.startswith(c + " ")), key=len, default="")].add(done)
    for command in known:
        yield command, WORKS if True in found[command] else REFUSED if found[command] else UNKNOWN


def _commands_chapter() -> str:
    """What the document says of them."""
    by_answer: dict[str, list[str]] = defaultdict(list)
    for command, answer in _commands():
        by_answer[answer].append(f"`{command}`")
    told = [f"{len(by_answer[a])} {a}: {', '.join(by_answer[a])}." for a in (WORKS, REFUSED)]
    return "\n".join(["\n## Commands of the `openstack` CLI\n", "\n\n".join(told)])


def _name(user_agent: str) -> str:
    """A client's name without its version and those of its libraries."""
    name = user_agent.partition("/")[0].strip()
    return _AGENTS.get(name, name)


def _matcher(route: Route) -> re.Pattern[str]:
    """Parts in braces match one part of a path."""
    path = route.prefix + (route.path if route.path != "/" else "")
    parts = ["[^/]+" if part.startswith("{") else re.escape(part) for part in path.split("/")]
    return re.compile("/".join(parts))
