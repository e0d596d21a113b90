"""Runs ironic-tempest-plugin's API tests one after the other, in the clients' environment.

For each test that ended a line of JSON goes to standard output: its id, how it ended,
and why. The plugin is as the registry has it; what it is told is in tempest.conf
(TEMPEST_CONFIG_DIR).
"""

from __future__ import annotations

import json
import sys
import unittest
from pathlib import Path

import ironic_tempest_plugin.tests.api  # pyright: ignore[reportMissingImports]
import testtools  # pyright: ignore[reportMissingImports]

PREFIX = "ironic_tempest_plugin.tests.api."


class Outcomes(testtools.TestResult):
    """Tells of each test as it ends."""

    def _tell(self, test, outcome, why=""):
        name = test.id().removeprefix(PREFIX).partition("[")[0]
        sys.stdout.write(json.dumps({"test": name, "outcome": outcome, "why": why}) + "\n")
        sys.stdout.flush()

    def addSuccess(self, test, details=None):
        super().addSuccess(test, details)
        self._tell(test, "passed")

    def addSkip(self, test, reason=None, details=None):
        super().addSkip(test, reason, details)
        why = reason or (details["reason"].as_text() if details and "reason" in details else "")
        self._tell(test, "skipped", why)

    def addFailure(self, test, err=None, details=None):
        super().addFailure(test, err, details)
        self._tell(test, "failed", self._end_of(test, err, details))

    def addError(self, test, err=None, details=None):
        super().addError(test, err, details)
        self._tell(test, "failed", self._end_of(test, err, details))

    def _end_of(self, test, err, details):
        """The last lines of the traceback; those of subtests have names of their own."""
        if err is not None:
            return self._exc_info_to_unicode(err, test)[-1500:]
        traces = [v.as_text() for k, v in sorted((details or {}).items()) if "traceback" in k]
        return "\n".join(traces)[-1500:]


def main() -> None:
    """Find all, run all."""
    folder = Path(str(ironic_tempest_plugin.tests.api.__file__)).parent
    suite = unittest.TestLoader().discover(str(folder), top_level_dir=str(folder.parents[2]))
    outcomes = Outcomes()
    outcomes.startTestRun()
    suite.run(outcomes)
    outcomes.stopTestRun()


main()
