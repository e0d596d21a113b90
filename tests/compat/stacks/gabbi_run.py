"""Runs heat-tempest-plugin's gabbi suite one test after the other, in the clients' environment.

For each test that ended a line of JSON goes to standard output: its file and name, how it
ended, and why. The plugin is as the registry has it; what it is told is in tempest.conf
(TEMPEST_CONFIG_DIR).
"""

from __future__ import annotations

import json
import sys
import unittest

from heat_tempest_plugin.tests.api import (  # pyright: ignore[reportMissingImports]
    test_heat_api,
)


class Outcomes(unittest.TestResult):
    """Tells of each test as it ends."""

    def _tell(self, test, outcome, why=""):
        name = type(test).__name__.removeprefix("heat_tempest_plugin.tests.api.")
        sys.stdout.write(json.dumps({"test": name, "outcome": outcome, "why": why}) + "\n")
        sys.stdout.flush()

    def addSuccess(self, test):
        super().addSuccess(test)
        self._tell(test, "passed")

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self._tell(test, "skipped", reason)

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self._tell(test, "failed", str(err[1])[-1500:])

    def addError(self, test, err):
        super().addError(test, err)
        self._tell(test, "failed", str(err[1])[-1500:])


def main() -> None:
    """Load all, run all."""
    suite = test_heat_api.load_tests(unittest.TestLoader(), None, None)
    suite.run(Outcomes())


main()
