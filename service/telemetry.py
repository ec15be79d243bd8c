"""The numbers that Prometheus reads, in a registry of each app's own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 100)
ROWS = (1, 2, 4, 8, 16, 32, 64, 128)


@dataclass(frozen=True)
class Meters:
    """What is counted of one work of one model."""

    queue_seconds: Histogram
    compute_seconds: Histogram
    encode_seconds: Histogram
    batch_rows: Histogram
    rows: Counter


class Telemetry:
    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._of_work: dict[tuple[str, str], Meters] = {}
        self._of_requests: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}
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
        self.background_rows = self._gauge(
            "background_rows", "Rows of evaluations that wait until nothing else does."
        )
        self.jobs = self._counter("jobs", "Jobs that this process ended.", ["state"])
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

    def of_work(self, model: str, operation: str) -> Meters:
        """What is counted of one work of one model; looked up once, as labels are slow to find."""
        key = model, operation
        found = self._of_work.get(key)
        if found is None:
            found = self._of_work[key] = Meters(
                self.queue_seconds.labels(*key),
                self.compute_seconds.labels(*key),
                self.encode_seconds.labels(*key),
                self.batch_rows.labels(*key),
                self.rows.labels(*key),
            )
        return found

    def tell_request(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count a request that is answered."""
        key = route, method, status
        found = self._of_requests.get(key)
        if found is None:
            found = self._of_requests[key] = (
                self.requests.labels(route, method, str(status)),
                self.request_seconds.labels(route),
            )
        found[0].inc()
        found[1].observe(seconds)

    def text(self) -> str:
        """All of it in Prometheus' text format."""
        return generate_latest(self.registry).decode()

    def _counter(self, name: str, text: str, labels: list[str] | None = None) -> Counter:
        return Counter(f"latentd_{name}", text, labels or [], registry=self.registry)

    def _gauge(self, name: str, text: str, labels: list[str] | None = None) -> Gauge:
        return Gauge(f"latentd_{name}", text, labels or [], registry=self.registry)

    def _seconds(self, name: str, text: str, labels: list[str]) -> Histogram:
        return Histogram(
            f"latentd_{name}_seconds", text, labels, buckets=SECONDS, registry=self.registry
        )


def merged(texts: Iterable[str]) -> str:
    """The numbers of several processes as those of one: the sums, also of buckets and of gauges;
    of what each of them serves, what one of them does."""
    texts = list(texts)
    if len(texts) == 1:
        return texts[0]
    registry = CollectorRegistry()
    registry.register(_Sums(texts))
    return generate_latest(registry).decode()


class _Sums(Collector):
    def __init__(self, texts: list[str]) -> None:
        self._texts = texts

    def collect(self) -> Iterator[Metric]:
        families: dict[str, Metric] = {}
        values: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}
        for text in self._texts:
            for family in text_string_to_metric_families(text):
                families.setdefault(family.name, family)
                for sample in family.samples:
                    key = sample.name, tuple(sorted(sample.labels.items()))
                    together = max if family.name in SAME_IN_ALL else float.__add__
                    values[key] = together(values.get(key, 0.0), float(sample.value))
        for family in families.values():
            names = {f"{family.name}{suffix}" for suffix in SUFFIXES}
            metric = Metric(family.name, family.documentation, family.type)
            for (name, labels), value in values.items():
                if name in names:
                    metric.add_sample(name, dict(labels), value)
            yield metric


SAME_IN_ALL = ("latentd_models_loaded", "latentd_model_info")
SUFFIXES = ("", "_total", "_created", "_bucket", "_sum", "_count")
