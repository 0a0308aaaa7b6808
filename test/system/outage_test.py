# SPDX-License-Identifier: MIT
"""Stores that die: nothing accepted is lost, what cannot be done is said promptly."""
import threading
import time

import requests

from lab import wait_until


def confirmed_since(lab, moment):
    return {str(row[0]) for row in lab.sql("select id from orders.orders where status = 'processing'"
                                          " and created_at > %s", moment)}


def notified(lab, orders):
    rows = lab.sql("select order_id::text, count(*) from notifications.notifications"
                   " where order_id::text = any(%s) group by 1", list(orders))
    return dict(rows)


def test_events_survive_the_death_of_the_broker(any_lab):
    lab = any_lab
    lab.token()
    moment = lab.one("select clock_timestamp()")
    stop, statuses = threading.Event(), []

    def place():
        session = requests.Session()
        while not stop.is_set():
            statuses.append(lab.order([{"sku": "SKU-0060", "quantity": 1}], session=session).status_code)

    lab.set_stock("SKU-0060", 100000)
    threads = [threading.Thread(target=place) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        wait_until(lambda: statuses.count(201) >= 20, 30, "orders with a broker")
        lab.command("kill", "rabbitmq")
        seen = statuses.count(201)
        wait_until(lambda: statuses.count(201) >= seen + 20, 30, "orders without a broker")
    finally:
        lab.command("start", "rabbitmq")
        stop.set()
        for thread in threads:
            thread.join()
    assert set(statuses) == {201}

    orders = confirmed_since(lab, moment)
    assert len(orders) == len(statuses)
    wait_until(lambda: len(notified(lab, orders)) == len(orders), 90, "a notification for each order")
    assert set(notified(lab, orders).values()) == {1}, "once in effect"
    wait_until(lab.settled, 90, "the sales")
    on_hand, reserved = lab.stock("SKU-0060")
    assert (on_hand, reserved) == (100000 - len(orders), 0)


def test_a_dead_database_is_a_prompt_503_and_comes_back_by_itself(any_lab):
    lab = any_lab
    headers = lab.headers()
    order = lab.order().json()["id"]
    lab.command("kill", "postgres")
    try:
        for service, path in (("payments", "/api/v1/payments/order/" + order),
                              ("notifications", "/api/v1/notifications")):
            began = time.monotonic()
            answer = requests.get(lab.url(service, path), headers=headers, timeout=10)
            took = time.monotonic() - began
            assert answer.status_code == 503, (service, answer.text)
            assert answer.headers["Content-Type"] == "application/problem+json"
            assert answer.json()["kind"] in ("unavailable", "uncertain")
            assert took < 3, (service, took)
        placed = lab.order()
        assert placed.status_code == 503 and placed.json()["kind"] in ("unavailable", "uncertain")
        assert requests.get(lab.url("orders", "/ready"), timeout=5).status_code == 503
        assert requests.get(lab.url("orders", "/health"), timeout=5).status_code == 200
        down = [d for d in requests.get(lab.url("orders", "/ready"), timeout=5).json()["dependencies"]
                if d["status"] == "down"]
        assert [d["name"] for d in down] == ["postgres"]
    finally:
        pids = lab.pids()
        lab.command("start", "postgres")
    wait_until(lambda: all(lab.ready(s) for s in ("orders", "inventory", "payments", "users",
                                                  "notifications")), 30, "readiness")
    wait_until(lambda: lab.order().status_code == 201, 20, "an order")
    now = lab.pids()
    assert {s: now[s] for s in ("orders", "payments")} == {s: pids[s] for s in ("orders", "payments")}, \
        "no process was restarted"
