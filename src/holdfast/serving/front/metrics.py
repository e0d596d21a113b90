"""What is counted: for Prometheus, and as the JSON of the admin API."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from holdfast.serving.generations.mounted import BUCKETS_S, Counts, Mounted
from holdfast.serving.generations.registry import Registry

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_PREFIX: Final = "holdfast_serving"
_OF_ENDPOINT: Final = ("service", "generation", "endpoint")


def _mounted(registry: Registry) -> Iterator[Mounted]:
    for runtime in registry.services.values():
        yield from runtime.mounted.values()
        yield from runtime.draining


class _Families(Collector):
    def __init__(
        self, registry: Registry, node: Mapping[str, float], refused: Mapping[int, int]
    ) -> None:
        self._registry = registry
        self._node = node
        self._refused = refused

    def collect(self) -> Iterable[Metric]:
        answers = CounterMetricFamily(
            f"{_PREFIX}_queries", "Queries answered.", labels=[*_OF_ENDPOINT, "status"]
        )
        took = HistogramMetricFamily(
            f"{_PREFIX}_query_seconds", "From reading a query to its answer.", labels=_OF_ENDPOINT
        )
        seen: set[tuple[str, str]] = set()
        for mounted in _mounted(self._registry):
            # One that drains while it is mounted anew would be told twice.
            if (mounted.service.id, mounted.generation.id) in seen:
                continue
            seen.add((mounted.service.id, mounted.generation.id))
            for endpoint, counts in mounted.counts.items():
                labels = [mounted.service.id, mounted.generation.id, endpoint]
                for status, count in counts.statuses.items():
                    answers.add_metric([*labels, str(status)], count)
                took.add_metric(labels, _buckets(counts), counts.total_s)
        yield answers
        yield took
        yield from self._pools()
        refused = CounterMetricFamily(
            f"{_PREFIX}_refused", "Queries that reached no worker.", labels=["status"]
        )
        for status, count in self._refused.items():
            refused.add_metric([str(status)], count)
        yield refused
        for name, value in self._node.items():
            yield GaugeMetricFamily(f"{_PREFIX}_{name}", name.replace("_", " "), value=value)

    def _pools(self) -> Iterable[Metric]:
        labels = ["service", "generation"]
        workers = GaugeMetricFamily(f"{_PREFIX}_workers", "Workers there are.", labels=labels)
        waiting = GaugeMetricFamily(f"{_PREFIX}_waiting", "Queries that wait.", labels=labels)
        deaths = CounterMetricFamily(f"{_PREFIX}_deaths", "Workers that died.", labels=labels)
        retries = CounterMetricFamily(f"{_PREFIX}_retries", "Queries asked again.", labels=labels)
        for runtime in self._registry.services.values():
            for name, mounted in runtime.mounted.items():
                told = [runtime.state.id, name]
                workers.add_metric(told, len(mounted.pool.workers))
                waiting.add_metric(told, mounted.pool.queue.size)
                deaths.add_metric(told, mounted.pool.deaths)
                retries.add_metric(told, mounted.pool.retries)
        return workers, waiting, deaths, retries


def _buckets(counts: Counts) -> list[tuple[str, float]]:
    total = 0
    found: list[tuple[str, float]] = []
    for bound, count in zip((*map(str, BUCKETS_S), "+Inf"), counts.buckets, strict=True):
        total += count
        found.append((bound, total))
    return found


def text(registry: Registry, node: Mapping[str, float], refused: Mapping[int, int]) -> bytes:
    """In Prometheus' text format; ``node``: gauges of the node; ``refused``: by status."""
    collectors = CollectorRegistry(auto_describe=False)
    collectors.register(_Families(registry, node, refused))
    return generate_latest(collectors)


def document(registry: Registry) -> dict[str, Any]:
    """For the admin API: counts and mean milliseconds of each endpoint of each generation."""
    found: list[dict[str, Any]] = []
    for mounted in _mounted(registry):
        for endpoint, counts in mounted.counts.items():
            queries = sum(counts.statuses.values())
            found.append(
                {
                    "serviceId": mounted.service.id,
                    "generationId": mounted.generation.id,
                    "endpointId": endpoint,
                    "queries": queries,
                    "statuses": {str(status): n for status, n in counts.statuses.items()},
                    "meanMs": counts.total_s / queries * 1000 if queries else None,
                }
            )
    return {"metrics": found}
