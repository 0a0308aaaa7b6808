# SPDX-License-Identifier: MIT
"""What is left in between is brought to an end: payments whose outcome nobody heard, holds that ran
out before they were sold, refunds that failed at first."""
import time
import uuid

import pytest
import requests

from crash import BOUND_S
from lab import wait_until

LATE = {"authorization": "4000000000004087", "capture": "4000000000004095"}
FAILING_REFUND = "4000000000005035"
AGAIN, LOST = "SKU-0071", "SKU-0072"


def status(lab, order):
    return lab.one("select status from orders.orders where id = %s", order)


def refunded(lab, order):
    return lab.sql("select p.amount, p.refunded from payments.payments p join orders.orders o on o.payment_id = p.id"
                   " where o.id = %s", order)[0]


@pytest.fixture(scope="module")
def left(started_lab):
    """Leaves everything in between at once: waiting for one is waiting for all."""
    lab, found = started_lab, {"keys": {}}
    wait_until(lab.settled, BOUND_S, "rest")
    for what, number in LATE.items():
        key = str(uuid.uuid4())
        answer = lab.order(card={"number": number}, key=key)
        assert answer.status_code == 503 and answer.json()["kind"] == "uncertain", answer.text
        found[what], found["keys"][what] = answer.json()["order_id"], key
        assert status(lab, found[what]) == "pending"
    found["began"] = time.monotonic()

    refund = lab.order(card={"number": FAILING_REFUND}).json()["id"]
    found["refund"] = refund
    gone = requests.delete(lab.url("orders", f"/api/v1/orders/{refund}"), headers=lab.headers(), timeout=20)
    assert gone.status_code == 200 and gone.json()["status"] == "cancelled", gone.text

    lab.set_stock(AGAIN, 100)
    lab.set_stock(LOST, 1)
    lab.command("kill", "rabbitmq")
    try:
        for what, sku in (("again", AGAIN), ("lost", LOST)):
            answer = lab.order([{"sku": sku, "quantity": 1}])
            assert answer.status_code == 201, answer.text
            found[what] = answer.json()["id"]
            lab.sql("update inventory.holds set expires_at = now() where order_id = %s", found[what])
        wait_until(lambda: lab.sql("select state from inventory.holds where order_id in (%s, %s)", found["again"],
                                   found["lost"]) == [("expired",)] * 2, 30, "the end of the holds")
        assert lab.stock(AGAIN) == (100, 0), "what is not held any more can be sold"
        other = lab.order([{"sku": LOST, "quantity": 1}])
        assert other.status_code == 201, "and somebody else buys the last one"
        found["other"] = other.json()["id"]
    finally:
        lab.command("start", "rabbitmq")
    return found


def test_an_expired_hold_of_a_paid_order_is_reserved_again(lab, left):
    wait_until(lambda: lab.one("select state from inventory.holds where order_id = %s", left["again"]) == "sold",
               BOUND_S, "the sale")
    assert status(lab, left["again"]) == "processing" and lab.stock(AGAIN) == (99, 0)


def test_where_there_is_no_stock_any_more_the_order_is_cancelled_and_refunded(lab, left):
    wait_until(lambda: status(lab, left["lost"]) == "cancelled", BOUND_S, "the cancellation")
    wait_until(lambda: refunded(lab, left["lost"])[0] == refunded(lab, left["lost"])[1], BOUND_S, "the money")
    wait_until(lambda: lab.stock(LOST) == (0, 0), BOUND_S, "the other sale")
    assert status(lab, left["other"]) == "processing"


def test_a_refund_that_fails_at_first_is_made_in_the_end(lab, left):
    wait_until(lambda: refunded(lab, left["refund"])[0] == refunded(lab, left["refund"])[1], BOUND_S, "the money")
    wait_until(lambda: lab.one("select compensation from orders.orders where id = %s", left["refund"]) is None,
               BOUND_S, "the order's word for it")


@pytest.mark.parametrize("what", LATE)
def test_a_payment_nobody_heard_of_ends_within_the_bound(lab, left, what):
    wait_until(lambda: status(lab, left[what]) != "pending", BOUND_S - (time.monotonic() - left["began"]), "the end")
    assert status(lab, left[what]) == "processing"
    assert lab.sql("select status from payments.payments where order_id = %s", left[what]) == [("captured",)]
    again = lab.order(card={"number": LATE[what]}, key=left["keys"][what])
    assert again.status_code == 201 and again.json()["id"] == left[what], "the same key tells how it ended"
