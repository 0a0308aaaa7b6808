# SPDX-License-Identifier: MIT
"""The lab's own gateway: the whole shop through one port, one trace from the edge on."""
import json
import secrets
import uuid

import pytest
import requests

import ws_client
from edge import labelled
from lab import CARD, wait_until
from trace_test import SERVICES


@pytest.fixture
def edge(lab):
    wait_until(lambda: "down" not in {row["state"] for row in states(lab)}, 10, "its addresses")
    return lab.url("gateway")


def states(lab):
    rows = requests.get(lab.url("gateway_admin", "/upstreams"), timeout=5).json()["upstreams"]
    return [{"state": "up" if row["up"] else "down", **row} for row in rows]


def place(lab, edge, **headers):
    return requests.post(edge + "/api/v1/orders", timeout=30, headers=lab.headers(
        **{"Idempotency-Key": str(uuid.uuid4()), **headers}), json={
            "items": [{"sku": "SKU-0004", "quantity": 1}], "currency": "USD",
            "payment": {"method": "card", "card": CARD}})


def test_a_customer_needs_the_gateway_alone(lab, edge):
    someone = {"email": f"{uuid.uuid4()}@example.test", "password": "a-long-password", "name": "Someone"}
    made = requests.post(edge + "/api/v1/users/register", json=someone, timeout=10)
    assert made.status_code == 201, made.text
    entered = requests.post(edge + "/api/v1/users/login", timeout=10, json={
        "email": someone["email"], "password": someone["password"]})
    headers = {"Authorization": "Bearer " + entered.json()["access_token"]}
    assert requests.get(edge + "/api/v1/users/me", headers=headers, timeout=10).json()["email"] == someone["email"]
    with ws_client.connect(edge.replace("http", "ws") + "/ws?access_token=" +
                           entered.json()["access_token"]) as socket:
        order = requests.post(edge + "/api/v1/orders", timeout=30, headers={
            **headers, "Idempotency-Key": str(uuid.uuid4())}, json={
                "items": [{"sku": "SKU-0005", "quantity": 1}], "currency": "USD",
                "payment": {"method": "card", "card": CARD}})
        assert order.status_code == 201, order.text
        wait_until(lambda: json.loads(socket.recv(20)).get("type") == "order.created", what="the toast")
    again = requests.get(edge + order.headers["Location"], headers=headers, timeout=10)
    assert again.json()["status"] == "processing"
    for path in ("/api/v1/inventory/SKU-0005", "/api/v1/notifications",
                 "/api/v1/payments/" + order.json()["payment_id"]):
        assert requests.get(edge + path, headers=headers, timeout=10).status_code == 200, path


def test_one_trace_leads_from_the_edge_to_the_last_service(lab, edge, collector):
    trace, parent = secrets.token_hex(16), secrets.token_hex(8)
    answer = place(lab, edge, traceparent=f"00-{trace}-{parent}-01")
    assert answer.status_code == 201, answer.text
    wait_until(lambda: {s.service for s in collector.trace(trace)} >= SERVICES | {"gateway"}, what="all services")
    wait_until(lambda: all(s.parent == parent or any(p.id == s.parent for p in collector.trace(trace))
                           for s in collector.trace(trace)), what="every span's parent")
    spans = collector.trace(trace)
    by_id = {span.id: span for span in spans}
    root, = [span for span in spans if span.parent == parent]
    assert (root.service, root.kind, root.name) == ("gateway", "server", "POST /api/v1/orders")
    assert root.attributes["client.address"] == "127.0.0.1"
    first, = [span for span in spans if span.service == "orders" and span.kind == "server"]
    between = by_id[first.parent]
    assert (between.service, between.kind, between.parent) == ("gateway", "client", root.id)
    assert between.attributes["server.port"] == int(lab.url("orders").rsplit(":", 1)[1])
    last = [span for span in spans if span.service == "notifications" and span.kind == "consumer"]
    assert last, "the consumer's span is in the same trace"
    others = {span.name for span in spans if span.service == "gateway" and span not in (root, between)}
    assert others <= {"EVALSHA"}, "beside these two there is the limit's"


