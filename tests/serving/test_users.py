"""As whom workers run."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from holdfast.errors import ConfigError
from holdfast.serving.workers import landlock, users


@pytest.fixture
def as_uid(monkeypatch: pytest.MonkeyPatch):
    def become(uid: int, *, readable: bool = True, abi: int = 7) -> None:
        monkeypatch.setattr(users.os, "geteuid", lambda: uid)
        monkeypatch.setattr(users, "may_read", lambda *_: readable)
        monkeypatch.setattr(landlock, "version", lambda: abi)

    return become


@pytest.mark.parametrize(
    ("uid", "wanted", "told", "readable", "user"),
    [
        (1000, "", "", True, ""),  # it is somebody already
        (1000, "", "root", True, ""),  # and cannot become another
        (0, "svc", "", False, "svc"),  # told so
        (0, "svc", "root", False, "svc"),
        (0, "", "root", False, "root"),
        (0, "", "", True, "nobody"),
    ],
)
def test_code_of_packages_runs_as_nobody_if_the_node_is_root_and_not_told_otherwise(
    as_uid, uid: int, wanted: str, told: str, readable: bool, user: str
):
    as_uid(uid, readable=readable)
    environ = {users.VARIABLE: told} if told else {}
    assert users.choose_user(wanted, [Path("/data")], environ) == (user, "")


def test_a_node_that_is_root_refuses_to_start_if_nobody_cannot_read(as_uid):
    as_uid(0, readable=False)
    with pytest.raises(ConfigError, match=r"nobody.* cannot read.* /data.*another user.*root"):
        users.choose_user("", [Path("/data")], {})


@pytest.mark.parametrize("place", ["/usr/local/share/node", f"{sys.prefix}/data"])
def test_data_among_the_libraries_that_packages_read_are_refused(as_uid, place: str):
    as_uid(1000)
    with pytest.raises(ConfigError, match="data elsewhere"):
        users.choose_user("", [Path(place)], {})


@pytest.mark.parametrize("uid", [0, 1000])
def test_a_kernel_without_landlock_is_warned_of(as_uid, uid: int):
    as_uid(uid, abi=0)
    assert "Landlock" in users.choose_user("", [], {})[1]
