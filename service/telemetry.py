"""The numbers that Prometheus reads, in a registry of each app's own."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 100)


class Telemetry:
    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "latentd_requests",
            "Requests answered.",
            ["route", "method", "status"],
            registry=self.registry,
        )
        self.request_seconds = Histogram(
            "latentd_request_seconds",
            "From a request's first byte to its answer's last.",
            ["route"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self.rows = Counter(
            "latentd_rows",
            "Rows computed.",
            ["model", "operation"],
            registry=self.registry,
        )
        self.pass_seconds = Histogram(
            "latentd_pass_seconds",
            "One pass of a model over one batch.",
            ["model", "operation"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self.pass_rows = Histogram(
            "latentd_pass_rows",
            "Rows of a pass that somebody asked for; the others are padding.",
            buckets=(1, 2, 4, 8, 16, 32, 64),
            registry=self.registry,
        )
        self.queue_rows = Gauge("latentd_queue_rows", "Rows that wait.", registry=self.registry)
        self.models_loaded = Gauge(
            "latentd_models_loaded", "Models that are served.", registry=self.registry
        )
        self.model_info = Gauge(
            "latentd_model_info",
            "1 for each model that is served.",
            ["model", "family", "digest"],
            registry=self.registry,
        )

    def text(self) -> bytes:
        """All of it in Prometheus' text format."""
        return generate_latest(self.registry)
