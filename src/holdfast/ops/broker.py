"""What operators see of the broker (``store.broker``): metrics, the status, the doctor."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from holdfast.store.broker.broker import Broker


class BrokerMetrics(Collector):
    """This process's connection to the broker, and what became of its hints (X11)."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    def collect(self) -> Iterator[Metric]:
        state, counts = self._broker.state, self._broker.counts
        yield GaugeMetricFamily(
            "holdfast_broker_connected",
            "Whether this process is connected to the broker",
            value=float(state.connected),
        )
        yield GaugeMetricFamily(
            "holdfast_broker_changed_timestamp_seconds",
            "Since when it has been connected, or not",
            value=state.since,
        )
        hints = CounterMetricFamily(
            "holdfast_broker_hints",
            "Hints about queues: sent (the broker confirmed it), or dropped (NOTIFY was used)",
            labels=["outcome"],
        )
        hints.add_metric(["sent"], counts.sent)
        hints.add_metric(["dropped"], counts.dropped)
        yield hints


def broker_document(broker: Broker | None) -> dict[str, Any] | None:
    """For the status: how the process that answers sees the broker; None if there is none."""
    if broker is None:
        return None
    state = broker.state
    return {"connected": state.connected, "address": state.address, "since": state.since}
