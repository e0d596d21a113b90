"""dataikuapi, unmodified, against an API node: every method of its two clients."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from tests.compat.clients import BIN
from tests.compat.coverage import Coverage
from tests.serving.nodes import KEY, NodeProcess
from tests.serving.zoo import zoo

CALLS = Path(__file__).with_name("dataiku_calls.py")


REFUSED = [
    "APINodeAdminClient.import_code_env_in_cache",
    "APINodeAdminClient.import_model_archive_in_cache",
    "APINodeAdminClient.register_code_env_in_cache",
    "APINodeClient.predict_effect",
    "APINodeClient.predict_effects",
]


def test_every_method_of_dataikuapi_works_or_is_refused_by_name(
    tmp_path: Path, request: pytest.FixtureRequest
):
    packages = [zoo(tmp_path, generation).path for generation in ("v1", "v2")]
    node = NodeProcess(tmp_path / "node", "").start()
    try:
        done = subprocess.run(
            [BIN / "python", CALLS, node.url, node.admin_key, KEY, *packages],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    finally:
        node.stop()
    assert done.returncode == 0, done.stderr
    fates: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    assert sorted(method for method, fate in fates.items() if fate != "works") == REFUSED
    assert {fates[method] for method in REFUSED} == {"refused"}
    plugin = request.config.pluginmanager.get_plugin("holdfast-coverage")
    assert isinstance(plugin, Coverage)
    plugin.chapters.append(chapter(sorted(fates.keys() - set(REFUSED))))


def chapter(working: list[str]) -> str:
    """What docs/compatibility.md says of it."""
    return (
        "\n## dataikuapi's clients of API nodes\n\n"
        f"Every method was called: {len(working)} of {len(working) + len(REFUSED)} work: "
        f"{listed(working)}.\n\n{len(REFUSED)} are refused in a sentence: {listed(REFUSED)}. "
        "A node has no caches of code environments and models, and answers no causal predictions."
    )


def listed(methods: list[str]) -> str:
    return ", ".join(f"`{method}`" for method in methods)
