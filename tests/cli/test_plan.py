"""``holdfast plan``: the answer in every format, and the names of the reference's options."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from holdfast.cli.main import cli


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOLDFAST_DATA_DIR", str(tmp_path))


def planned(*argv: str) -> dict[str, float]:
    result = CliRunner().invoke(cli, ["plan", *argv, "-o", "json"])
    assert result.exit_code == 0, result.output
    return {figure["name"]: figure["value"] for figure in json.loads(result.output)["figures"]}


def test_the_table_says_figures_limits_costs_and_warnings():
    result = CliRunner().invoke(cli, ["plan", "--nodes", "5000"])
    assert result.exit_code == 0, result.output
    for words in ("conductors", "<- limits", "unit costs, measured", "warning: ", "I16"):
        assert words in result.output


def test_the_options_of_the_reference_have_their_names():
    """I11, I13."""
    usual = planned("--nodes", "5000", "--concurrent-deploys", "400000", "--sync-interval", "5")
    named = planned(
        "--nodes",
        "5000",
        "--max-concurrent-builds",
        "400000",
        "--sync-power-state-interval",
        "5",
    )
    assert usual == named
    assert usual["conductors"] > 2


def test_a_users_own_cost_changes_the_answer():
    plain = planned("--nodes", "100000")
    dear = planned("--nodes", "100000", "--cost", "conductor_look_ms=50")
    assert dear["conductors"] > plain["conductors"]


def test_the_configuration_of_the_deployment_is_the_default(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOLDFAST_ENGINE__PROCESSES", "0")
    before = planned("--nodes", "100")["database_connections"]
    assert before == 4 * (10 + 2) + 2 * 2
    monkeypatch.setenv("HOLDFAST_DATABASE__POOL_MAX", "30")
    assert planned("--nodes", "100")["database_connections"] == before + 4 * 20


def test_engines_that_each_host_runs_are_counted_with_machines(monkeypatch: pytest.MonkeyPatch):
    """``holdfast up`` runs engines, too: two on each of two hosts."""
    found = planned("--nodes", "100")["database_connections"]
    assert found == 4 * (10 + 2) + 2 * 2 * (10 + 20 + 2) + 2 * 2
    stacks = planned("stacks", "--heat-engine-workers", "2", "--heat-api-workers", "1")
    assert stacks["max_connections_needed"] == found + 2 * 2 * (10 + 2) - 2 * (10 + 2) + 10
    monkeypatch.setenv("HOLDFAST_CONDUCTOR__PROCESSES", "0")
    less = planned("stacks", "--heat-engine-workers", "2", "--heat-api-workers", "1")
    assert less["max_connections_needed"] == stacks["max_connections_needed"] - 4 * (10 + 2)


def both(*argv: str) -> dict[str, dict[str, float]]:
    result = CliRunner().invoke(cli, ["plan", "--nodes", "5000", "-o", "json", "stacks", *argv])
    assert result.exit_code == 0, result.output
    document = json.loads(result.output)
    return {
        part: {figure["name"]: figure["value"] for figure in document[part]["figures"]}
        for part in ("baremetal", "stacks")
    }


def test_a_deployment_of_machines_and_stacks_is_planned_at_once_with_one_sum_of_connections():
    """T3, I14: two conductors, and 4 engines and 4 APIs on each of 2 controllers."""
    found = both("--cores", "8")
    assert found["baremetal"]["conductors"] == 2
    assert found["stacks"]["engine_processes"] == 4
    wanted = (2 + 8) * (10 + 2) + 8 * (10 + 20 + 2) + 2 * 2
    assert found["baremetal"]["database_connections"] == wanted
    assert found["stacks"]["max_connections_needed"] == wanted + 10
    argv = ["plan", "--nodes", "5000", "--max-connections", "1000", "stacks"]
    said = CliRunner().invoke(cli, argv).output
    assert "baremetal.conductors" in said
    assert "stacks.engine_processes" in said
    assert "max_connections of the database is" not in said


@pytest.mark.parametrize("idle", [["--cores", "4"], ["--zones", "3"], ["--bmc-latency-ms", "5"]])
def test_what_is_said_of_machines_without_any_is_not_dropped_silently(idle: list[str]):
    result = CliRunner().invoke(cli, ["plan", *idle, "stacks"])
    assert result.exit_code == 2
    assert f"{idle[0]} before `stacks` is about machines" in result.output


def test_a_cost_before_stacks_counts_as_one_behind():
    rate = ("stacks", "--resources-per-hour", "1000000")
    assert planned("--cost", "engine_operation_ms=50", *rate) == planned(
        *rate, "--cost", "engine_operation_ms=50"
    )


def test_disk_and_zones_can_be_asked_for():
    found = planned(
        *("--nodes", "10", "--zones", "3", "--image-source", "http", "--images", "4"),
        *("--no-force-raw", "--image-gb", "5", "--network-mbit-s", "10000"),
    )
    assert found["conductors"] == 3
    assert found["image_cache_gb"] == 24.6


def test_stacks_are_planned_by_the_reference_and_its_names():
    """X5, X8, T2: eight engines, four APIs, with the default pool."""
    argv = ("stacks", "--heat-engine-workers", "8", "--heat-api-workers", "4")
    assert planned(*argv)["pool_max_needed"] == 16
    said = CliRunner().invoke(cli, ["plan", *argv]).output
    for words in ("engine_processes", "<- limits", "X10", "set database.pool_max = 16"):
        assert words in said


def test_stacks_are_planned_with_the_pool_that_is_configured(monkeypatch: pytest.MonkeyPatch):
    before = planned("stacks", "--cores", "8")["database_connections"]
    monkeypatch.setenv("HOLDFAST_DATABASE__POOL_MAX", "30")
    after = planned("stacks", "--cores", "8")["database_connections"]
    assert after == before + 2 * (4 + 4) * 20


def test_a_users_own_cost_of_an_operation_counts_for_stacks():
    rate = ("stacks", "--resources-per-hour", "1000000")
    dear = planned(*rate, "--cost", "engine_operation_ms=50")
    assert dear["engine_processes"] > planned(*rate)["engine_processes"]


@pytest.mark.parametrize("output", ["table", "json", "yaml", "name"])
def test_stacks_are_shown_in_every_format(output: str):
    result = CliRunner().invoke(cli, ["plan", "stacks", "-o", output])
    assert result.exit_code == 0, result.output
    assert "engine_processes" in result.output


def test_a_plan_for_nothing_says_what_can_be_planned():
    result = CliRunner().invoke(cli, ["plan"])
    assert result.exit_code == 2
    assert "--nodes" in result.output
    assert "stacks" in result.output


@pytest.mark.parametrize("figure", ["inf", "nan", "-inf"])
def test_what_nobody_can_calculate_with_is_refused_in_a_sentence(figure: str):
    result = CliRunner().invoke(cli, ["plan", "--nodes", "10", "--network-mbit-s", figure])
    assert result.exit_code == 2
    assert "Traceback" not in result.output


def test_hosts_are_enough_for_the_network_too_i12():
    asked = ["plan", "--nodes", "1000", "--image-source", "local", "--image-gb", "5"]
    asked += ["--raw-gb", "100", "--images", "10"]
    result = CliRunner().invoke(cli, ["-o", "json", *asked])
    figures = {one["name"]: one["value"] for one in json.loads(result.output)["figures"]}
    assert figures["hosts"] >= 44
