"""The unmodified clients of others, as subprocesses in an environment of their own."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.compat.programs import clean_environ, until
from tests.compat.system import ROOT

BIN = ROOT / ".venv-clients" / "bin"
CALL_S = 240.0  # one command, --wait included
WHOLE = bool(os.environ.get("HOLDFAST_COMPAT_DOC"))  # set by ``make compat``
whole_suite = pytest.mark.skipif(not WHOLE, reason="make compat runs it")
"""What is beyond a life cycle per part: each command of a client costs seconds."""


class Answer:
    """What a command came to."""

    def __init__(self, done: subprocess.CompletedProcess[str]) -> None:
        self.status = done.returncode
        self.out = done.stdout
        self.err = done.stderr
        self.command = " ".join(str(word) for word in done.args)

    def __str__(self) -> str:
        return f"$ {self.command}\n{self.out}{self.err}(status {self.status})"


ENDED: list[tuple[tuple[str, ...], bool]] = []
"""Every command of the CLI that ended in these tests, by its words, and whether it did its work."""


class Client:
    """Runs commands of the clients' environment as somebody of a clouds.yaml."""

    def __init__(self, clouds: Path, cloud: str = "holdfast") -> None:
        self.cloud = cloud
        self.clouds = clouds
        self._env = {
            **clean_environ(),
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
            "OS_CLIENT_CONFIG_FILE": str(clouds),
            "COLUMNS": "200",
        }

    def run(self, *argv: str | Path) -> Answer:
        """Run a program to its end."""
        done = subprocess.run(
            [str(word) for word in argv],
            env=self._env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=CALL_S,
            check=False,
        )
        return Answer(done)

    def openstack(self, *words: str) -> Answer:
        """``openstack --os-cloud CLOUD words``: any status."""
        answer = self.run(BIN / "openstack", "--os-cloud", self.cloud, *words)
        ENDED.append((words, answer.status == 0))
        return answer

    def done(self, *words: str) -> str:
        """The same; it must succeed."""
        answer = self.openstack(*words)
        assert answer.status == 0, f"failed:\n{answer}"
        return answer.out

    def json(self, *words: str) -> Any:
        """The same, its answer read as JSON."""
        return json.loads(self.done(*words, "-f", "json"))

    def refused(self, *words: str) -> str:
        """The same; it must fail, in a sentence and not in a traceback."""
        answer = self.openstack(*words)
        assert answer.status != 0, f"not refused:\n{answer}"
        assert "Traceback" not in answer.err, answer.err
        assert "HTTP 5" not in answer.err, answer.err
        return answer.err

    def node(self, ident: str) -> dict[str, Any]:
        """``baremetal node show``."""
        return self.json("baremetal", "node", "show", ident)

    def until_power(self, ident: str, state: str) -> dict[str, Any]:
        """The node, once it has reached the power state and works towards none."""

        def look() -> dict[str, Any] | None:
            node = self.node(ident)
            settled = node["power_state"] == state and node["target_power_state"] is None
            return node if settled else None

        return until(look, f"{ident} is {state}", 90)

    def until_provision(self, ident: str, state: str) -> None:
        """Wait for a provision state, for those who do not want ``--wait``'s ten seconds."""
        until(lambda: self.node(ident)["provision_state"] == state, f"{ident} is {state}", 90)

    def script(self, path: Path, arguments: Mapping[str, Any]) -> Any:
        """A Python script in the clients' environment; its last line is its answer as JSON."""
        answer = self.run(BIN / "python", path, self.cloud, json.dumps(arguments))
        assert answer.status == 0, f"failed:\n{answer}"
        return json.loads(answer.out.splitlines()[-1])
