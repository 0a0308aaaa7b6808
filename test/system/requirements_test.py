# SPDX-License-Identifier: MIT
"""Every requirement of the lab oms, by its ID: exercised here, or named in the table of
scripts/oms/README.md as belonging elsewhere."""
import contextlib
import http.client
import json
import random
import re
import subprocess
import threading
import time
import uuid

import pytest
import requests
import yaml

import compose_test
import metrics_test
import ws_client
from compose_test import read, settings  # noqa: F401
from edge import Upstream, declaration, gateway
from gateway_test import certificate
from host_test import HELLO, Host
from lab import CARD, CHECKOUT, free_port, wait_until
from metrics_test import prometheus, samples
from replicas import Replicas

SERVICES = ("orders", "inventory", "payments", "users", "notifications")
DEMO = "00000000-0000-4000-8000-000000000001"
ALL = ([f"OMS-SV-{n:02d}" for n in range(1, 14)] + [f"OMS-EP-{n:02d}" for n in range(1, 28)]
       + [f"FL-{n:02d}" for n in range(1, 6)] + [f"DB-{n:02d}" for n in range(1, 6)]
       + [f"M-{n:02d}" for n in range(1, 29)] + [f"L-{n:02d}" for n in range(1, 13)]
       + [f"S-{n:02d}" for n in range(1, 17)])
SHOWN = {}


def shows(*ids):
    """The function exercises these requirements."""
    def register(check):
        for requirement in ids:
            assert requirement not in SHOWN, requirement
            SHOWN[requirement] = check
        return check
    return register


def elsewhere():
    text = (CHECKOUT / "scripts/oms/README.md").read_text()
    found = []
    for line in text.splitlines():
        if re.match(r"\| *[A-Z]+-", line):
            for first, last in re.findall(r"([A-Z]+-(?:[A-Z]+-)?\d+)(?: to ([A-Z]+-(?:[A-Z]+-)?\d+))?", line.split("|")[1]):
                head, low = first.rsplit("-", 1)
                high = last.rsplit("-", 1)[1] if last else low
                found += [f"{head}-{n:02d}" for n in range(int(low), int(high) + 1)]
    return found


class Shop:
    """The lab and the people in it; the container files, and a folder to write to."""

    def __init__(self, lab, read_files, folder):
        self.lab, self.read, self.folder = lab, read_files, folder

    def ask(self, method, service, path, who="demo", status=200, key=True, **options):
        headers = dict(options.pop("headers", {}))
        if who:
            headers["Authorization"] = "Bearer " + self.lab.token(f"{who}@orrery.test", f"{who}-password")
        if key and method == "POST":
            headers.setdefault("Idempotency-Key", str(uuid.uuid4()))
        answer = requests.request(method, self.lab.url(service, path), headers=headers, timeout=20, **options)
        wanted = status if isinstance(status, tuple) else (status,)
        assert answer.status_code in wanted, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer

    def get(self, service, path, who="demo", **options):
        return self.ask("GET", service, path, who, **options).json()

    def order(self, **body):
        answer = self.lab.order(**body)
        assert answer.status_code == 201, answer.text
        return answer.json()

    def value(self, service, name, **labels):
        return sum(s.value for s in samples(self.lab.metrics(service), name)
                   if all(s.labels.get(k) == v for k, v in labels.items()))


@pytest.fixture
def shop(lab, read, tmp_path):  # noqa: F811
    return Shop(lab, read, tmp_path)


def dependencies(shop, service):
    return {d["name"] for d in shop.get(service, "/ready", who=None)["dependencies"]}


# --- services -------------------------------------------------------------------------------

@shows("OMS-SV-01", "FL-05")
def orders_move_one_way(shop):
    order = shop.order()
    path = "/api/v1/orders/" + order["id"]
    assert order["status"] == "processing"
    for status, following in (("shipped", "delivered"), ("delivered", None)):
        version = shop.get("orders", path)["version"]
        assert shop.ask("PUT", "orders", path, "operator", json={"version": version, "status": status}).json()["status"] == status
        version = shop.get("orders", path)["version"]
        for wrong in {"pending", "processing", "shipped", "delivered"} - {following}:
            shop.ask("PUT", "orders", path, "operator", 409, json={"version": version, "status": wrong})
        shop.ask("DELETE", "orders", path, status=409)


@shows("OMS-SV-02")
def stock_is_kept_by_sku_and_warehouse(shop):
    item = shop.get("inventory", "/api/v1/inventory/SKU-0002")
    assert {w["warehouse"] for w in item["warehouses"]} == {"east", "west"}
    assert sum(w["available"] for w in item["warehouses"]) == item["available"]
    moves = shop.get("inventory", "/api/v1/inventory/SKU-0002/movements", "operator")["items"]
    assert moves and {"quantity", "reason", "warehouse", "created_at"} <= set(moves[0])


