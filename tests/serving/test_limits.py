"""Limits that a worker is bound by, in processes of the test's own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

CODE = """
import resource, sys
from pathlib import Path
resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))
from holdfast.serving.workers.frames import Limits
from holdfast.serving.workers.limits import apply
apply(Limits(memory_bytes=4 << 30, open_files=50), Path(sys.argv[1]), [])
print(resource.getrlimit(resource.RLIMIT_AS), resource.getrlimit(resource.RLIMIT_NOFILE))
"""


def test_limits_that_are_lower_already_stay(tmp_path: Path):
    """A unit or a shell may have set them; only who has a capability can raise them."""
    done = subprocess.run(
        [sys.executable, "-c", CODE, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"({2 << 30}, {2 << 30}) (50, 50)\n"
