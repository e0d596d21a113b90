"""ironic-tempest-plugin's API tests, unmodified, one after the other (compat.md, "A peer's suite").

They take minutes, and run in ``make compat`` only. Which do not pass, and why, is listed in
``tempest_expected.toml``: any other outcome fails here.
"""

from __future__ import annotations

import fnmatch
import json
import tomllib
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest
from tests.compat.clients import BIN, whole_suite
from tests.compat.coverage import Coverage
from tests.compat.programs import Program
from tests.compat.system import System

pytestmark = [pytest.mark.compat, whole_suite]
HERE = Path(__file__).parent
RUN_S = 900.0

CONFIG = """\
[DEFAULT]
log_dir = {folder}
[oslo_concurrency]
lock_path = {folder}
[auth]
use_dynamic_credentials = true
create_isolated_networks = false
admin_username = {username}
admin_password = {password}
admin_project_name = {project_name}
admin_domain_name = Default
admin_system = all
default_credentials_domain_name = Default
[identity]
auth_version = v3
uri_v3 = {auth_url}
region = RegionOne
v3_endpoint_type = public
[enforce_scope]
ironic = true
[service_available]
nova = false
neutron = false
glance = false
cinder = false
swift = false
horizon = false
ironic = true
ironic_inspector = false
[baremetal]
driver = fake-hardware
enabled_drivers = fake-hardware
enabled_hardware_types = fake-hardware,redfish
min_microversion = 1.1
max_microversion = 1.95
endpoint_type = public
"""

Outcomes = dict[str, dict[str, str]]


def settings_of(clouds: Path) -> dict[str, str]:
    """The first cloud of a clouds.yaml, as far as tempest wants to know of it."""
    found: dict[str, str] = {}
    for line in clouds.read_text().splitlines():
        key, _, value = line.strip().partition(": ")
        found.setdefault(key, value.strip('"'))
    return found


@pytest.fixture(scope="module")
def outcomes(folder: Path, system: System, request: pytest.FixtureRequest) -> Outcomes:
    """How each test ended, by its name."""
    workspace = folder / "tempest"
    workspace.mkdir()
    (workspace / "tempest.conf").write_text(
        CONFIG.format(folder=workspace, **settings_of(system.clouds))
    )
    run = Program(
        [BIN / "python", HERE / "tempest_run.py"],
        folder / "tempest.log",
        {"TEMPEST_CONFIG_DIR": str(workspace)},
    )
    run.process.wait(timeout=RUN_S)
    told = [json.loads(line) for line in run.output().splitlines() if line.startswith('{"test"')]
    assert told, run.output()[-2000:]
    found = {one["test"]: one for one in told}
    coverage = request.config.pluginmanager.get_plugin("holdfast-coverage")
    assert isinstance(coverage, Coverage)
    coverage.chapters.append(chapter(found))
    return found


def expected() -> list[dict[str, Any]]:
    """The listed failures: reasons with the tests they are for."""
    return tomllib.loads((HERE / "tempest_expected.toml").read_text())["failing"]


def chapter(found: Outcomes) -> str:
    """What docs/compatibility.md says of this suite."""
    counted = Counter(one["outcome"] for one in found.values())
    lines = [
        "\n## ironic-tempest-plugin's API tests\n",
        f"Unmodified, one after the other: {counted['passed']} pass, {counted['failed']} do not, "
        f"{counted['skipped']} skip themselves. Why:\n",
        "| tests | why they do not pass |",
        "|---|---|",
    ]
    failing = {name for name, one in found.items() if one["outcome"] == "failed"}
    for entry in expected():
        matched = [n for n in failing if any(fnmatch.fnmatch(n, p) for p in entry["tests"])]
        lines.append(f"| {len(matched)} | {entry['reason']} |")
    skipped = Counter(one["why"] for one in found.values() if one["outcome"] == "skipped")
    lines += [f"| {count} | skipped: {why} |" for why, count in sorted(skipped.items())]
    return "\n".join(lines)


def test_every_test_passes_but_those_that_are_listed_with_a_reason(outcomes: Outcomes):
    failed = {name: one["why"] for name, one in outcomes.items() if one["outcome"] == "failed"}
    listed = [pattern for entry in expected() for pattern in entry["tests"]]
    unlisted = {
        name: why
        for name, why in failed.items()
        if not any(fnmatch.fnmatch(name, pattern) for pattern in listed)
    }
    assert unlisted == {}


def test_nothing_is_listed_that_passes(outcomes: Outcomes):
    passing: dict[str, list[str]] = defaultdict(list)
    for entry in expected():
        for pattern in entry["tests"]:
            matched = [name for name in outcomes if fnmatch.fnmatch(name, pattern)]
            passing[pattern] += [n for n in matched if outcomes[n]["outcome"] != "failed"]
            assert matched, f"{pattern} is listed, and there is no such test"
    assert {pattern: names for pattern, names in passing.items() if names} == {}


def test_the_suite_ran(outcomes: Outcomes):
    """A suite that skips itself proves nothing."""
    counted = Counter(one["outcome"] for one in outcomes.values())
    assert counted["passed"] > 400
    assert counted["skipped"] < 10
