# SPDX-License-Identifier: MIT
"""After a system run: what was expected was said, and nothing unknown.

Reads build/log/telemetry.json, which the system tests leave (test/system/witness.py).
"""
import json
import pathlib
import re

import pytest

CHECKOUT = pathlib.Path(__file__).resolve().parents[2]
SAID = CHECKOUT / "build" / "log" / "telemetry.json"

SERVICES = ["gateway", "orders", "inventory", "payments", "users", "notifications", "acquirer"]

# Who calls whom: (service, kind, service, kind). The acquirer is dark and does not appear.
BETWEEN_SERVICES = {
    ("gateway", "client", "orders", "server"),
    ("gateway", "client", "users", "server"),
    ("gateway", "client", "inventory", "server"),
    ("gateway", "client", "payments", "server"),
    ("gateway", "client", "notifications", "server"),
    ("orders", "client", "users", "server"),
    ("orders", "client", "inventory", "server"),
    ("orders", "client", "payments", "server"),
    ("orders", "producer", "inventory", "consumer"),
    ("orders", "producer", "notifications", "consumer"),
    ("inventory", "producer", "notifications", "consumer"),
}
AT_TIMES = {("inventory", "producer", "orders", "consumer")}  # stock that an order could not keep
INSIDE = {
    ("gateway", "server", "gateway", "client"),
    ("orders", "server", "orders", "client"),
    ("orders", "server", "orders", "producer"),
    ("inventory", "server", "inventory", "internal"),
    ("inventory", "internal", "inventory", "client"),
    ("inventory", "consumer", "inventory", "internal"),
    ("payments", "server", "payments", "client"),
    ("users", "server", "users", "client"),
    ("notifications", "consumer", "notifications", "client"),
}

# Attributes that are our own; all others come from the semantic conventions.
OWN_ATTRIBUTES = {"currency", "order.id", "orrery.attempts", "orrery.generation", "orrery.job.run", "orrery.upstream",
                  "stock.batch.size", "template"}
CONVENTIONS = re.compile(r"(client|code|db|error|http|messaging|network|server|url|user_agent)\.[a-z_.]+")

LOG_FIELDS = {"timestamp", "level", "service", "message", "trace_id", "span_id", "trace_flags", "generation"}
REQUEST_FIELDS = {"method", "route", "path", "status", "duration_s"}
OTHER_FIELDS = {
    "admin_port", "amount", "attempts", "client.address", "code.file.path", "code.line.number", "count", "currency",
    "dead_lettered", "detail", "duration_s", "error", "exception.stacktrace", "excerpt", "host", "job", "kind",
    "lesson_field", "message_id", "order_id", "orders", "outcome", "payment_id", "port", "queue", "reason",
    "refund_id", "request_id", "routes", "routing_key", "series", "server.address", "serving_generation", "signal",
    "sku", "total", "upstream", "user_id", "version", "workers",
}


@pytest.fixture(scope="module")
def said():
    assert SAID.exists(), "the system tests come first: test/run system telemetry"
    return json.loads(SAID.read_text())


@pytest.fixture(scope="module")
def edges(said):
    return {tuple(edge) for edge in said["edges"]}


def declared_series():
    """Names in metrics.def, in the views of one instrument, and in the scripts; without _total."""
    host = re.findall(r'SERIES\(\w+,\s*\w+,\s*"(\w+)"', (CHECKOUT / "core/watch/metrics.def").read_text())
    views = ["http_requests", "http_request_duration_seconds", "http_server_requests_seconds"]
    scripts = [name for folder in ("lib", "scripts/oms") for file in (CHECKOUT / folder).rglob("*.lua")
               for name in re.findall(r'metrics\.(?:counter|gauge|histogram|summary)\(\s*"(\w+)"', file.read_text())]
    return {name.removesuffix("_total") for name in host + views + scripts}


def test_the_expected_edges_are_there(edges):
    assert (BETWEEN_SERVICES | INSIDE) - edges == set()


def test_no_service_calls_another_unexpectedly(edges):
    assert {e for e in edges if e[0] != e[2]} - BETWEEN_SERVICES - AT_TIMES == set()


def test_attributes_are_conventional_or_ours(said):
    assert [a for a in said["attributes"] if a not in OWN_ATTRIBUTES and not CONVENTIONS.fullmatch(a)] == []


@pytest.mark.parametrize("service", SERVICES)
def test_every_series_is_declared(said, service):
    assert set(said["series"][service]) - declared_series() == set()


@pytest.mark.parametrize("service", SERVICES)
def test_log_fields_are_known_and_complete(said, service):
    fields = set(said["log_fields"][service])
    assert (LOG_FIELDS | REQUEST_FIELDS) - fields == set()
    assert fields - LOG_FIELDS - REQUEST_FIELDS - OTHER_FIELDS == set()
