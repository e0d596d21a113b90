"""heat-tempest-plugin's gabbi suite, unmodified (compat.md: Heat itself passes 46 of 47)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.compat.clients import BIN, whole_suite
from tests.compat.coverage import Coverage
from tests.compat.programs import Program
from tests.compat.system import System

pytestmark = [pytest.mark.compat, whole_suite]

HERE = Path(__file__).parent
RUN_S = 300.0
TESTS = 47

CONFIG = """\
[DEFAULT]
log_dir = {folder}
[oslo_concurrency]
lock_path = {folder}
[heat_plugin]
username = {username}
password = {password}
project_name = {project_name}
user_domain_name = Default
project_domain_name = Default
auth_url = {auth_url}
auth_version = 3
region = RegionOne
catalog_type = orchestration
endpoint_type = public
"""


def settings_of(clouds: Path) -> dict[str, str]:
    """The first cloud of a clouds.yaml, as far as tempest wants to know of it."""
    found: dict[str, str] = {}
    for line in clouds.read_text().splitlines():
        key, _, value = line.strip().partition(": ")
        found.setdefault(key, value.strip('"'))
    return found


def test_every_test_of_the_suite_passes(
    folder: Path, system: System, request: pytest.FixtureRequest
):
    workspace = folder / "gabbi"
    workspace.mkdir()
    (workspace / "tempest.conf").write_text(
        CONFIG.format(folder=workspace, **settings_of(system.clouds))
    )
    run = Program(
        [BIN / "python", HERE / "gabbi_run.py"],
        folder / "gabbi.log",
        {"TEMPEST_CONFIG_DIR": str(workspace)},
    )
    run.process.wait(timeout=RUN_S)
    told = [json.loads(line) for line in run.output().splitlines() if line.startswith('{"test"')]
    assert len(told) == TESTS, run.output()[-2000:]
    assert [one for one in told if one["outcome"] != "passed"] == []
    coverage = request.config.pluginmanager.get_plugin("holdfast-coverage")
    assert isinstance(coverage, Coverage)
    coverage.chapters.append(
        f"\n## heat-tempest-plugin's gabbi suite\n\nUnmodified: {TESTS} of {TESTS} tests pass."
    )
