"""The command itself: what it loads, and how errors look."""

from __future__ import annotations

import subprocess
import sys

import pytest
from click.testing import CliRunner

from holdfast import __version__
from holdfast.cli.main import COMMANDS, cli


def test_every_command_is_there_and_explains_itself():
    runner = CliRunner()
    for name in COMMANDS:
        result = runner.invoke(cli, [name, "--help"])
        assert result.exit_code == 0, (name, result.output)
        assert "Usage:" in result.output


def test_help_lists_every_command():
    output = CliRunner().invoke(cli, ["--help"]).output
    assert all(f"  {name}" in output for name in COMMANDS)


def test_a_small_command_loads_little():
    code = (
        "import sys\n"
        "from holdfast.cli.main import cli\n"
        "cli(['version'], standalone_mode=False)\n"
        "heavy = {'litestar', 'aiohttp', 'sqlalchemy', 'asyncpg', 'rich', 'numpy', 'yaml'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["VERSION", __version__, "[]"]


@pytest.mark.parametrize("argv", [("config", "check"), ("status",)])
def test_an_error_on_purpose_is_one_message_and_no_traceback(
    argv: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory
):
    folder = tmp_path_factory.mktemp("home")
    environ = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(folder),
        "HOLDFAST_DATA_DIR": str(folder),
        "HOLDFAST_CORE__LEASE_S": "0",
    }
    done = subprocess.run(
        [sys.executable, "-m", "holdfast.cli.main", *argv],
        capture_output=True,
        text=True,
        env=environ,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("holdfast: the configuration has a fault: core.lease_s = '0'")
    assert "Traceback" not in done.stderr
