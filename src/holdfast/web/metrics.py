"""Prometheus metrics of the HTTP side: one registry per process, shared with other layers."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram

_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
UNKNOWN_ROUTE = "(none)"  # never the path itself: it would let clients make label values


class RequestMetrics:
    """Counts and times requests by API and route template."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = Counter(
            "holdfast_http_requests",
            "HTTP requests answered.",
            ["api", "method", "route", "status"],
            registry=registry,
        )
        self._seconds = Histogram(
            "holdfast_http_request_seconds",
            "Time to answer an HTTP request.",
            ["api", "method", "route"],
            registry=registry,
            buckets=_BUCKETS_S,
        )
        # Looking a child up by labels costs more than using it.
        self._children: dict[tuple[str, str, str, int], tuple[Counter, Histogram]] = {}

    def observe(self, api: str, method: str, route: str, status: int, elapsed_s: float) -> None:
        """Record one answered request."""
        key = (api, method, route, status)
        child = self._children.get(key)
        if child is None:
            child = self._children[key] = (
                self._requests.labels(api, method, route, str(status)),
                self._seconds.labels(api, method, route),
            )
        child[0].inc()
        child[1].observe(elapsed_s)