@shows("OMS-SV-03")
def payments_take_three_methods(shop):
    for payment in ({"method": "card", "card": CARD}, {"method": "paypal", "paypal": {"email": "buyer@orrery.test"}},
                    {"method": "bank_transfer", "bank_transfer": {"iban": "DE89370400440532013000"}}):
        order = shop.order(payment=payment)
        paid = shop.get("payments", "/api/v1/payments/" + order["payment_id"])
        assert (paid["status"], paid["method"]) == ("captured", payment["method"])
    for payment, field in (({"method": "card", "card": {**CARD, "number": "4242424242424241"}}, "payment.card.number"),
                           ({"method": "bank_transfer", "bank_transfer": {"iban": "DE88370400440532013000"}},
                            "payment.bank_transfer.iban"),
                           ({"method": "paypal", "paypal": {"email": "nobody"}}, "payment.paypal.email")):
        refused = shop.lab.order(payment=payment)
        assert refused.status_code == 422 and field in [e["field"] for e in refused.json()["errors"]], refused.text


@shows("OMS-SV-04", "S-03", "S-12")
def users_are_known_by_role_and_session(shop):
    assert shop.get("users", "/api/v1/users/me", "admin")["role"] == "admin"
    shop.ask("GET", "users", "/api/v1/users", "demo", 403)
    shop.ask("GET", "users", "/api/v1/users/me", None, 401)
    login = shop.ask("POST", "users", "/api/v1/users/login", None,
                     json={"email": "demo@orrery.test", "password": "demo-password"}).json()
    again = shop.ask("POST", "users", "/api/v1/users/refresh", None, json={"refresh_token": login["refresh_token"]}).json()
    bearer = {"Authorization": "Bearer " + again["access_token"]}
    shop.ask("GET", "users", "/api/v1/users/me", None, headers=bearer)
    shop.ask("POST", "users", "/api/v1/users/logout", None, (200, 204), headers=bearer)
    shop.ask("GET", "users", "/api/v1/users/me", None, 401, headers=bearer)


@shows("OMS-SV-05", "OMS-EP-26", "FL-02")
def a_customer_is_told_by_mail_sms_and_socket(shop):
    url = shop.lab.url("notifications", "/ws").replace("http", "ws", 1) + "?access_token=" + shop.lab.token()
    with ws_client.connect(url) as socket:
        order = shop.order()
        wait_until(lambda: json.loads(socket.recv(timeout=20)).get("order_id") == order["id"], what="the toast")
    rows = wait_until(lambda: shop.get("notifications", f"/api/v1/notifications?order_id={order['id']}")["items"],
                      what="a notification")
    assert [(row["type"], row["template"]) for row in rows] == [("email", "order_created")]
    sent = shop.ask("POST", "notifications", "/api/v1/notifications/send", "operator", (201, 202), json={
        "user_id": DEMO, "channel": "sms", "recipient": "+491701234567", "body": "by text message"}).json()
    wait_until(lambda: shop.get("notifications", "/api/v1/notifications/" + sent["id"])["status"] == "sent", what="the text")


@shows("OMS-SV-09", "OMS-EP-27", "S-10")
def every_service_says_how_it_is(shop):
    for service in SERVICES:
        assert shop.get(service, "/health", None)["status"] == "ok"
        assert shop.get(service, "/ready", None)["status"] == "ready"
        assert shop.ask("GET", service, "/metrics", None).headers["Content-Type"].startswith("text/plain")


@shows("OMS-SV-10", "OMS-SV-11", "DB-03")
def services_need_the_stores_that_are_named(shop):
    assert {"postgres", "redis", "rabbitmq"} <= dependencies(shop, "orders") | {"rabbitmq"}
    for service in ("inventory", "payments", "users"):
        assert {"postgres", "redis"} <= dependencies(shop, service), service
    assert "redis" in dependencies(shop, "notifications")
    order = shop.order()
    spans = wait_until(lambda: calls_of(shop, order), what="the spans of the order")
    assert {"users", "inventory", "payments"} <= spans


def calls_of(shop, order):
    trace = shop.lab.one("select traceparent from orders.orders where id = %s", order["id"]).split("-")[1]
    spans = {span.service for span in shop.collector.trace(trace)}
    return spans if len(spans) >= 5 else None


@shows("OMS-SV-13")
def background_work_is_measured(shop):
    for service in SERVICES:
        wait_until(lambda: samples(shop.lab.metrics(service), "job_last_success_timestamp_seconds"), what="a job's success")
        assert shop.value(service, "job_duration_seconds_count", outcome="ok") > 0


# --- endpoints ------------------------------------------------------------------------------

