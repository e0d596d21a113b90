"""For how long a node has been out is what it told who asked, not what a file or the clock says."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.serving.disks import full_disk

from holdfast.serving.errors import DiskError
from holdfast.serving.peers import Peers
from holdfast.serving.presence import NOT_ALIVE_FILE, Presence
from holdfast.serving.settings import PlaceSettings


class Scene:
    """A presence whose clock and start are for the test to say."""

    def __init__(self, data: Path) -> None:
        self.now = 1000.0
        self.settled = True
        self.file = data / NOT_ALIVE_FILE
        peers = Peers(data, PlaceSettings(), lambda: self.now)
        self.presence = Presence(data, peers, "", lambda: self.settled, lambda: self.now)


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def test_only_the_time_counts_for_which_it_was_seen_to_say_no(scene: Scene):
    assert scene.presence.out_for_s() == 0.0
    scene.file.touch()
    os.utime(scene.file, (1, 1))
    assert scene.presence.out_for_s() == 0.0
    scene.now += 7
    assert scene.presence.out_for_s() == 7.0


def test_who_was_in_between_begins_anew(scene: Scene):
    scene.file.touch()
    scene.presence.look()
    scene.now += 7
    scene.file.unlink()
    assert scene.presence.why_not() == ""
    scene.file.touch()
    assert scene.presence.out_for_s() == 0.0


def test_who_has_not_been_in_yet_is_out(scene: Scene):
    scene.settled = False
    scene.presence.look()
    scene.now += 3
    assert scene.presence.out_for_s() == 3.0


async def test_out_by_the_admin_api_counts_from_then(scene: Scene):
    await scene.presence.out(force=True)
    scene.now += 2
    assert scene.presence.out_for_s() == 2.0
    scene.presence.back()
    assert scene.presence.out_for_s() == 0.0


async def test_a_disk_that_is_full_is_told_and_the_node_stays_in(scene: Scene):
    with full_disk(), pytest.raises(DiskError):
        await scene.presence.out(force=True)
    assert scene.presence.why_not() == ""
    assert [*scene.file.parent.iterdir()] == []
