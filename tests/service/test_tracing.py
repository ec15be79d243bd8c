"""Spans for a collector that speaks OpenTelemetry's protocol, continuing the caller's trace."""

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

TRACE = "0af7651916cd43dd8448eb211c80319c"


@pytest.fixture
def collector(monkeypatch):
    """A collector on a real port; the spans that came."""
    spans = []

    class Collect(BaseHTTPRequestHandler):
        def do_POST(self):
            content = self.rfile.read(int(self.headers["content-length"]))
            request = ExportTraceServiceRequest.FromString(content)
            for resource in request.resource_spans:
                for scope in resource.scope_spans:
                    spans.extend(scope.spans)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    listener = HTTPServer(("127.0.0.1", 0), Collect)
    threading.Thread(target=listener.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{listener.server_port}"
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", address)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "none")
    yield spans
    listener.shutdown()
    listener.server_close()


def test_a_request_is_a_span_of_its_callers_trace(own_server, collector):
    server = own_server(traces=True)
    parent = f"00-{TRACE}-b7ad6b7169203331-01"
    answer = server.post("vae-grey", "sample", {"n": 2}, Traceparent=parent)
    server.parts.tracing.stop()
    (span,) = [each for each in collector if each.name.startswith("POST")]
    assert span.name == "POST /v1/models/{name}/sample"
    assert span.trace_id.hex() == TRACE
    assert span.parent_span_id.hex() == "b7ad6b7169203331"
    told = {each.key: each.value for each in span.attributes}
    assert told["http.response.status_code"].int_value == 200
    assert told["latentd.model"].string_value == "vae-grey"
    assert told["latentd.compute_seconds"].double_value > 0
    assert told["latentd.request_id"].string_value == answer.headers["x-request-id"]