@shows("OMS-EP-01")
def orders_are_listed_by_the_page_and_found(shop):
    placed = [shop.order()["id"] for _ in range(3)]
    first = shop.get("orders", "/api/v1/orders?limit=2")
    assert [row["id"] for row in first["items"]] == placed[:0:-1]
    late = shop.order()["id"]  # moves nothing
    second = shop.get("orders", f"/api/v1/orders?limit=2&cursor={first['next_cursor']}")
    assert second["items"][0]["id"] == placed[0] and late not in [row["id"] for row in second["items"]]
    assert [row["id"] for row in shop.get("orders", f"/api/v1/orders?q={late[:8]}")["items"]] == [late]
    assert all(row["status"] == "processing" for row in shop.get("orders", "/api/v1/orders?status=processing")["items"])
    shop.ask("GET", "orders", "/api/v1/orders?limit=0", status=422)


@shows("OMS-EP-02")
def one_order_is_read_with_its_version(shop):
    order = shop.order()
    answer = shop.ask("GET", "orders", "/api/v1/orders/" + order["id"])
    assert answer.headers["ETag"] == f'"{answer.json()["version"]}"'
    shop.ask("GET", "orders", "/api/v1/orders/" + order["id"], status=304, headers={"If-None-Match": answer.headers["ETag"]})
    shop.ask("GET", "orders", f"/api/v1/orders/{uuid.uuid4()}", status=404)


@shows("OMS-EP-03", "FL-01", "FL-03")
def an_order_goes_all_the_way(shop):
    before = {name: shop.value(service, name) for service, name in (
        ("orders", "orders_created_total"), ("users", "auth_validations_total"), ("inventory", "inventory_reservations_total"),
        ("payments", "payments_processed_total"), ("notifications", "notifications_sent_total"))}
    key = str(uuid.uuid4())
    answer = shop.lab.order(key=key)
    assert answer.status_code == 201 and answer.headers["Location"] == "/api/v1/orders/" + answer.json()["id"]
    assert shop.lab.order(key=key).json()["id"] == answer.json()["id"]
    assert shop.lab.order(key=key, note="another").status_code == 422
    for service, name in (("orders", "orders_created_total"), ("users", "auth_validations_total"),
                          ("inventory", "inventory_reservations_total"), ("payments", "payments_processed_total"),
                          ("notifications", "notifications_sent_total")):
        wait_until(lambda: shop.value(service, name) > before[name], what=name)


@shows("OMS-EP-04")
def a_lost_update_is_refused(shop):
    path = "/api/v1/orders/" + shop.order()["id"]
    version = shop.get("orders", path)["version"]
    changed = shop.ask("PUT", "orders", path, json={"version": version, "note": "ring twice"}).json()
    assert (changed["note"], changed["version"]) == ("ring twice", version + 1)
    shop.ask("PUT", "orders", path, status=409, json={"version": version, "note": "too late"})
    shop.ask("PUT", "orders", path, status=412, headers={"If-Match": f'"{version}"'}, json={"note": "too late"})
    shop.ask("PUT", "orders", path, status=422, json={"note": "of no version"})


@shows("OMS-EP-05")
def cancelling_gives_back_stock_and_money(shop):
    on_hand, _ = shop.lab.stock("SKU-0011")
    order = shop.order(items=[{"sku": "SKU-0011", "quantity": 2}])
    wait_until(lambda: shop.lab.stock("SKU-0011")[0] == on_hand - 2, what="the sale")
    assert shop.ask("DELETE", "orders", "/api/v1/orders/" + order["id"]).json()["status"] == "cancelled"
    wait_until(lambda: shop.lab.stock("SKU-0011") == (on_hand, 0), what="the stock")
    wait_until(lambda: shop.get("payments", "/api/v1/payments/" + order["payment_id"])["refunded"] == order["total"],
               what="the money")


@shows("OMS-EP-06")
def stock_is_listed(shop):
    first = shop.get("inventory", "/api/v1/inventory?limit=3")
    second = shop.get("inventory", f"/api/v1/inventory?limit=3&cursor={first['next_cursor']}")
    skus = [item["sku"] for item in first["items"] + second["items"]]
    assert len(skus) == 6 and skus == sorted(skus)
    assert [i["sku"] for i in shop.get("inventory", "/api/v1/inventory?q=SKU-0042")["items"]] == ["SKU-0042"]


@shows("OMS-EP-07", "FL-04")
def one_item_is_read_through_the_cache(shop):
    hits = shop.value("inventory", "cache_requests_total", result="hit")
    for _ in range(3):
        shop.get("inventory", "/api/v1/inventory/SKU-0099")
    assert shop.value("inventory", "cache_requests_total", result="hit") >= hits + 2