def test_only_what_is_meant_for_outside_is_there(lab, edge):
    for path in ("/", "/metrics", "/ready", "/health", "/acquirer", "/v1/charges", "/api/v1", "/api/v1/unknown",
                 "/upstreams", "/actuator/prometheus"):
        assert requests.get(edge + path, timeout=10).status_code == 404, path


def test_the_services_see_the_client_and_not_the_gateway(lab, edge, collector):
    trace = secrets.token_hex(16)
    requests.get(edge + "/api/v1/orders", timeout=10, headers=lab.headers(
        traceparent=f"00-{trace}-{secrets.token_hex(8)}-01", **{"X-Forwarded-For": "192.0.2.1"}))
    span = wait_until(lambda: [s for s in collector.trace(trace) if s.service == "orders" and s.kind == "server"],
                      what="the span")[0]
    assert span.attributes["client.address"] == "127.0.0.1", "what a client says of itself is not believed"


def test_answers_carry_the_headers_of_the_edge_and_its_policy(lab, edge):
    answer = requests.get(edge + "/api/v1/orders", headers=lab.headers(Origin="http://localhost:3000"), timeout=10)
    assert answer.headers["X-Content-Type-Options"] == "nosniff" and answer.headers["X-Frame-Options"] == "DENY"
    assert answer.headers["Access-Control-Allow-Origin"] == "http://localhost:3000"
    assert answer.headers["X-Request-Id"] and answer.headers["RateLimit-Policy"]


def test_the_status_page_shows_every_address(lab, edge):
    page = requests.get(lab.url("gateway_admin", "/"), timeout=5)
    assert page.headers["Content-Type"].startswith("text/html")
    for name in SERVICES:
        assert name in page.text and lab.url(name).split("//")[1] in page.text
    assert {row["upstream"] for row in states(lab)} == SERVICES


def test_its_series_tell_routes_addresses_and_states(lab, edge):
    place(lab, edge)
    metrics = requests.get(lab.url("gateway_admin", "/metrics"), timeout=5).text
    assert labelled(metrics, "http_requests_total", method="POST", endpoint="/api/v1/orders", status="201") >= 1
    assert labelled(metrics, "http_client_request_duration_seconds_count",
                    server=lab.url("orders").split("//")[1]) >= 1
    for name in SERVICES:
        assert labelled(metrics, "gateway_upstream_addresses", upstream=name, state="up") == 1


def test_a_stopped_service_is_a_prompt_503_that_says_so(lab, edge):
    lab.command("stop", "inventory")
    try:
        answer = requests.get(edge + "/api/v1/inventory", headers=lab.headers(), timeout=10)
        assert (answer.status_code, answer.json()["kind"]) == (503, "unavailable")
        assert answer.elapsed.total_seconds() < 2
    finally:
        lab.command("start", "inventory")
    wait_until(lambda: requests.get(edge + "/api/v1/inventory", headers=lab.headers(), timeout=10).status_code == 200,
               10, "it to be back")


def test_an_edit_of_the_lab_s_policy_is_live(lab, edge):
    file = lab.root / "scripts/oms/gateway/service.lua"
    before = file.read_text()
    assert '"nosniff"' in before
    try:
        file.write_text(before.replace('"nosniff"', '"nosniff, edited"'))
        wait_until(lambda: requests.get(edge + "/api/v1/orders", headers=lab.headers(), timeout=10)
                   .headers["X-Content-Type-Options"] == "nosniff, edited", 5, "the edit")
    finally:
        file.write_text(before)
        wait_until(lambda: requests.get(edge + "/api/v1/orders", headers=lab.headers(), timeout=10)
                   .headers["X-Content-Type-Options"] == "nosniff", 5, "the edit undone")
