# SPDX-License-Identifier: MIT
"""One order is one trace through all five services, over HTTP and over AMQP."""
import secrets

from lab import wait_until

SERVICES = {"orders", "inventory", "payments", "users", "notifications"}


def traced_order(lab, collector):
    trace_id, parent = secrets.token_hex(16), secrets.token_hex(8)
    answer = lab.order(headers={"traceparent": f"00-{trace_id}-{parent}-01"})
    assert answer.status_code == 201, answer.text
    wait_until(lambda: {s.service for s in collector.trace(trace_id) if s.kind == "consumer"}
               >= {"inventory", "notifications"}, what="the consumers' spans")
    wait_until(lambda: {s.service for s in collector.trace(trace_id)} >= SERVICES,
               what="spans of all services")
    wait_until(lambda: all(s.parent == parent or any(p.id == s.parent for p in collector.trace(trace_id))
                           for s in collector.trace(trace_id)), what="every span's parent")
    return trace_id, parent, collector.trace(trace_id), answer.json()


def test_one_trace_holds_all_five_services_with_correct_parents(lab, collector):
    trace_id, remote, spans, _ = traced_order(lab, collector)
    by_id = {s.id: s for s in spans}
    assert len(by_id) == len(spans)

    root = [s for s in spans if s.parent == remote]
    assert [(s.service, s.kind, s.name) for s in root] == [("orders", "server", "POST /api/v1/orders")]

    def parent(span):
        return by_id.get(span.parent)

    for span in spans:
        if span.kind == "server" and span is not root[0]:
            assert parent(span).kind == "client" and parent(span).service != span.service, span
        if span.kind == "consumer":
            assert parent(span).kind == "producer" and parent(span).service == "orders", span
            assert (trace_id, span.parent) in span.links, "the producer is a link too"

    called = {(parent(s).service, s.service) for s in spans if s.kind == "server" and s.parent in by_id}
    assert called >= {("orders", "users"), ("orders", "inventory"), ("orders", "payments")}


def test_stores_are_client_spans_by_the_conventions(lab, collector):
    _, _, spans, _ = traced_order(lab, collector)
    systems = {(s.service, s.attributes.get("db.system.name")) for s in spans if s.kind == "client"}
    assert {("orders", "postgresql"), ("inventory", "postgresql"), ("payments", "postgresql"),
            ("inventory", "redis"), ("notifications", "postgresql")} <= systems
    for span in spans:
        if span.kind == "server":
            assert {"http.request.method", "url.path", "url.scheme", "http.response.status_code",
                    "http.route"} <= set(span.attributes), span
        if span.kind == "producer":
            assert span.attributes["messaging.system"] == "rabbitmq"
            assert span.attributes["messaging.destination.name"].startswith("events:order.")


def test_log_lines_carry_the_trace(lab, collector):
    trace_id, _, spans, order = traced_order(lab, collector)
    ids = {s.id for s in spans}
    for service in SERVICES:
        lines = wait_until(lambda: [line for line in lab.log_lines(service)
                                    if line.get("trace_id") == trace_id], what=service + " logs")
        for line in lines:
            assert line["span_id"] in ids, line
            assert {"timestamp", "level", "service", "message"} <= set(line)


def test_no_secret_is_in_spans_or_logs(lab, collector):
    traced_order(lab, collector)
    secrets_in_use = [b"4242424242424242", b"demo-password", lab.token().encode(),
                      lab.env["ORRERY_JWT_SECRET"].encode()]
    with collector.lock:
        bodies = [body for _, body in collector.bodies]
    for secret in secrets_in_use:
        assert not any(secret in body for body in bodies), secret
        for service in SERVICES | {"acquirer"}:
            assert secret not in lab.log(service).encode(), (service, secret)


def test_metrics_and_logs_are_exported_too(lab, collector):
    traced_order(lab, collector)
    wait_until(lambda: ("orders", "http.server.request.duration") in collector.metrics,
               what="the duration histogram by its conventional name")
    wait_until(lambda: any(record.trace_id and resource["service.name"] == "orders"
                           for resource, record in list(collector.logs)), what="log records")
