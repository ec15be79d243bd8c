"""The numbers that Prometheus reads, in a registry of each app's own."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 100)
ROWS = (1, 2, 4, 8, 16, 32, 64, 128)


class Telemetry:
    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        work = ["model", "operation"]
        self.requests = self._counter(
            "requests", "Requests answered.", ["route", "method", "status"]
        )
        self.request_seconds = self._seconds(
            "request", "From a request's first byte to its answer's last.", ["route"]
        )
        self.queue_seconds = self._seconds("queue", "A request's wait for its first pass.", work)
        self.compute_seconds = self._seconds("compute", "One step of a model on one batch.", work)
        self.encode_seconds = self._seconds("encode", "Making one answer's bytes.", work)
        self.rows = self._counter("rows", "Rows computed.", work)
        self.batch_rows = Histogram(
            "latentd_batch_rows",
            "Rows of a batch that somebody asked for; the others are padding.",
            work,
            buckets=ROWS,
            registry=self.registry,
        )
        self.waiting_rows = self._gauge("waiting_rows", "Rows that wait.")
        self.waiting_seconds = self._gauge("waiting_seconds", "Seconds of work that wait.")
        self.in_flight = self._gauge("in_flight", "Requests that wait or are being computed.")
        self.rejected = self._counter("rejected", "Requests turned away.", ["reason"])
        self.cancelled = self._counter(
            "cancelled", "Requests whose caller left or ran out of time.", ["stage"]
        )
        self.splits = self._counter("splits", "Batches halved as memory ran out.")
        self.models_loaded = self._gauge("models_loaded", "Models that are in memory.")
        self.model_bytes = self._gauge("model_bytes", "Bytes of a model in memory.", ["model"])
        self.loads = self._counter("loads", "Bundles read.", ["outcome"])
        self.evictions = self._counter("evictions", "Models put out to make room for others.")
        self.model_info = self._gauge(
            "model_info", "1 for each model that is served.", ["model", "family", "digest"]
        )

    def text(self) -> bytes:
        """All of it in Prometheus' text format."""
        return generate_latest(self.registry)

    def _counter(self, name: str, text: str, labels: list[str] | None = None) -> Counter:
        return Counter(f"latentd_{name}", text, labels or [], registry=self.registry)

    def _gauge(self, name: str, text: str, labels: list[str] | None = None) -> Gauge:
        return Gauge(f"latentd_{name}", text, labels or [], registry=self.registry)

    def _seconds(self, name: str, text: str, labels: list[str]) -> Histogram:
        return Histogram(
            f"latentd_{name}_seconds", text, labels, buckets=SECONDS, registry=self.registry
        )
