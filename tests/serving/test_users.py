"""As whom workers run."""

from __future__ import annotations

from pathlib import Path

import pytest

from holdfast.serving.workers import users


@pytest.mark.parametrize(
    ("uid", "wanted", "readable", "user", "warned"),
    [
        (1000, "", True, "", False),  # it is somebody already
        (0, "svc", False, "svc", False),  # told so
        (0, "", True, "nobody", False),
        (0, "", False, "", True),
    ],
)
def test_code_of_packages_runs_as_nobody_if_the_node_is_root_and_that_can_be(
    monkeypatch: pytest.MonkeyPatch, uid: int, wanted: str, readable: bool, user: str, warned: bool
):
    monkeypatch.setattr(users.os, "geteuid", lambda: uid)
    monkeypatch.setattr(users, "_may_read", lambda *_: readable)
    found, warning = users.choose_user(wanted, [Path("/data")])
    assert found == user
    assert bool(warning) == warned
