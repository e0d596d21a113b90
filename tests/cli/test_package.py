"""``holdfast package``: built, checked, and deployed on all nodes or on none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from tests.serving.nodes import NodeProcess, adder

from holdfast.cli.main import cli
from holdfast.errors import HoldfastError, UnavailableError


def run(*words: str | Path) -> Result:
    return CliRunner().invoke(cli, [str(word) for word in words])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "fraud"
    made.mkdir()
    (made / "service.toml").write_text(
        'id = "fraud"\n[auth]\npublic = true\n[[endpoints]]\nid = "add"\nkind = "function"\n'
        'file = "f.py"\nfunction = "add"\n'
    )
    (made / "f.py").write_text("def add(a, b):\n    return a + b\n")
    return made


def test_a_folder_is_built_signed_and_verified(folder: Path, tmp_path: Path):
    key = run("package", "keygen", tmp_path / "key.pem").output.strip()
    assert len(key) == 64
    out = tmp_path / "fraud.hfpkg"
    signed = ("--key", tmp_path / "key.pem", "--generation", "v1")
    built = run("-o", "json", "package", "build", folder, "--to", out, *signed)
    assert json.loads(built.output)["generation"] == "v1"
    checked = json.loads(run("-o", "json", "package", "verify", out, "--trust", key).output)
    assert (checked["endpoints"], checked["signed_by"]) == (["add"], key)
    assert checked["trusted"] is True
    checked = json.loads(run("-o", "json", "package", "verify", out).output)
    assert (checked["signed_by"], checked["trusted"]) == (key, False)
    refused = run("package", "verify", out, "--trust", "0" * 64)
    assert isinstance(refused.exception, HoldfastError)


def test_a_package_is_deployed_on_all_nodes_or_switched_to_on_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """D4."""
    nodes = [NodeProcess(tmp_path / f"n{number}").start() for number in range(2)]
    # One key for all: made known to the second as its own.
    first, second = nodes
    try:
        monkeypatch.setenv("HOLDFAST_APINODE_KEY", first.admin_key)
        one = run(
            "-o", "json", "package", "deploy", adder(tmp_path, "v1").path, "--nodes", first.url
        )
        assert json.loads(one.output)["nodes"][0]["state"] == "active"
        both = f"{first.url},{second.url}"  # the second has another key, so it refuses
        refused = run("package", "deploy", adder(tmp_path, "v2").path, "--nodes", both)
        assert isinstance(refused.exception, UnavailableError)
        answer = first.ask("sums", "add/run", {"a": 1})
        assert answer.body["apiContext"]["serviceGeneration"] == "v1"
        path = adder(tmp_path, "v2").path
        run("package", "deploy", path, "--nodes", both, "--quorum", "1")
        answer = first.ask("sums", "add/run", {"a": 1})
        assert answer.body["apiContext"]["serviceGeneration"] == "v2"
        again = run("package", "deploy", path, "--nodes", both)
        assert "1 of 2 nodes serve it; wanted were 2." in str(again.exception)
        status = json.loads(run("-o", "json", "apinode", "status", "--node", first.url).output)
        assert status["alive"] is True
        out = run("apinode", "out", "--force", "--node", first.url.removeprefix("http://"))
        assert out.output == f"{first.url} is out of the pool, and answers whoever comes\n"
        back = run("apinode", "back", "--node", first.url)
        assert back.output == f"{first.url} is back in the pool\n"
        gone = run("apinode", "drain", "--force", "--node", first.url)
        assert gone.output == f"{first.url} answers until balancers have noticed, and stops then\n"
        assert first.wait() == 0
    finally:
        for node in nodes:
            node.stop()
