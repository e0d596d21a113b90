"""Completion: a script for each shell, and the candidates it will ask for."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest
from click.testing import CliRunner

from holdfast.cli.completion import VARIABLE
from holdfast.cli.main import COMMANDS, cli


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_script_for_each_shell(shell: str):
    result = CliRunner().invoke(cli, ["completion", shell])
    assert result.exit_code == 0
    assert f"{VARIABLE}={shell}_complete" in result.output


def test_bash_accepts_the_script():
    program = shutil.which("bash")
    assert program
    script = CliRunner().invoke(cli, ["completion", "bash"]).output
    done = subprocess.run(
        [program, "-n"], input=script, text=True, capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def candidates(*words: str) -> set[str]:
    environ = {
        **os.environ,
        VARIABLE: "bash_complete",
        "COMP_WORDS": " ".join(("holdfast", *words)),
        "COMP_CWORD": str(len(words)),
    }
    argv = [sys.executable, "-m", "holdfast.cli.main"]
    done = subprocess.run(argv, env=environ, text=True, capture_output=True, check=False)
    return {line.partition(",")[2] for line in done.stdout.splitlines()}


def test_commands_and_formats_are_completed():
    assert candidates("") == set(COMMANDS)
    assert candidates("jobs", "s") == {"show"}
    assert candidates("status", "-o", "") == {"table", "json", "yaml", "name"}
