"""The order of an upgrade, and the file that it goes on from."""

from __future__ import annotations

from pathlib import Path

import pytest

from holdfast.errors import ConfigError, ConflictError, UnavailableError
from holdfast.serving.operating.commands import argv_of, run
from holdfast.serving.operating.progress import (
    NodeProgress,
    Progress,
    ProgressFile,
    Step,
    Wanted,
    ordered,
)


def test_zones_are_done_one_after_the_other_and_who_is_out_first():
    """D16."""
    found = [("u1", "a", True), ("u2", "b", True), ("u3", "a", True), ("u4", "b", True)]
    assert [one.url for one in ordered(found)] == ["u1", "u3", "u2", "u4"]
    found[3] = ("u4", "b", False)
    assert [one.url for one in ordered(found)] == ["u4", "u2", "u1", "u3"]
    found[0] = ("u1", "a", False)
    with pytest.raises(ConflictError, match="u1, u4"):
        ordered(found)


def test_an_upgrade_goes_on_where_it_was_broken_off(tmp_path: Path):
    wanted = Wanted(("u1", "u2"), ("restart",))
    progress = Progress(wanted, [NodeProgress("u1", step=Step.DONE), NodeProgress("u2")])
    progress.nodes[1].step = Step.RESTARTING
    file = ProgressFile(tmp_path / "state")
    file.write(progress)
    with pytest.raises(ConflictError):
        ProgressFile(tmp_path / "state")  # one at a time
    file.close()
    again = ProgressFile(tmp_path / "state")
    found = again.read(wanted)
    assert found is not None
    assert found.next() == NodeProgress("u2", step=Step.RESTARTING)
    with pytest.raises(ConfigError, match="another upgrade"):
        again.read(Wanted(("u1",), ("restart",)))
    again.close()


def test_what_a_node_is_called_is_never_read_as_words_of_a_command():
    url, zone = "http://h:12000", "a; rm -rf"
    words = argv_of("ssh '{host}' restart {zone} {port}", url, zone, shell=False)
    assert words == ["ssh", "h", "restart", zone, "12000"]
    assert argv_of("x {zone}", url, zone, shell=True) == ["/bin/sh", "-c", "x 'a; rm -rf'"]


async def test_a_command_that_fails_is_told_with_what_it_said():
    await run(["true"], 10)
    with pytest.raises(UnavailableError, match="ended with 3: no such unit"):
        await run(["/bin/sh", "-c", "echo no such unit; exit 3"], 10)
    with pytest.raises(UnavailableError, match="cannot be run"):
        await run(["/nothing/here"], 10)
    with pytest.raises(UnavailableError, match="did not end"):
        await run(["/bin/sh", "-c", "while :; do :; done"], 0.05)
