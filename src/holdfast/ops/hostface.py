"""The supervisor's page: all roles of a host in one place, on a loopback port."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import msgspec
from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from holdfast.ops import metrics
from holdfast.ops.probes import Asker
from holdfast.ops.supervisor import Supervisor

ENGINE_DOWN: Final = """\
# HELP orchestration_engine_up Whether this engine has a lease that is trusted (X22)
# TYPE orchestration_engine_up gauge
orchestration_engine_up 0
"""
"""The page of an engine that answers nothing: dead, paused or drained. A rule that compares
with 0 never fires for a metric that is absent."""


class HostFace:
    """/livez, /readyz (all roles are), /metrics (of all roles), /status (the processes)."""

    def __init__(
        self, supervisor: Supervisor, sockets: Mapping[str, Path], gateway_url: str
    ) -> None:
        self._supervisor = supervisor
        self._sockets = dict(sockets)
        self._gateway_url = gateway_url
        self._asker = Asker()
        self._registry: CollectorRegistry = metrics.registry("supervisor")
        self._registry.register(_Children(supervisor))

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/livez", self._livez)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/status", self._status)
        return app

    async def _livez(self, _request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _readyz(self, _request: web.Request) -> web.Response:
        answers = await asyncio.gather(*map(self._asker.waiting_for, self._sockets.values()))
        waiting = {slot: w for slot, w in zip(self._sockets, answers, strict=True) if w}
        body = {"ready": not waiting, "waiting_for": waiting}
        return web.json_response(body, status=503 if waiting else 200)

    async def _metrics(self, _request: web.Request) -> web.Response:
        asked: dict[str, Path | str] = dict(self._sockets)
        if self._gateway_url:
            asked["gateway"] = self._gateway_url
        answers = await asyncio.gather(*map(self._asker.metrics, asked.values()))
        pages = dict.fromkeys(self._engines(), ENGINE_DOWN)
        pages |= {slot: page for slot, page in zip(asked, answers, strict=True) if page}
        body = metrics.aggregate(pages, self._registry)
        return web.Response(body=body, headers={"Content-Type": metrics.CONTENT_TYPE})

    def _engines(self) -> list[str]:
        return [child.slot for child in self._supervisor.status() if child.role == "engine"]

    async def _status(self, _request: web.Request) -> web.Response:
        body = msgspec.json.encode({"children": self._supervisor.status()})
        return web.Response(body=body, content_type="application/json")


class _Children(Collector):
    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor

    def collect(self) -> Iterator[Metric]:
        up = GaugeMetricFamily(
            "holdfast_child_up", "Whether the slot's process runs", None, ["slot"]
        )
        restarts = CounterMetricFamily(
            "holdfast_child_restarts", "How often it had to be started again", labels=["slot"]
        )
        for child in self._supervisor.status():
            up.add_metric([child.slot], float(child.pid is not None))
            restarts.add_metric([child.slot], child.restarts)
        yield up
        yield restarts
