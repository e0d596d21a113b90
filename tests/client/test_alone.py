"""The client where nothing but httptools is installed (issue 5, the client)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import httptools
import pytest

import holdfast

SOURCES = Path(holdfast.__file__).parents[1]


@pytest.fixture
def alone(tmp_path: Path) -> tuple[str, ...]:
    """Python without site-packages, and how its program begins."""
    (tmp_path / "httptools").symlink_to(Path(httptools.__file__).parent)
    begin = f"import sys; sys.path[:0] = {[str(SOURCES), str(tmp_path)]!r}; "
    return (sys.executable, "-I", "-S", "-c", begin)


def run(alone: tuple[str, ...], program: str) -> subprocess.CompletedProcess[str]:
    *words, begin = alone
    return subprocess.run([*words, begin + program], capture_output=True, text=True, check=False)


def test_it_needs_only_httptools(alone: tuple[str, ...]):
    program = (
        "from holdfast.client import ApiNodes; "
        "ApiNodes(['http://127.0.0.1:1'], service='s').close(); print('made')"
    )
    done = run(alone, program)
    assert (done.stdout, done.stderr) == ("made\n", "")


def test_the_command_says_what_to_install(alone: tuple[str, ...]):
    done = run(alone, "from holdfast.__main__ import main; main()")
    assert done.returncode == 1
    assert done.stderr.startswith("holdfast: ")
    assert "pip install 'holdfast[server]'" in done.stderr
    assert "Traceback" not in done.stderr
