# SPDX-License-Identifier: MIT
"""Every series of an order's path is there, non-zero, and well formed."""
import subprocess

import pytest
import requests

from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as prometheus

import ws_client
from lab import wait_until

SERVICES = ["orders", "inventory", "payments", "users", "notifications"]

# requirement -> (service, sample, labels, must it be non-zero after an order)
ROWS = {
    **{f"M-01 {s}": (s, "http_requests_total", {"method", "endpoint", "status"}, True)
       for s in SERVICES if s != "users"},
    **{f"M-02 {s}": (s, "http_request_duration_seconds_count", {"method", "endpoint"}, True)
       for s in SERVICES if s != "users"},
    "M-03": ("orders", "orders_created_total", set(), True),
    "M-04": ("orders", "orders_by_status", {"status"}, True),
    "M-05": ("orders", "order_processing_duration_seconds_count", set(), True),
    "M-06": ("inventory", "inventory_stock_level", {"sku", "warehouse"}, True),
    "M-07": ("inventory", "inventory_reservations_total", set(), True),
    "M-08": ("inventory", "inventory_low_stock_items", set(), True),
    "M-09": ("inventory", "inventory_operations_duration_seconds_count", {"operation"}, True),
    "M-10": ("payments", "payments_processed_total", {"status", "method"}, True),
    "M-11": ("payments", "payment_amount_total", {"currency"}, True),
    "M-12": ("payments", "refunds_processed_total", set(), False),
    "M-13": ("payments", "payment_gateway_latency_seconds_count", set(), True),
    "M-14": ("users", "http_server_requests_seconds_count", {"method", "uri", "status"}, True),
    "M-15": ("users", "users_registered_total", set(), False),
    "M-16": ("users", "login_attempts_total", {"status"}, True),
    "M-17": ("users", "active_sessions_current", set(), True),
    "M-18": ("users", "jwt_tokens_issued_total", set(), True),
    "M-19": ("users", "auth_validations_total", set(), True),
    "M-20": ("notifications", "notifications_sent_total", {"type", "status"}, True),
    "M-21": ("notifications", "notification_queue_size", set(), False),
    "M-22": ("notifications", "websocket_connections_current", set(), True),
    "M-23": ("notifications", "email_send_duration_seconds_count", set(), True),
}


def samples(text, name):
    return [s for family in prometheus(text) for s in family.samples if s.name == name]


@pytest.fixture(scope="module")
def one_order(started_lab):
    """After one order, with a WebSocket open."""
    lab = started_lab
    url = lab.url("notifications", "/ws").replace("http", "ws", 1)
    lab.tokens.clear()
    for service in SERVICES[1:]:
        requests.get(lab.url(service, "/health"), timeout=5)
    with ws_client.connect(url + "?access_token=" + lab.token()) as socket:
        assert lab.order().status_code == 201
        socket.recv(timeout=20)
        requests.get(lab.url("notifications", "/api/v1/notifications"), headers=lab.headers(), timeout=10)
        yield lab


@pytest.mark.parametrize("row", ROWS)
def test_the_series_exists_with_its_labels(one_order, row):
    service, name, labels, non_zero = ROWS[row]

    def good():
        found = samples(one_order.metrics(service), name)
        return found and all(labels <= set(s.labels) for s in found) and \
            (not non_zero or any(s.value > 0 for s in found))

    wait_until(good, 15, f"{name} of {service}")


@pytest.mark.parametrize("service", SERVICES + ["acquirer"])
def test_promtool_has_no_complaint(one_order, service):
    done = subprocess.run(["promtool", "check", "metrics"], input=one_order.metrics(service), text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("service", SERVICES)
def test_openmetrics_is_negotiated_and_parses(one_order, service):
    answer = requests.get(one_order.url(service, "/metrics"), timeout=10,
                          headers={"Accept": "application/openmetrics-text;version=1.0.0"})
    assert answer.headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
    assert answer.text.endswith("# EOF\n")
    assert len(list(openmetrics(answer.text))) > 20


def test_users_speaks_micrometer_on_both_paths(one_order):
    for path in ("/metrics", "/actuator/prometheus"):
        text = one_order.metrics("users", path)
        assert samples(text, "http_server_requests_seconds_count")
        assert not samples(text, "http_requests_total")


def test_the_alias_of_a_flow_step_is_absent(one_order):
    text = one_order.metrics("orders")
    assert not samples(text, "order_created_total")
    assert "order_processing_duration_count" not in text


def test_the_host_counts_its_own(one_order):
    text = one_order.metrics("orders")
    for name in ("process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds",
                 "lua_vm_memory_bytes", "db_pool_connections_max", "eventloop_time_seconds_total"):
        found = samples(text, name)
        assert found and any(s.value > 0 for s in found), name
