"""Folders that workers have filled: measured, and removed, whatever is in them."""

from __future__ import annotations

import os
from pathlib import Path

from holdfast.serving.pool.scratch import remove, used_bytes

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
