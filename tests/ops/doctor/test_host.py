"""The host's findings: who can read what, which ports are whose, how much there is."""

from __future__ import annotations

import secrets
import socket
import threading
from collections.abc import Generator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import msgspec
import pytest

from holdfast.ops.config import Loaded, Settings
from holdfast.ops.datadir import DataDir
from holdfast.ops.doctor import host
from holdfast.ops.doctor.finding import Level
from holdfast.ops.settings import ApiSettings, RackSettings, SupervisorSettings


@pytest.fixture
def datadir(tmp_path: Path) -> DataDir:
    root = tmp_path / "data"
    root.mkdir(mode=0o700)
    return DataDir(root).prepare()


def test_a_data_directory_for_its_owner_only_is_well(datadir: DataDir):
    datadir.secret(datadir.gateway_secret)
    [finding] = host.data_directory(datadir)
    assert (finding.level, "for its owner only" in finding.found) == (Level.OK, True)
    for mode in (0o701, 0o711):  # PostgreSQL's own user passes through
        datadir.root.chmod(mode)
        [finding] = host.data_directory(datadir)
        assert (finding.level, "others can pass" in finding.found) == (Level.OK, True)


def test_everything_that_others_can_read_is_named(datadir: DataDir):
    datadir.root.chmod(0o755)
    datadir.secret(datadir.gateway_secret)
    datadir.gateway_secret.chmod(0o644)
    datadir.clouds.write_text("secret")
    datadir.clouds.chmod(0o640)
    found = host.data_directory(datadir)
    assert {f.level for f in found} == {Level.FAIL}
    text = "\n".join(f"{f.found}; {f.advice}" for f in found)
    assert f"chmod 700 {datadir.root}" in text
    assert f"chmod 600 {datadir.gateway_secret}" in text
    assert f"chmod 600 {datadir.clouds}" in text


def test_looking_makes_no_file(tmp_path: Path):
    datadir = DataDir(tmp_path / "none")
    assert host.data_directory(datadir)[0].level is Level.WARN
    assert host.secrets(datadir, {})[0].level is Level.WARN
    assert host.disk(datadir.root)[0].level in Level
    assert list(tmp_path.iterdir()) == []


def test_a_rotation_left_half_way_is_told(datadir: DataDir):
    key, new = secrets.token_hex(32), secrets.token_hex(32)
    datadir.master_key.write_text(key)
    datadir.master_key.chmod(0o600)
    assert host.secrets(datadir, {})[0].level is Level.OK
    datadir.master_key.write_text(f"{key}\n{new} staged\n")
    [finding] = host.secrets(datadir, {})
    assert finding.level is Level.WARN
    assert "keys rotate" in finding.advice
    datadir.master_key.write_text("nonsense")
    [finding] = host.secrets(datadir, {})
    assert finding.level is Level.FAIL
    assert key not in finding.found


@pytest.mark.parametrize(
    ("free", "level"), [(100 << 20, Level.FAIL), (2 << 30, Level.WARN), (50 << 30, Level.OK)]
)
def test_free_disk(free: int, level: Level, tmp_path: Path):
    assert host.disk(tmp_path, free)[0].level is level


def test_the_limit_of_open_files_has_room_for_every_bmc():
    settings = Settings()
    assert host.open_files(settings, 1024)[0].level is Level.WARN
    assert host.open_files(settings, 1 << 20)[0].level is Level.OK


def with_port(port: int) -> Settings:
    return Settings(
        api=ApiSettings(port=port),
        rack=RackSettings(port=0),
        supervisor=SupervisorSettings(port=0),
    )


def test_a_port_that_something_else_has_fails_and_a_free_one_is_well():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        port = int(sock.getsockname()[1])
        sock.settimeout(0.01)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(host, "ANSWER_S", 0.05)
            [finding] = host.ports(with_port(port))
    assert finding.level is Level.FAIL
    assert "something else has it" in finding.found
    [finding] = host.ports(with_port(port))
    assert finding.level is Level.OK
    assert "free" in finding.found


class Living(BaseHTTPRequestHandler):
    """Answers as a role of ours does."""

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/livez" else 404)
        self.end_headers()

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        pass


@pytest.fixture
def living() -> Generator[int]:
    server = HTTPServer(("127.0.0.1", 0), Living)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_port_where_we_answer_is_well(living: int):
    [finding] = host.ports(with_port(living))
    assert finding.level is Level.OK
    assert "answers" in finding.found


def test_names_of_other_systems_in_the_configuration_are_told():
    loaded = Loaded(settings=Settings(), file=None, entries={})
    assert host.configuration(loaded)[0].level is Level.OK
    renamed = msgspec.structs.replace(loaded, warnings=("x is called y here",))
    assert host.configuration(renamed)[0].level is Level.WARN


def test_under_a_running_supervisor_the_apis_may_be_elsewhere(living: int):
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        settings = Settings(
            api=ApiSettings(port=int(sock.getsockname()[1])),
            rack=RackSettings(port=0),
            supervisor=SupervisorSettings(port=living),
        )
        api, supervisor = host.ports(settings)
    assert (api.level, supervisor.level) == (Level.OK, Level.OK)
    assert "not looked at" in api.found
