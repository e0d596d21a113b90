"""The host's page of metrics: a dead engine is 0 there, not absent (X22)."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import httpx
import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from holdfast.ops.hostface import HostFace
from holdfast.ops.metrics import registry
from holdfast.ops.probes import Face, serving
from holdfast.ops.supervisor import ChildStatus, Supervisor

UP = "orchestration_engine_up"


class House:
    """A supervisor's view of two engines and an API process."""

    def status(self) -> list[ChildStatus]:
        return [
            ChildStatus(slot=slot, role=slot.partition("-")[0], pid=pid, restarts=0, last_exit=None)
            for slot, pid in (("engine-1", 1), ("engine-2", None), ("api-1", 2))
        ]


async def nothing() -> list[str]:
    return []


def engine(up: float) -> CollectorRegistry:
    return registry("engine", {UP: ("Whether it is up", lambda: up)})


async def shown(tmp_path: Path, up: float) -> dict[str, float]:
    """The metric by slot, with one engine that answers and one that does not."""
    sockets = {slot: tmp_path / slot for slot in ("engine-1", "engine-2", "api-1")}
    face = Face(waiting=nothing, registry=engine(up), status=dict)
    host = HostFace(cast("Supervisor", House()), sockets, "")
    async with (
        serving(face.app(), sockets["engine-1"]),
        serving(host.app(), ("127.0.0.1", 0)) as port,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client,
    ):
        page = (await client.get("/metrics")).text
    return {
        sample.labels["slot"]: sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if sample.name == UP
    }


@pytest.mark.parametrize("up", [0.0, 1.0])
async def test_x22_an_engine_that_does_not_answer_is_shown_as_0_and_not_left_out(
    tmp_path: Path, up: float
):
    """A rule ``== 0`` finds nothing in a metric that is absent."""
    assert await shown(tmp_path, up) == {"engine-1": up, "engine-2": 0.0}
