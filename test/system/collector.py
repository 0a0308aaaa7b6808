# SPDX-License-Identifier: MIT
"""An OTLP/HTTP receiver that decodes with protoc, from the published field numbers."""
import gzip
import http.server
import importlib
import pathlib
import subprocess
import sys
import tempfile
import threading

PROTO = pathlib.Path(__file__).resolve().parents[1] / "telemetry" / "otlp.proto"


def load_messages():
    """The module protoc makes of otlp.proto."""
    folder = tempfile.mkdtemp(prefix="orrery-otlp-")
    subprocess.run(["protoc", f"--proto_path={PROTO.parent}", f"--python_out={folder}", PROTO.name],
                   check=True)
    sys.path.insert(0, folder)
    try:
        return importlib.import_module("otlp_pb2")
    finally:
        sys.path.remove(folder)


class Span:
    def __init__(self, resource, span):
        self.service = resource.get("service.name")
        self.resource = resource
        self.trace_id = span.trace_id.hex()
        self.id = span.span_id.hex()
        self.parent = span.parent_span_id.hex()
        self.name = span.name
        self.kind = {1: "internal", 2: "server", 3: "client", 4: "producer", 5: "consumer"}[span.kind]
        self.attributes = attributes(span.attributes)
        self.links = [(link.trace_id.hex(), link.span_id.hex()) for link in span.links]
        self.error = span.status.code == 2
        self.start, self.end = span.start_time_unix_nano, span.end_time_unix_nano

    def __repr__(self):
        return f"{self.service}: {self.kind} {self.name} {self.id}<-{self.parent}"


def attributes(pairs):
    values = {}
    for pair in pairs:
        kind = pair.value.WhichOneof("value")
        values[pair.key] = getattr(pair.value, kind) if kind else None
    return values


class Server(http.server.ThreadingHTTPServer):
    def handle_error(self, request, client_address):
        """Who is killed in the middle of a request is no error of this side."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class Collector:
    """Listens on a free port; keeps every span, log record and metric name it is sent."""

    def __init__(self):
        self.messages = load_messages()
        self.spans, self.logs, self.metrics, self.bodies = [], [], {}, []
        self.lock = threading.Lock()
        collector = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                collector.take(self.path, body)
                self.send_response(200)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def take(self, path, body):
        with self.lock:
            self.bodies.append((path, body))
            if path == "/v1/traces":
                for group in self.parse("TracesRequest", body).resource_spans:
                    resource = attributes(group.resource.attributes)
                    self.spans += [Span(resource, span) for scope in group.scope_spans
                                   for span in scope.spans]
            elif path == "/v1/logs":
                for group in self.parse("LogsRequest", body).resource_logs:
                    self.logs += [(attributes(group.resource.attributes), record)
                                  for scope in group.scope_logs for record in scope.log_records]
            elif path == "/v1/metrics":
                for group in self.parse("MetricsRequest", body).resource_metrics:
                    service = attributes(group.resource.attributes).get("service.name")
                    for scope in group.scope_metrics:
                        for metric in scope.metrics:
                            self.metrics[(service, metric.name)] = metric

    def parse(self, name, body):
        return getattr(self.messages, name).FromString(body)

    def trace(self, trace_id):
        with self.lock:
            return [span for span in self.spans if span.trace_id == trace_id]

    def close(self):
        self.server.shutdown()
        self.server.server_close()
