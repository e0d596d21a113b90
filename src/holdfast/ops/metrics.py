"""Metrics: a registry per process, and one page for all processes of a host."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    GCCollector,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from holdfast import __version__

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

Reading = Callable[[], float]


class Readings(Collector):
    """Gauges that are read when somebody asks: name -> (help, reading)."""

    def __init__(self, gauges: Mapping[str, tuple[str, Reading]]) -> None:
        self._gauges = dict(gauges)

    def collect(self) -> Iterator[Metric]:
        for name, (text, reading) in self._gauges.items():
            yield GaugeMetricFamily(name, text, value=reading())


class Paged(Collector):
    """What somebody else tells as a page, read when somebody asks."""

    def __init__(self, page: Callable[[], bytes]) -> None:
        self._page = page

    def collect(self) -> Iterator[Metric]:
        yield from text_string_to_metric_families(self._page().decode())


def registry(
    role: str, gauges: Mapping[str, tuple[str, Reading]] | None = None
) -> CollectorRegistry:
    """A process's own registry, with what is true of every process."""
    made = CollectorRegistry(auto_describe=False)
    ProcessCollector(registry=made)
    PlatformCollector(registry=made)
    GCCollector(registry=made)
    made.register(_Info(role))
    if gauges:
        made.register(Readings(gauges))
    return made


def page(source: CollectorRegistry | _Pages) -> bytes:
    """The registry in Prometheus' text format."""
    return generate_latest(source)  # pyright: ignore[reportArgumentType] - it only calls collect()


def aggregate(pages: Mapping[str, str], own: CollectorRegistry) -> bytes:
    """One page of many: every sample of slot's page gets the label ``slot``."""
    return page(_Pages(pages, own))


class _Info(Collector):
    def __init__(self, role: str) -> None:
        self._role = role

    def collect(self) -> Iterator[Metric]:
        family = GaugeMetricFamily(
            "holdfast_info", "Which Holdfast this is", labels=["role", "version"]
        )
        family.add_metric([self._role, __version__], 1)
        yield family


class _Pages(Collector):
    """Families of the same name from several pages, merged."""

    def __init__(self, pages: Mapping[str, str], own: CollectorRegistry) -> None:
        self._pages = pages
        self._own = own

    def collect(self) -> Iterable[Metric]:
        merged: dict[str, Metric] = {family.name: family for family in self._own.collect()}
        for slot, text in self._pages.items():
            for family in text_string_to_metric_families(text):
                into = merged.get(family.name)
                if into is None:
                    into = Metric(family.name, family.documentation, family.type)
                    merged[family.name] = into
                for sample in family.samples:
                    into.samples.append(sample._replace(labels={**sample.labels, "slot": slot}))
        return merged.values()
