"""Admin keys."""

from __future__ import annotations

from pathlib import Path

import pytest

from holdfast.errors import ConflictError, NotFoundError
from holdfast.serving.front.keys import AdminKeys


def test_the_last_key_that_is_valid_cannot_be_deleted(tmp_path: Path):
    keys = AdminKeys(tmp_path)
    (first,) = keys.list()
    expired = keys.add({"label": "old", "expiry": 1})
    with pytest.raises(ConflictError, match="last admin key"):
        keys.delete(key_id=first["id"])
    second = keys.add({"label": "new"})
    keys.delete(key_id=first["id"])
    keys.check(f"Bearer {second['key']}".encode())
    keys.delete(key_id=expired["id"])
    with pytest.raises(NotFoundError):
        keys.delete(key_id=expired["id"])
