"""The configuration: defaults, file, environment, and all faults at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from holdfast.errors import ConfigError
from holdfast.ops import config


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
