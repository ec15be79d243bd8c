"""OpenTelemetry spans, where settings ask for them; without, `traceparent` is passed over.

One span a request, with the time it waited, was computed and encoded as attributes. It continues
the caller's trace (W3C Trace Context) and goes to wherever OpenTelemetry's own environment
variables say (OTEL_EXPORTER_OTLP_ENDPOINT and the like).
"""

from __future__ import annotations

from typing import Any

from starlette.datastructures import Headers
from starlette.types import Scope

from models.errors import InvalidConfig
from service.jobs import Timings


class Tracing:
    """Does nothing; `make_tracing` gives the one that does."""

    def begin(self, scope: Scope) -> Any:
        return None

    def end(self, span: Any, scope: Scope, status: int, timings: Timings) -> None: ...

    def stop(self) -> None:
        """Send what is not sent yet."""


class OpenTelemetryTracing(Tracing):
    def __init__(self, provider: Any, propagator: Any) -> None:
        self._provider, self._propagator = provider, propagator
        self._tracer = provider.get_tracer("latentd")

    def begin(self, scope: Scope) -> Any:
        from opentelemetry.trace import SpanKind

        parent = self._propagator.extract(dict(Headers(scope=scope)))
        return self._tracer.start_span(scope["method"], context=parent, kind=SpanKind.SERVER)

    def end(self, span: Any, scope: Scope, status: int, timings: Timings) -> None:
        route = getattr(scope.get("route"), "path", "unmatched")
        span.update_name(f"{scope['method']} {route}")
        span.set_attributes(
            {
                "http.request.method": scope["method"],
                "http.route": route,
                "http.response.status_code": status,
                "latentd.request_id": scope["state"]["request_id"],
                "latentd.model": scope.get("path_params", {}).get("name", ""),
                "latentd.queue_seconds": timings.queue,
                "latentd.compute_seconds": timings.compute,
                "latentd.encode_seconds": timings.encode,
            }
        )
        span.end()

    def stop(self) -> None:
        self._provider.shutdown()


def make_tracing(*, is_wanted: bool) -> Tracing:
    """
    Raises:
        InvalidConfig: OpenTelemetry's packages are not installed.
    """
    if not is_wanted:
        return Tracing()
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
    except ImportError as error:
        message = "traces need OpenTelemetry: pip install 'latentd[tracing]'"
        raise InvalidConfig(message, "traces") from error
    provider = TracerProvider(resource=Resource.create({"service.name": "latentd"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return OpenTelemetryTracing(provider, TraceContextTextMapPropagator())
