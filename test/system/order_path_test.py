# SPDX-License-Identifier: MIT
"""An order, from the words that `up` prints to the toast that its customer sees."""
import json
import re
import subprocess

import pytest
import requests


import ws_client
from lab import wait_until


def printed_commands(lab):
    """The lines behind 'Place an order and read it back:'."""
    words = lab.command("up").stdout
    return words.split("Place an order and read it back:", 1)[1].strip()


def test_the_printed_lines_work_as_printed(lab):
    before, _ = lab.stock("SKU-0001")
    done = subprocess.run(["bash", "-c", printed_commands(lab)], text=True, timeout=60,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert done.returncode == 0, done.stderr
    order = json.loads(done.stdout.strip().splitlines()[-1])
    assert order["status"] == "processing"
    assert "HTTP/1.1 201 Created" in done.stdout
    assert lab.one("select status from payments.payments where order_id = %s", order["id"]) == "captured"
    wait_until(lambda: lab.one("select count(*) from notifications.notifications where order_id = %s",
                               order["id"]) == 1, what="a notification")
    wait_until(lambda: lab.stock("SKU-0001")[0] == before - 2, what="the sale")


def test_an_order_answers_as_the_contract_says(lab):
    answer = lab.order([{"sku": "SKU-0002", "quantity": 3}, {"sku": "SKU-0003", "quantity": 1}])
    assert answer.status_code == 201, answer.text
    order = answer.json()
    assert answer.headers["Location"] == "/api/v1/orders/" + order["id"]
    assert {"id", "status", "items", "total", "currency", "payment_id", "created_at"} <= set(order)
    assert order["total"] == sum(i["quantity"] * i["unit_price"] for i in order["items"])
    again = requests.get(lab.url("orders", answer.headers["Location"]), headers=lab.headers(), timeout=10)
    assert again.status_code == 200
    assert again.json()["total"] == order["total"]
    payment = requests.get(lab.url("payments", "/api/v1/payments/" + order["payment_id"]),
                           headers=lab.headers(), timeout=10).json()
    assert payment["amount"] == order["total"]


def test_a_websocket_client_gets_the_event(any_lab):
    lab = any_lab
    url = lab.url("notifications", "/ws").replace("http", "ws", 1) + "?access_token=" + lab.token()
    with ws_client.connect(url) as socket:
        order = lab.order().json()
        message = wait_until(lambda: mine(json.loads(socket.recv(timeout=20)), order))
    assert message["type"] == "order.created"


def mine(message, order):
    """The message, when it is about this order: earlier ones may still be on their way."""
    return message if message.get("order_id") == order["id"] else None


def test_a_websocket_without_a_token_is_refused(lab):
    url = lab.url("notifications", "/ws").replace("http", "ws", 1)
    with pytest.raises(Exception) as raised:
        with ws_client.connect(url):
            pass
    assert "401" in str(raised.value)


def test_the_same_key_gives_the_same_order(lab):
    first, second = (lab.order(key="the-same-key-" + lab.env["ORRERY_PORT_BASE"]) for _ in range(2))
    assert first.status_code == second.status_code == 201
    assert first.json()["id"] == second.json()["id"]
    other = lab.order([{"sku": "SKU-0004", "quantity": 1}],
                      key="the-same-key-" + lab.env["ORRERY_PORT_BASE"])
    assert other.status_code == 422


@pytest.mark.parametrize("number, status", [
    ("4000000000000002", 402), ("4000000000009995", 402), ("4000000000000119", 502),
])
def test_a_card_that_fails_leaves_nothing_behind(lab, number, status):
    before = lab.stock("SKU-0010")
    answer = lab.order([{"sku": "SKU-0010", "quantity": 1}], card={"number": number})
    problem = answer.json()
    assert answer.headers["Content-Type"] == "application/problem+json"
    if status == 402:
        assert answer.status_code == 402 and problem["kind"] == "refused"
    else:  # the network's own error: the money may or may not have moved, or surely has not
        assert answer.status_code in (502, 503), answer.text
    assert re.fullmatch("[0-9a-f]{32}", problem["trace_id"])
    if status == 402:
        assert lab.stock("SKU-0010") == before
        assert lab.one("select status from orders.orders where id = %s", problem["order_id"]) == "cancelled"


def test_a_new_customer_can_register_log_in_and_buy(lab):
    import uuid
    email = f"new-{uuid.uuid4()}@orrery.test"
    body = {"email": email, "password": "long enough", "name": "New"}
    answer = requests.post(lab.url("users", "/api/v1/users/register"), json=body, timeout=10)
    assert answer.status_code == 201, answer.text
    assert requests.post(lab.url("users", "/api/v1/users/register"), json=body,
                         timeout=10).status_code == 409
    token = lab.token(email, "long enough")
    me = requests.get(lab.url("users", "/api/v1/users/me"), timeout=10,
                      headers={"Authorization": "Bearer " + token})
    assert me.json()["email"] == email
    order = requests.get(lab.url("orders", "/api/v1/orders/" + lab.order().json()["id"]),
                         headers={"Authorization": "Bearer " + token}, timeout=10)
    assert order.status_code == 404  # somebody else's