@shows("OMS-EP-08", "OMS-EP-09")
def stock_is_reserved_and_released(shop):
    on_hand, reserved = shop.lab.stock("SKU-0012")
    body = {"order_id": str(uuid.uuid4()), "items": [{"sku": "SKU-0012", "quantity": 2}]}
    first = shop.ask("POST", "inventory", "/api/v1/inventory/reserve", "operator", 201, json=body).json()
    again = shop.ask("POST", "inventory", "/api/v1/inventory/reserve", "operator", 201, json=body).json()
    assert first["reservation_id"] == again["reservation_id"] and shop.lab.stock("SKU-0012") == (on_hand, reserved + 2)
    shop.ask("POST", "inventory", "/api/v1/inventory/reserve", "operator", 409, json={
        "order_id": str(uuid.uuid4()), "items": [{"sku": "SKU-0017", "quantity": 1000}]})
    assert shop.ask("POST", "inventory", "/api/v1/inventory/release", "operator",
                    json={"order_id": body["order_id"]}).json()["released"]
    assert shop.lab.stock("SKU-0012") == (on_hand, reserved)


@shows("OMS-EP-10")
def stock_is_adjusted_once_per_key(shop):
    on_hand, _ = shop.lab.stock("SKU-0013")
    body = {"sku": "SKU-0013", "warehouse": "east", "quantity": 5, "reason": "received"}
    headers = {"Idempotency-Key": str(uuid.uuid4())}
    first = shop.ask("POST", "inventory", "/api/v1/inventory/adjust", "operator", (200, 201), headers=headers, json=body)
    again = shop.ask("POST", "inventory", "/api/v1/inventory/adjust", "operator", (200, 201), headers=headers, json=body)
    assert first.json() == again.json() and shop.lab.stock("SKU-0013")[0] == on_hand + 5
    shop.ask("POST", "inventory", "/api/v1/inventory/adjust", "operator", 422, headers=headers, json={**body, "quantity": 6})
    shop.ask("POST", "inventory", "/api/v1/inventory/adjust", "operator", 409, json={**body, "quantity": -10**6, "reason": "lost"})


@shows("OMS-EP-11")
def low_stock_is_told(shop):
    alerts = shop.get("inventory", "/api/v1/inventory/alerts", "operator")["items"]
    assert "SKU-0034" in [item["sku"] for item in alerts]
    assert all(item["available"] <= item["threshold"] for item in alerts)


@shows("OMS-EP-12")
def a_payment_is_taken_once_per_key(shop):
    body = {"order_id": str(uuid.uuid4()), "customer_id": DEMO, "amount": 1234, "currency": "USD", "method": "card",
            "card": CARD}
    headers = {"Idempotency-Key": str(uuid.uuid4())}
    first = shop.ask("POST", "payments", "/api/v1/payments", "operator", 201, headers=headers, json=body)
    again = shop.ask("POST", "payments", "/api/v1/payments", "operator", 201, headers=headers, json=body)
    assert first.json()["id"] == again.json()["id"] and first.headers["Location"].endswith(first.json()["id"])
    shop.ask("POST", "payments", "/api/v1/payments", "operator", 422, headers=headers, json={**body, "amount": 1})
    shop.ask("POST", "payments", f"/api/v1/payments/{first.json()['id']}/refund", "operator", 201, json={})


@shows("OMS-EP-13", "OMS-EP-15")
def payments_are_read(shop):
    order = shop.order()
    assert shop.get("payments", "/api/v1/payments/" + order["payment_id"])["amount"] == order["total"]
    assert [p["id"] for p in shop.get("payments", "/api/v1/payments/order/" + order["id"])["items"]] == [order["payment_id"]]
    assert order["payment_id"] in [p["id"] for p in shop.get("payments", "/api/v1/payments?limit=5")["items"]]


