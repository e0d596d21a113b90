"""An API node as a role: what it counts is on the host's page, as for other roles."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.serving.nodes import until

from holdfast.ops.metrics import aggregate, registry
from holdfast.ops.probes import Asker


@pytest.fixture
def face(tmp_path: Path) -> Iterator[Path]:
    """The socket of a node that runs as a role, without a database."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (tmp_path / "apinode.toml").write_text("[workers]\nlibraries = []\n")
    environ = {"HOLDFAST_DATA_DIR": str(tmp_path), "HOLDFAST_APINODE__PORT": str(port)}
    with (tmp_path / "log").open("wb") as log:
        role = subprocess.Popen(
            [sys.executable, "-m", "holdfast.cli.main", "run", "apinode", "--slot", "apinode-1"],
            env={**os.environ, **environ},
            stdout=log,
            stderr=log,
        )
    try:
        until(lambda: any(tmp_path.rglob("apinode-1.sock")), "its face is there")
        (face,) = tmp_path.rglob("apinode-1.sock")
        yield face
    finally:
        role.kill()
        role.wait()


async def test_the_hosts_page_has_what_serving_counts(face: Path):
    page = await Asker(10.0).metrics(face)
    assert page is not None
    told = aggregate({"apinode-1": page}, registry("supervisor")).decode()
    assert 'holdfast_serving_connections{slot="apinode-1"} 0.0' in told
    assert 'holdfast_apinode_registered{slot="apinode-1"} 0.0' in told
