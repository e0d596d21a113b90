"""The gateway's Prometheus metrics, in a registry of their own."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric

from holdfast.bmc.commands import Command
from holdfast.bmc.errors import StaleTermError, StaleTokenError
from holdfast.bmc.gateway import GatewayCore
from holdfast.bmc.params import AGENT_ACTIONS, BMC_ACTIONS

STALE = frozenset({StaleTokenError.code, StaleTermError.code})
SECONDS = (0.01, 0.05, 0.1, 0.5, 1, 2, 5, 10, 30, 60, 300, 600)


class GatewayMetrics:
    """``gateway.Watcher``, and the callback for connections."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._commands = Counter(
            "holdfast_gateway_commands",
            "Commands that ended, by action and by ok or the error's code.",
            ["action", "result"],
            registry=self.registry,
        )
        self._stale = Counter(
            "holdfast_gateway_stale_refused",
            "Commands refused because a higher token or term was seen.",
            ["code"],
            registry=self.registry,
        )
        for code in sorted(STALE):  # at 0 from the start: a series that begins at 1 shows no rise
            self._stale.labels(code)
        self._seconds = Histogram(
            "holdfast_gateway_command_seconds",
            "From a command's arrival to its answer, for those that were begun.",
            ["action"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self._connections = Counter(
            "holdfast_gateway_connections",
            "Connections made to BMCs and agents; one of https is one TLS handshake.",
            ["scheme"],
            registry=self.registry,
        )
        self._reused = Counter(
            "holdfast_gateway_connections_reused",
            "Requests that went over a connection already there.",
            ["scheme"],
            registry=self.registry,
        )

    def begun(self, command: Command) -> None:
        """Nothing is counted before the end."""
        del command

    def ended(self, command: Command, code: str, begun: bool, seconds: float) -> None:
        """Count a command that is over."""
        known = command.action in AGENT_ACTIONS or command.action in BMC_ACTIONS
        action = command.action if known else "unknown"  # a label is never a stranger's word
        self._commands.labels(action, code).inc()
        if code in STALE:
            self._stale.labels(code).inc()
        if begun:
            self._seconds.labels(action).observe(seconds)

    def connected(self, scheme: str, made: bool) -> None:
        """Count a connection made, or used again."""
        (self._connections if made else self._reused).labels(scheme).inc()

    def show(self, core: GatewayCore) -> None:
        """Show the state of a gateway, read at each scrape."""
        self.registry.register(_CoreGauges(core))

    def text(self) -> bytes:
        """Everything, in Prometheus' text format."""
        return generate_latest(self.registry)


class _CoreGauges:
    def __init__(self, core: GatewayCore) -> None:
        self._core = core

    def collect(self) -> Iterable[Metric]:
        breakers = GaugeMetricFamily(
            "holdfast_gateway_breakers", "Addresses that are not asked now.", labels=["state"]
        )
        for state, count in self._core.breaker_counts().items():
            breakers.add_metric([str(state)], count)
        yield breakers
        yield GaugeMetricFamily(
            "holdfast_gateway_commands_open",
            "Commands that wait or are in flight.",
            value=self._core.open_commands(),
        )
