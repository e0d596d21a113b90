"""The admin API's own parts."""

from __future__ import annotations

import contextlib
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast.serving.errors import DiskError
from holdfast.serving.front.admin import Upload
from holdfast.serving.front.keys import AdminKeys


@contextlib.contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """A disk that takes no more: writing beyond the limit fails as writing to a full one does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("size", [1 << 20, 5000])  # written at once, and only at the end
def test_a_full_disk_is_told_of_an_upload(tmp_path: Path, size: int):
    upload = Upload(tmp_path, 1 << 30)

    def receive() -> None:
        upload.write(bytes(size))
        upload.finish()

    with files_of_at_most(1000):
        with pytest.raises(DiskError) as raised:
            receive()
        upload.abort()
        upload.abort()
    assert (raised.value.status, "disk" in raised.value.message) == (507, True)
    assert list(tmp_path.iterdir()) == []


def test_a_key_that_cannot_be_kept_never_was(tmp_path: Path):
    keys = AdminKeys(tmp_path)
    with files_of_at_most(10), pytest.raises(DiskError):
        keys.add({"label": "phantom"})
    assert [one["label"] for one in keys.list()] == ["first"]
    assert [one["label"] for one in AdminKeys(tmp_path).list()] == ["first"]
