"""Every role shows whether it lives, whether it is ready, and its figures."""

from __future__ import annotations

from pathlib import Path

import aiohttp
import pytest

from holdfast.errors import ConfigError
from holdfast.ops import metrics, probes


def face(waiting: list[str]) -> probes.Face:
    async def ask() -> list[str]:
        return waiting

    gauges = {"holdfast_shards_held": ("Shards this member owns", lambda: 512.0)}
    return probes.Face(
        waiting=ask,
        registry=metrics.registry("conductor", gauges),
        status=lambda: {"slot": "conductor-1"},
    )


async def test_a_role_is_ready_once_it_waits_for_nothing(tmp_path: Path):
    waiting = ["the database"]
    asker, socket = probes.Asker(), tmp_path / "c.sock"
    assert await asker.waiting_for(socket) == ["its process to answer"]
    async with probes.serving(face(waiting).app(), socket):
        assert await asker.waiting_for(socket) == ["the database"]
        waiting.clear()
        assert await asker.waiting_for(socket) == []


async def test_figures_of_all_roles_are_on_one_page(tmp_path: Path):
    asker = probes.Asker()
    async with probes.serving(face([]).app(), tmp_path / "c.sock"):
        page = await asker.metrics(tmp_path / "c.sock")
    assert page is not None
    assert await asker.metrics(tmp_path / "gone.sock") is None
    merged = metrics.aggregate(
        {"conductor-1": page, "conductor-2": page}, metrics.registry("supervisor")
    ).decode()
    assert 'holdfast_shards_held{slot="conductor-1"} 512.0' in merged
    assert 'holdfast_shards_held{slot="conductor-2"} 512.0' in merged
    assert merged.count("# TYPE holdfast_shards_held gauge") == 1
    assert 'role="supervisor"' in merged


async def test_a_port_that_is_taken_is_named():
    async with probes.serving(face([]).app(), ("127.0.0.1", 0)) as port:
        url = f"http://127.0.0.1:{port}/livez"
        async with aiohttp.ClientSession() as session, session.get(url) as response:
            assert response.status == 200
        with pytest.raises(ConfigError, match=f"cannot listen on 127.0.0.1:{port}"):
            async with probes.serving(face([]).app(), ("127.0.0.1", port)):
                pass
