"""Folders that workers have filled: measured, and removed, whatever is in them."""

from __future__ import annotations

import mmap
import os
import socket
from pathlib import Path
from typing import Any

import pytest

from holdfast.serving.pool.scratch import ENTRIES_MAX, remove, used_bytes

MANY = 1 << 30


def bury(folder: Path, depth: int) -> None:
    """Folders in folders, deeper than a path may be long."""
    before = os.open(".", os.O_RDONLY)
    os.chdir(folder)
    for _ in range(depth):
        Path("d" * 50).mkdir()
        os.chdir("d" * 50)
    os.fchdir(before)
    os.close(before)


def test_a_folder_is_removed_however_deep_it_is(tmp_path: Path):
    folder = tmp_path / "scratch"
    (folder / "closed" / "in").mkdir(parents=True)
    (folder / "closed" / "in" / "file").write_text("x")
    (folder / "closed").chmod(0)
    (tmp_path / "kept").write_text("x")
    (folder / "link").symlink_to(tmp_path / "kept")
    (folder / "dangling").symlink_to("nothing")
    (folder / "around").symlink_to(".")
    bury(folder, 1500)
    remove(folder)
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


def test_what_is_not_a_folder_is_left_alone(tmp_path: Path):
    (tmp_path / "kept").mkdir()
    (tmp_path / "link").symlink_to("kept")
    remove(tmp_path / "link")
    remove(tmp_path / "nothing")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kept", "link"]


def test_files_count_by_what_they_take_on_disk_and_names_do_too(tmp_path: Path):
    (tmp_path / "a").write_bytes(b"x" * 100_000)
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(1 << 30)
    assert 100_000 <= used_bytes(tmp_path, os.getpid(), MANY) < 1_000_000
    (tmp_path / "many").mkdir()
    for number in range(100):
        (tmp_path / "many" / str(number)).touch()
    assert used_bytes(tmp_path, os.getpid(), MANY) >= 100_000 + 100 * 4096


def test_files_that_are_open_and_removed_count(tmp_path: Path):
    with (tmp_path / "a").open("wb", 0) as file:
        file.write(b"x" * 1_000_000)
        (tmp_path / "a").unlink()
        assert used_bytes(tmp_path, os.getpid(), MANY) >= 1_000_000
    assert used_bytes(tmp_path, os.getpid(), MANY) < 1_000_000


def test_what_cannot_be_looked_into_is_too_much(tmp_path: Path):
    bury(tmp_path, 200)
    try:
        assert used_bytes(tmp_path, os.getpid(), MANY) > MANY
    finally:
        for path in tmp_path.iterdir():
            remove(path)


@pytest.mark.parametrize("call", ["open", "chmod", "rename", "rmdir", "unlink"])
def test_a_link_put_where_a_folder_was_is_never_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
):
    """Whichever moment the worker's child chooses: before each such call, of any of them."""
    outside = tmp_path / "outside"
    (outside / "in").mkdir(parents=True)
    (outside / "in" / "kept").write_text("x")
    (outside / "kept").write_text("x")
    outside.chmod(0o755)
    (outside / "in").chmod(0o755)
    real = getattr(os, call)
    for moment in range(12):
        folder = tmp_path / "scratch"
        (folder / "a" / "in" / "deeper").mkdir(parents=True)
        (folder / "a" / "in" / "kept").write_text("x")
        calls = 0

        def swap(*given: Any, **named: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == moment + 1:  # noqa: B023
                for at, path in enumerate([*folder.glob("*/*"), *folder.glob("*")]):  # noqa: B023
                    if path.is_dir() and not path.is_symlink():
                        path.rename(tmp_path / f"gone-{moment}-{at}")  # noqa: B023
                        path.symlink_to(outside)
            return real(*given, **named)

        with monkeypatch.context() as patch:
            patch.setattr(os, call, swap)
            remove(folder)
        remove(folder)
        assert not folder.exists()
        assert sorted(path.name for path in outside.rglob("*")) == ["in", "kept", "kept"]
        modes = [path.stat().st_mode & 0o777 for path in (outside, outside / "in")]
        assert modes == [0o755, 0o755]


def test_more_entries_than_can_be_looked_at_are_too_much(tmp_path: Path):
    for number in range(ENTRIES_MAX):
        (tmp_path / str(number)).touch()
    assert used_bytes(tmp_path, os.getpid(), MANY) <= MANY
    (tmp_path / "one more").touch()
    assert used_bytes(tmp_path, os.getpid(), MANY) > MANY
    remove(tmp_path)


def test_files_on_their_way_through_a_socket_are_too_much(tmp_path: Path):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        with (tmp_path / "a").open("wb", 0) as file:
            socket.send_fds(ours, [b"x"], [file.fileno()])
            (tmp_path / "a").unlink()
        assert used_bytes(tmp_path, os.getpid(), MANY) > MANY
        socket.recv_fds(theirs, 1, 0)
        assert used_bytes(tmp_path, os.getpid(), MANY) <= MANY


def test_files_that_are_removed_and_closed_but_mapped_count(tmp_path: Path):
    with (tmp_path / "a").open("w+b", 0) as file:
        file.write(b"x" * 1_000_000)
        mapped = mmap.mmap(file.fileno(), 4096)
        assert used_bytes(tmp_path, os.getpid(), MANY) >= 1_000_000
        (tmp_path / "a").unlink()
        assert 1_000_000 <= used_bytes(tmp_path, os.getpid(), MANY) < 2_000_000  # once
    with mapped:
        assert used_bytes(tmp_path, os.getpid(), MANY) >= 1_000_000
    assert used_bytes(tmp_path, os.getpid(), MANY) < 1_000_000


def test_what_is_written_while_a_folder_is_removed_is_removed_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    folder = tmp_path / "scratch"
    (folder / "a").mkdir(parents=True)
    real, late = os.rmdir, ["late"]

    def rmdir(*given: Any, **named: Any) -> None:
        if late:
            (folder / late.pop()).write_text("x")
        real(*given, **named)

    monkeypatch.setattr(os, "rmdir", rmdir)
    remove(folder)
    assert not folder.exists()
