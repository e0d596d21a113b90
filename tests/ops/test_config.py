"""The configuration: defaults, file, environment, and all faults at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from holdfast.errors import ConfigError
from holdfast.ops import aliases, config


def faults_of(path: Path | None = None, **environ: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        config.load(path, {"HOLDFAST_DATA_DIR": "/nonexistent", **environ})
    message = str(caught.value)
    if "faults:" not in message:
        return [message.removeprefix("the configuration has a fault: ")]
    return [line.removeprefix("  - ") for line in message.splitlines()[1:]]


@pytest.fixture
def toml(tmp_path: Path):
    def write(text: str) -> Path:
        path = tmp_path / "holdfast.toml"
        path.write_text(text)
        return path

    return write


def test_nothing_needs_to_be_configured():
    loaded = config.load(environ={"HOLDFAST_DATA_DIR": "/nonexistent"})
    assert loaded.settings == config.Settings()
    assert loaded.settings.api.host == "127.0.0.1"
    assert loaded.settings.conductor.processes >= 2  # I7


def test_the_environment_goes_over_the_file(toml):
    path = toml("[core]\nlease_s = 3\nshards = 64\n[api.ports]\nbaremetal = 6385")
    loaded = config.load(path, {"HOLDFAST_CORE__LEASE_S": "4.5"})
    assert loaded.settings.core.lease_s == 4.5
    assert loaded.settings.core.shards == 64
    assert loaded.settings.api.ports.baremetal == 6385
    assert loaded.entries["core", "lease_s"].source.endswith("HOLDFAST_CORE__LEASE_S")


def test_the_file_in_the_data_directory_is_found(toml):
    path = toml("[host]\nzone = 'north'")
    loaded = config.load(environ={"HOLDFAST_DATA_DIR": str(path.parent)})
    assert (loaded.file, loaded.settings.host.zone) == (path, "north")


def test_all_faults_are_reported_at_once(toml):
    path = toml(
        "[core]\nlease_s = 0.1\nleas_s = 3\n"
        "[logs]\nlevel = 'loud'\n"
        "[supervisor]\nbackoff_min_s = 50\n"
        "[cor]\nx = 1\n"
    )
    found = faults_of(path, HOLDFAST_API__PORT="80a", HOLDFAST_DATABASE__URL="mysql://db")
    assert len(found) == 7
    text = "\n".join(found)
    assert "core.lease_s = 0.1" in text
    assert "at least 0.3 and at most 300" in text
    assert "did you mean core.lease_s?" in text
    assert "must be one of debug, error, info, warning" in text
    assert "must not exceed supervisor.backoff_max_s" in text
    assert "did you mean [core]?" in text
    assert "HOLDFAST_API__PORT): must be a whole number, at least 0 and at most 65535" in text
    assert "database.url must begin with postgresql://" in text


def test_a_lease_margin_that_eats_the_lease_is_refused():
    [fault] = faults_of(HOLDFAST_CORE__LEASE_S="1", HOLDFAST_CORE__LEASE_MARGIN_S="0.9")
    assert "core.lease_margin_s (0.9) must be at most half of core.lease_s (1.0)" in fault


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[core\n", "is not TOML"),
        ("core = 3", "core = 3"),
        ("[core]\nlease_s = true", "must be a number"),
        ("[core]\nlease_s = '5'", "must be a number"),
        ("[core.lease_s]\nx = 1", "must be a number"),
        ("[api]\nports = 3", "is a section, not a value"),
    ],
)
def test_malformed_files_are_explained(text: str, words: str, toml):
    assert words in "\n".join(faults_of(toml(text)))


def test_a_password_in_a_faulty_value_is_not_shown():
    [fault] = faults_of(HOLDFAST_DATABASE__URL="[1]x")
    assert "[1]x" not in fault


def test_a_named_file_must_be_there():
    assert "no configuration file" in faults_of(Path("/nonexistent/x.toml"))[0]


def test_foreign_variables_are_left_alone():
    """Kubernetes sets HOLDFAST_PORT and the like for a service of that name."""
    loaded = config.load(
        environ={"HOLDFAST_DATA_DIR": "/nonexistent", "HOLDFAST_PORT": "tcp://10.0.0.1:80"}
    )
    assert loaded.settings == config.Settings()


@pytest.mark.parametrize(
    ("text", "value"), [("true", True), ("0", False), ("1", True), ("false", False)]
)
def test_truth_in_the_environment(text: str, value: bool):
    assert config._convert(config._Text(text), bool) is value


def test_lists_in_the_environment_are_separated_by_commas_or_json():
    assert config._convert(config._Text("a, b"), list[str]) == ["a", "b"]
    assert config._convert(config._Text('["a", "b"]'), list[str]) == ["a", "b"]


@pytest.mark.parametrize(("given", "fine"), [("0", True), ("512", True), ("511", False)])
def test_an_engine_has_no_limit_of_memory_or_one_that_it_can_start_with(given: str, fine: bool):
    if fine:
        loaded = config.load(environ={"HOLDFAST_ENGINE__MEMORY_MAX_MB": given})
        assert loaded.settings.engine.memory_max_mb == int(given)
    else:
        (fault,) = faults_of(HOLDFAST_ENGINE__MEMORY_MAX_MB=given)
        assert "set at least 512, or 0 for no limit" in fault


def test_a_gateway_beyond_loopback_without_tls_has_to_be_asked_for():
    (fault,) = faults_of(HOLDFAST_RACK__HOST="10.1.2.3")
    assert "rack.host (10.1.2.3) is beyond loopback" in fault
    (fault,) = faults_of(HOLDFAST_RACK__URL="http://gateway.example:8083")
    assert "rack.url (gateway.example) is beyond loopback" in fault
    (fault,) = faults_of(HOLDFAST_RACK__URL="gateway.example")
    assert "rack.url must be http://host:port" in fault
    environ = {"HOLDFAST_RACK__HOST": "10.1.2.3", "HOLDFAST_RACK__PLAIN_HTTP": "true"}
    rack = config.load(environ={"HOLDFAST_DATA_DIR": "/nonexistent", **environ}).settings.rack
    assert rack.gateway_url == "http://10.1.2.3:8083"
    assert config.Settings().rack.gateway_url == "http://127.0.0.1:8083"


def test_names_of_the_reference_are_taken_and_answered_with_ours(toml):
    """I11, I13: whoever comes with an ironic.conf finds the settings by the names he knows."""
    path = toml(
        "[conductor]\nconductor_group = 'east'\n[api]\nmax_limit = 77\n[DEFAULT]\nhost = 'a'"
    )
    environ = {"HOLDFAST_DATA_DIR": "/nonexistent", "HOLDFAST_API__API_WORKERS": "3"}
    loaded = config.load(path, environ)
    assert loaded.settings.conductor.group == "east"
    assert loaded.settings.baremetal.page_max == 77
    assert loaded.settings.host.name == "a"
    assert loaded.settings.api.processes == 3
    assert len(loaded.warnings) == 4
    text = "\n".join(loaded.warnings)
    assert f"conductor.conductor_group ({path}) is called conductor.group here" in text
    assert "HOLDFAST_API__API_WORKERS) is called api.processes here" in text


def test_the_references_names_for_power_sync_and_for_limits(toml):
    """I11 ``sync_power_state_interval``; I13: what limits simultaneous provisioning."""
    text = "sync_power_state_interval = 120\nmax_concurrent_deploy = 7\nmax_concurrent_clean = 3"
    loaded = config.load(toml(f"[conductor]\n{text}"), {"HOLDFAST_DATA_DIR": "/nonexistent"})
    assert loaded.settings.power_sync.interval_s == 120
    assert loaded.settings.provisioning.concurrent_deploys_max == 7
    assert loaded.settings.provisioning.concurrent_cleans_max == 3
    assert len(loaded.warnings) == 3


def test_our_own_name_wins_over_that_of_the_reference(toml):
    path = toml("[api]\nmax_limit = 77")
    environ = {"HOLDFAST_DATA_DIR": "/nonexistent", "HOLDFAST_BAREMETAL__PAGE_MAX": "50"}
    loaded = config.load(path, environ)
    assert loaded.settings.baremetal.page_max == 50
    assert "ignored, for baremetal.page_max is set as well" in loaded.warnings[0]


def test_a_faulty_value_under_a_name_of_the_reference_is_a_fault(toml):
    [fault] = faults_of(toml("[api]\nmax_limit = 0"))
    assert "baremetal.page_max = 0" in fault
    [fault] = faults_of(toml("[database]\nconnection = 'mysql+pymysql://root:calvin@db'"))
    assert "must begin with postgresql://" in fault
    assert "calvin" not in fault


def test_what_is_not_a_name_anywhere_is_still_a_fault(toml):
    [fault] = faults_of(toml("[DEFAULT]\ndebug = true"))
    assert "no section 'DEFAULT'" in fault


def test_every_alias_stands_for_a_path_of_two_parts_or_more():
    known = set(config.known_paths())
    for alias, name in aliases.ALIASES.items():
        assert tuple(alias.lower().split(".")) not in known, f"{alias} is a setting of ours"
        assert "." in name


def test_the_names_of_the_orchestration_reference_are_understood(toml):
    """X5, X8, X14, X16-X20: as ``_50_orchestration.yml`` writes them."""
    text = """
        heat_engine_workers = 8
        heat_api_workers = 4
        heat_convergence_engine = false
        heat_db_max_pool_size = 16
        heat_db_max_overflow = 5
        heat_rpc_response_timeout = 60
        heat_max_stacks_per_tenant = 7
        heat_max_resources_per_stack = 70
    """
    settings = config.load(toml(text), {}).settings
    assert (settings.engine.processes, settings.api.processes) == (8, 4)
    assert (settings.database.pool_max, settings.engine.pool_overflow) == (16, 5)
    assert not settings.stacks.convergence
    assert settings.stacks.response_timeout_s == 60
    assert settings.stacks.stacks_per_project_max == 7
    assert settings.stacks.resources_per_stack_max == 70


def test_the_defaults_are_the_references_x17_to_x20(toml):
    settings = config.load(toml(""), {}).settings
    assert settings.stacks.convergence
    assert (settings.database.pool_max, settings.engine.pool_overflow) == (10, 20)
    assert settings.stacks.response_timeout_s == 120
    assert settings.stacks.stacks_per_project_max == 100
    assert settings.stacks.resources_per_stack_max == 1000


def test_a_pool_too_small_for_its_engines_is_refused_with_the_fix_x16_t2(toml):
    """X8's own example breaks X16 with X18's default pool."""
    [fault] = faults_of(toml("heat_engine_workers = 8\nheat_api_workers = 4"))
    assert "set database.pool_max = 16" in fault
    assert "at most 5 engines" in fault
    config.load(toml("heat_engine_workers = 8\nheat_db_max_pool_size = 16"), {})
