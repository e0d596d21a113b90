"""The data directory: one supervisor, secrets for the owner only, ids that stay."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from holdfast.errors import ConfigError
from holdfast.ops.datadir import DataDir


def test_one_supervisor_at_a_time(tmp_path: Path):
    datadir = DataDir(tmp_path).prepare()
    lock = datadir.lock()
    with pytest.raises(ConfigError, match=r"another `holdfast up` \(process \d+\) runs on"):
        datadir.lock()
    lock.release()
    datadir.lock().release()


def test_a_lock_file_that_a_dead_supervisor_left_is_no_lock(tmp_path: Path):
    (tmp_path / "supervisor.lock").write_text("1\n")
    datadir = DataDir(tmp_path).prepare()
    with datadir.lock()._file as file:
        file.seek(0)
        assert file.read().strip() != "1"


def test_a_secret_is_made_once_for_its_owner_only(tmp_path: Path):
    datadir = DataDir(tmp_path)
    found: list[str] = []
    ready = threading.Barrier(8)

    def ask() -> None:
        ready.wait()
        found.append(datadir.secret(datadir.gateway_secret))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1
    assert len(found) == 8
    assert len(found[0]) > 40
    assert datadir.gateway_secret.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["gateway.secret"]


def test_an_empty_secret_is_refused(tmp_path: Path):
    (tmp_path / "gateway.secret").touch()
    datadir = DataDir(tmp_path)
    with pytest.raises(ConfigError, match="is empty"):
        datadir.secret(datadir.gateway_secret)


def test_a_slot_is_the_same_member_after_every_restart(tmp_path: Path):
    first = DataDir(tmp_path).member_id("conductor-1")
    assert DataDir(tmp_path).member_id("conductor-1") == first
    assert DataDir(tmp_path).member_id("conductor-2") != first


def test_a_directory_whose_sockets_could_not_be_bound_is_refused(tmp_path: Path):
    with pytest.raises(ConfigError, match="too long for Unix sockets"):
        DataDir(tmp_path / ("x" * 100)).prepare()


def test_a_directory_that_cannot_be_made_is_explained(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="cannot be made"):
        DataDir(tmp_path / "file" / "data").prepare()
