"""The gateway's links, out of what it says of itself; and what is said when it cannot be asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from holdfast.ops.datadir import DataDir
from holdfast.ops.gateway_links import BrokenLink, links_of, look
from holdfast.ops.settings import RackSettings


def bmc(name: str, breaker: str | None, waiting: int = 0) -> dict[str, Any]:
    return {"bmc": name, "breaker": breaker, "waiting": waiting, "last": "ok", "running": []}


def test_links_are_broken_if_their_breaker_is_not_closed_and_silent_if_never_asked():
    found = links_of(
        "http://g",
        {
            "draining": False,
            "open_commands": 4,
            "bmcs": [
                bmc("a", "closed", 2),
                bmc("b", "open", 1),
                bmc("c", "probing"),
                bmc("d", None),
            ],
        },
    )
    assert (found.bmcs, found.silent, found.commands, found.waiting) == (4, 1, 4, 3)
    assert found.broken == (
        BrokenLink(bmc="b", breaker="open", last="ok"),
        BrokenLink(bmc="c", breaker="probing", last="ok"),
    )


async def test_without_its_secret_or_port_nobody_asks_it(tmp_path: Path):
    datadir = DataDir(tmp_path)
    assert await look(RackSettings(), datadir) is None
    datadir.gateway_secret.write_text("s")
    assert await look(RackSettings(port=0), datadir) is None


async def test_one_that_does_not_answer_is_a_fault_with_its_address(tmp_path: Path):
    datadir = DataDir(tmp_path)
    datadir.gateway_secret.write_text("s")
    found = await look(RackSettings(port=1), datadir)
    assert found is not None
    assert found.url == "http://127.0.0.1:1"
    assert found.fault