@shows("OMS-EP-14", "M-12")
def refunds_never_exceed_the_payment(shop):
    order = shop.order()
    path = f"/api/v1/payments/{order['payment_id']}/refund"
    before = shop.value("payments", "refunds_processed_total")
    shop.ask("POST", "payments", path, "operator", 201, json={"amount": 100})
    shop.ask("POST", "payments", path, "operator", 409, json={"amount": order["total"]})
    results, lock = [], threading.Lock()

    def refund():
        answer = shop.ask("POST", "payments", path, "operator", (201, 409, 503), json={"amount": order["total"] - 100})
        with lock:
            results.append(answer.status_code)

    threads = [threading.Thread(target=refund) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == [201] + [409] * 5
    assert shop.get("payments", "/api/v1/payments/" + order["payment_id"])["refunded"] == order["total"]
    assert shop.value("payments", "refunds_processed_total") == before + 2


@shows("OMS-EP-16", "OMS-EP-17", "OMS-EP-18", "OMS-EP-19", "OMS-EP-20", "M-15", "M-16", "M-18")
def a_user_registers_logs_in_and_changes_his_profile(shop):
    email, password = f"{uuid.uuid4().hex[:10]}@orrery.test", "a good password"
    counts = [shop.value("users", name) for name in ("users_registered_total", "login_attempts_total", "jwt_tokens_issued_total")]
    user = shop.ask("POST", "users", "/api/v1/users/register", None, 201, json={"email": email, "password": password}).json()
    shop.ask("POST", "users", "/api/v1/users/register", None, 409, json={"email": email.upper(), "password": password})
    shop.ask("POST", "users", "/api/v1/users/login", None, 401, json={"email": email, "password": "another password"})
    login = shop.ask("POST", "users", "/api/v1/users/login", None, json={"email": email, "password": password}).json()
    bearer = {"Authorization": "Bearer " + login["access_token"]}
    me = shop.ask("GET", "users", "/api/v1/users/me", None, headers=bearer).json()
    assert (me["id"], me["role"]) == (user["id"], "customer")
    path = "/api/v1/users/" + user["id"]
    seen = shop.ask("GET", "users", path, None, headers=bearer)
    changed = shop.ask("PUT", "users", path, None, headers=bearer, json={"version": seen.json()["version"], "name": "Ada"})
    assert changed.json()["name"] == "Ada"
    shop.ask("PUT", "users", path, None, 409, headers=bearer, json={"version": seen.json()["version"], "name": "Bob"})
    shop.ask("PUT", "users", path, None, 403, headers=bearer, json={"version": changed.json()["version"], "role": "admin"})
    shop.ask("GET", "users", path, "demo", 404)
    after = [shop.value("users", name) for name in ("users_registered_total", "login_attempts_total", "jwt_tokens_issued_total")]
    assert after[0] == counts[0] + 1 and after[1] >= counts[1] + 2 and after[2] >= counts[2] + 1


@shows("OMS-EP-21")
def administrators_list_users(shop):
    shop.ask("GET", "users", "/api/v1/users", "operator", 403)
    found = shop.get("users", "/api/v1/users?role=admin", "admin")["items"]
    assert found and all(user["role"] == "admin" for user in found) and "password_hash" not in found[0]


@shows("OMS-EP-22", "M-14")
def users_speaks_micrometer(shop):
    found = samples(shop.lab.metrics("users", "/actuator/prometheus"), "http_server_requests_seconds_count")
    assert found and {"method", "uri", "status"} <= set(found[0].labels)


@shows("OMS-EP-23", "OMS-EP-24", "OMS-EP-25")
def notifications_are_sent_listed_and_read(shop):
    sent = shop.ask("POST", "notifications", "/api/v1/notifications/send", "operator", (201, 202), json={
        "user_id": DEMO, "channel": "email", "recipient": "demo@orrery.test", "subject": "A word", "body": "about it"}).json()
    assert sent["id"] in [row["id"] for row in shop.get("notifications", "/api/v1/notifications?limit=5")["items"]]
    assert shop.get("notifications", "/api/v1/notifications/" + sent["id"])["subject"] == "A word"


# --- data -----------------------------------------------------------------------------------

@shows("DB-01", "S-05", "S-07")
def each_service_has_tables_and_a_role_of_its_own(shop):
    lab = shop.lab
    for service in SERVICES:
        assert lab.one("select count(*) from information_schema.tables where table_schema = %s", service) > 0
        role = f"oms_{service}"
        assert lab.sql("select rolsuper, rolcreatedb, rolcreaterole from pg_roles where rolname = %s", role) == [(False,) * 3]
        for other in set(SERVICES) - {service}:
            assert not lab.one("select has_schema_privilege(%s, %s, 'usage')", role, other), (service, other)
    conf = "".join(file.read_text() for file in (CHECKOUT / "conf").rglob("*") if file.is_file())
    for name in ("JWT_SECRET", "POSTGRES_URL"):
        value = (lab.state / f"service/orders/env/ORRERY_{name}").read_text().strip()
        assert value not in conf


@shows("DB-02")
def redis_has_five_uses(shop):
    url = (shop.lab.state / "service/orders/env/ORRERY_REDIS_URL").read_text().strip()
    shop.lab.tokens.pop("demo@orrery.test", None)
    order = shop.order()
    shop.ask("POST", "users", "/api/v1/users/login", None, 401, json={"email": "demo@orrery.test", "password": "wrong-password"})
    shop.get("orders", "/api/v1/orders/" + order["id"])
    shop.get("inventory", "/api/v1/inventory/SKU-0005")
    shop.ask("POST", "notifications", "/api/v1/notifications/send", "operator", (201, 202), json={
        "user_id": DEMO, "channel": "email", "recipient": "demo@orrery.test", "subject": "A", "body": "b"})
    keys = subprocess.run(["redis-cli", "-u", url, "--scan"], check=True, text=True, stdout=subprocess.PIPE).stdout
    for use in ("users:session", "orders:order", "inventory:item", "payments:once", "notifications:rate"):
        assert use in keys, use


# --- series ---------------------------------------------------------------------------------

def series_of(row):
    """One row of metrics_test, which says service, sample and labels."""
    def check(shop):
        shop.order()
        shop.ask("GET", "notifications", "/api/v1/notifications")
        for name in metrics_test.ROWS:
            if name.split(" ")[0] != row:
                continue
            service, sample, labels, _ = metrics_test.ROWS[name]
            found = wait_until(lambda: samples(shop.lab.metrics(service), sample), what=sample)
            assert all(labels <= set(s.labels) for s in found)
    return check


for metric in [f"M-{n:02d}" for n in range(1, 24)]:
    if metric not in ("M-12", "M-14", "M-15", "M-16", "M-18"):
        shows(metric)(series_of(metric))


@shows("M-24")
def all_four_kinds_of_instrument_are_there(shop):
    shop.order()
    kinds = {family.type for service in SERVICES for family in prometheus(shop.lab.metrics(service))}
    assert {"counter", "gauge", "histogram", "summary"} <= kinds
    assert {s.labels["quantile"] for s in samples(shop.lab.metrics("payments"), "payment_gateway_latency_quantiles_seconds")
            if "quantile" in s.labels} == {"0.5", "0.9", "0.99"}


@shows("M-25")
def rates_errors_and_quantiles_follow_from_the_series(shop):
    def counts():
        found = samples(shop.lab.metrics("orders"), "http_requests_total")
        return (sum(s.value for s in found), sum(s.value for s in found if s.labels["status"][0] in "45"))
    began, (all_before, bad_before) = time.monotonic(), counts()
    for _ in range(3):
        shop.order()
    shop.ask("GET", "orders", f"/api/v1/orders/{uuid.uuid4()}", status=404)
    all_after, bad_after = counts()
    rate = (all_after - all_before) / (time.monotonic() - began)
    assert rate > 0 and 0 < (bad_after - bad_before) / (all_after - all_before) < 1
    buckets = [s for s in samples(shop.lab.metrics("orders"), "http_request_duration_seconds_bucket")
               if s.labels["endpoint"] == "/api/v1/orders" and s.labels["method"] == "POST"]
    assert max(s.value for s in buckets) > 0 and "+Inf" in [s.labels["le"] for s in buckets]
    assert shop.value("orders", "orders_created_total") > 0


@shows("M-28")
def replicas_can_be_told_apart(shop):
    replicas = Replicas(shop.lab, ("orders",))
    try:
        def instances():
            with shop.collector.lock:
                return {span.resource["service.instance.id"] for span in shop.collector.spans
                        if span.service == "orders" and span.name == "GET /api/v1/orders" and span.start > began}
        began = time.time_ns()
        for url in (shop.lab.url("orders"), replicas.url("orders")):
            requests.get(url + "/api/v1/orders", headers=shop.lab.headers(), timeout=10)
        wait_until(lambda: len(instances()) == 2, what="two instances")
    finally:
        replicas.end()


# --- logs -----------------------------------------------------------------------------------

@shows("L-01", "L-02", "L-10")
def a_line_leads_to_its_trace(shop):
    refused = shop.lab.order(card={"number": "4000000000000002"})
    trace = refused.json()["trace_id"]
    lines = wait_until(lambda: [line for line in shop.lab.log_lines("orders") if line.get("trace_id") == trace
                                and line.get("order_id") == refused.json()["order_id"]], what="the line")
    assert {"timestamp", "level", "service", "message", "trace_id", "span_id", "order_id", "error"} <= set(lines[0])


# --- the edge -------------------------------------------------------------------------------

@contextlib.contextmanager
def serving(host):
    try:
        yield host
    finally:
        host.end()


@shows("OMS-SV-07")
def the_gateway_finds_the_service_shares_its_load_and_tells_of_it(shop):
    way_in, operators = shop.lab.url("gateway"), shop.lab.url("gateway_admin")
    for service in SERVICES:
        path = f"/api/v1/{service}" + ("/me" if service == "users" else "?limit=1")
        direct = shop.get(service, path)
        through = requests.get(way_in + path, headers=shop.lab.headers(), timeout=10)
        assert (through.status_code, through.json().keys()) == (200, direct.keys())
    assert requests.get(way_in + "/metrics", timeout=10).status_code == 404
    found = samples(requests.get(operators + "/metrics", timeout=10).text, "http_requests_total")
    assert {("/api/v1/" + service, "200") for service in SERVICES} <= {
        (sample.labels["endpoint"], sample.labels["status"]) for sample in found}
    assert "gateway" in requests.get(operators + "/", timeout=10).text
    both = Upstream(), Upstream()
    with serving(gateway(shop.folder, declaration(",".join(one.url for one in both)))) as host:
        for number in range(10):
            assert host.get(f"/turn/{number}").status_code == 200
    assert [len(one.requests) for one in both] == [5, 5], "in turn"
    for one in both:
        one.close()


@shows("S-02")
def clients_come_by_tls(shop):
    cert, key = certificate(shop.folder)
    with serving(gateway(shop.folder, declaration(shop.lab.url("orders")), "--tls_certificate", str(cert),
                         "--tls_key", str(key), "--admin_port", str(free_port()), wait=False)) as host:
        def listed():
            with contextlib.suppress(requests.ConnectionError):
                return requests.get(f"https://127.0.0.1:{host.port}/api/v1/orders?limit=1", verify=str(cert),
                                    headers=shop.lab.headers(), timeout=10)
        assert wait_until(listed, what="the gateway").status_code == 200
        with pytest.raises(requests.ConnectionError):
            host.get("/api/v1/orders")
    assert "ORRERY_TLS_CERTIFICATE" in shop.read("compose.yaml compose.tls.yaml")["services"]["gateway"]["environment"]


@shows("S-04")
def who_registers_too_often_is_refused_and_others_are_not(shop):
    host, port = shop.lab.url("gateway").removeprefix("http://").split(":")
    client = f"127.{random.randint(1, 250)}.{random.randint(1, 250)}.{random.randint(2, 250)}"

    def register(address):
        with contextlib.closing(http.client.HTTPConnection(host, int(port), timeout=10, source_address=(address, 0))) as c:
            c.request("POST", "/api/v1/users/register", "{}", {"Content-Type": "application/json"})
            return c.getresponse()
    began = time.monotonic()
    answers = [register(client) for _ in range(90)]
    passed = [answer.status for answer in answers].count(422)
    assert 60 <= passed <= 61 + time.monotonic() - began
    assert {answer.status for answer in answers} == {422, 429}
    assert all(int(answer.getheader("Retry-After")) >= 1 for answer in answers if answer.status == 429)
    assert register("127.0.0.1").status == 422


# --- the containers -------------------------------------------------------------------------

def guide(heading):
    """A section of the deployment guide."""
    text = (CHECKOUT / "compose/README.md").read_text()
    return re.search(rf"^## {heading}\n(.*?)(?=^## |\Z)", text, re.M | re.S)[1]


def conf(path):
    return yaml.safe_load((CHECKOUT / "conf" / path).read_text())


@shows("M-26")
def every_exporter_is_scraped_at_its_port(shop):
    services = shop.read(compose_test.WHOLE)["services"]
    scraped = dict(compose_test.scraped())
    for name, port in (("postgres-exporter", 9187), ("redis-exporter", 9121), ("rabbitmq-exporter", 9419),
                       ("cadvisor", 8081), ("gateway", 8080)):
        assert services[name]["ports"][-1].split(":")[1:] == [str(port), f"{scraped[name]}/tcp"], name
    assert scraped["node-exporter"] == 9100


@shows("M-27")
def machine_containers_interface_and_business_are_measured(shop):
    services = shop.read(compose_test.WHOLE)["services"]
    assert "/:/host:ro,rslave" in services["node-exporter"]["volumes"]
    assert "/var/lib/docker:/var/lib/docker:ro" in services["cadvisor"]["volumes"]
    shop.order()
    for name in ("http_requests_total", "orders_created_total"):
        assert shop.value("orders", name) > 0


@shows("S-01")
def the_firewall_between_two_machines_is_told(shop):
    rows = {tuple(cell.strip() for cell in line.split("|")[1:3]): line.split("|")[3]
            for line in guide("Two machines").splitlines() if line.startswith("|")}

    def ports(*way):
        return set(re.findall(r"\d+(?:-\d+)?", rows[way]))
    assert ports("shop", "watchers") == {"3100", "4317"}
    assert ports("watchers", "shop") == {"8001-8005", "9100", "8081", "9187", "9121", "9419"}


@shows("S-06")
def a_database_without_tls_is_refused_where_tls_is_asked_for(shop):
    url = (shop.lab.state / "service/orders/env/ORRERY_POSTGRES_URL").read_text().strip()
    for mode, status in (("prefer", 200), ("require", 503)):
        with serving(Host(HELLO, ORRERY_ROOT=str(CHECKOUT), ORRERY_POSTGRES_URL=f"{url}?sslmode={mode}")) as host:
            assert wait_until(lambda: host.get("/ready").status_code == status, what=mode)
            assert status == 200 or "SSL" in host.get("/ready").text
    for name, body in shop.read("compose.yaml")["services"].items():
        for variable, value in body.get("environment", {}).items():
            if re.match("ORRERY_POSTGRES.*_URL", variable):
                assert value.endswith("?sslmode=prefer"), name


@shows("S-08")
def secrets_may_come_from_a_manager(shop):
    assert "secret manager" in guide("Secrets") and "environment only" in guide("Secrets")


@shows("S-09")
def containers_run_as_nobody_in_particular(shop):
    services = shop.read(compose_test.WHOLE)["services"]
    assert {name for name, body in services.items() if str(body["user"]).split(":")[0] in ("0", "root")} == {
        "alloy", "cadvisor"}, "who reads the machine's engine"
    assert all(services[name]["user"] == "10001:10001" for name in (*SERVICES, "gateway", "acquirer"))


@shows("S-11")
def production_is_told_from_the_lab(shop):
    rows = {line.split("|")[1].strip(): line.split("|")[2:4] for line in guide("Lab and production").splitlines()
            if line.startswith("|")}
    for row, word in (("metrics", "firewall"), ("database", "secret manager"), ("entry", "TLS from a CA, a WAF"),
                      ("entry", "floods"), ("logs", "personal data filtered"), ("alerts", "receiver")):
        assert word in rows[row][1] and rows[row][0].strip(), row


@shows("L-03", "L-05")
def what_containers_print_goes_to_loki_and_is_seen_in_grafana(shop):
    services = shop.read(compose_test.WHOLE)["services"]
    assert {services[name]["logging"]["driver"] for name in (*SERVICES, "gateway")} == {"json-file"}
    alloy = (CHECKOUT / "conf/alloy/config.alloy").read_text()
    assert 'loki.source.docker "shop"' in alloy and '"LOKI_URL") + "/loki/api/v1/push"' in alloy
    assert services["alloy"]["environment"]["LOKI_URL"] == compose_test.sources()["loki"]["url"] == "http://loki:3100"
    assert conf("loki/loki.yaml")["server"]["http_listen_port"] == 3100


@shows("L-11")
def a_line_opens_its_trace_and_a_span_its_lines(shop):
    found = compose_test.sources()
    to_trace, = found["loki"]["jsonData"]["derivedFields"]
    assert (to_trace["matcherRegex"], to_trace["datasourceUid"]) == ("trace_id", "tempo")
    to_logs = found["tempo"]["jsonData"]["tracesToLogsV2"]
    assert (to_logs["datasourceUid"], to_logs["filterByTraceID"]) == ("loki", True)
    trace = uuid.uuid4().hex
    requests.get(shop.lab.url("gateway", "/api/v1/orders"), timeout=10, headers=shop.lab.headers(
        traceparent=f"00-{trace}-{'b7' * 8}-01"))
    alloy = (CHECKOUT / "conf/alloy/config.alloy").read_text()
    read_by_alloy = set(re.findall(r'= "(\w+)"', re.search(r"expressions = \{(.*?)\}", alloy, re.S)[1]))
    assert "trace_id" in read_by_alloy
    for service in ("gateway", "orders"):
        lines = wait_until(lambda: [line for line in shop.lab.log_lines(service) if line.get("trace_id") == trace],
                           what=f"a line of {service}")
        assert read_by_alloy <= set(lines[0])


@shows("L-12")
def the_lab_logs_all_levels_and_production_less(shop):
    services = shop.read("compose.yaml")["services"]
    assert {services[name]["environment"]["ORRERY_LOG_LEVEL"] for name in (*SERVICES, "gateway")} == {"debug"}
    assert "stage.replace" in guide("Personal data in logs") and "client.address" in guide("Personal data in logs")
    file = shop.folder / "loud.lua"
    file.write_text("""
local app, log = require "app", require "log"
local s = app.service "loud"
s:get("/say", function()
  for _, level in ipairs { "debug", "info", "warn", "error" } do log[level]("as " .. level) end
  return 200
end)
return s
""")
    with serving(Host(file, ORRERY_ROOT=str(CHECKOUT), ORRERY_LOG_LEVEL="debug")) as host:
        assert host.get("/say").status_code == 200
        wait_until(lambda: {"as debug", "as info", "as warn", "as error"} <= {
            line["message"] for line in host.lines()}, what="four lines")


# --- the table ------------------------------------------------------------------------------

@pytest.mark.parametrize("requirement", sorted(SHOWN))
def test_the_lab_does(shop, collector, requirement):
    shop.collector = collector
    SHOWN[requirement](shop)


def test_every_requirement_is_shown_or_named_elsewhere():
    named = elsewhere()
    assert sorted(set(named) & set(SHOWN)) == [], "both shown and named elsewhere"
    assert sorted(set(ALL) - set(SHOWN) - set(named)) == [], "neither"
    assert sorted(set(named) - set(ALL)) == [], "unknown"
