# SPDX-License-Identifier: MIT
"""The auditor of the books sees what is wrong: each rule, on books that were spoilt on purpose."""
import psycopg2
import pytest
import requests

import books
from lab import wait_until

ORDER = "(select id from orders.orders where status = 'processing' order by seq desc limit 1)"
SKU = "SKU-0001"

# rule -> what spoils the books (rolled back afterwards)
SPOILT = {
    "no_order_is_left_in_between": f"update orders.orders set status = 'pending' where id = {ORDER}",
    "no_payment_is_left_in_between": f"update payments.payments set status = 'uncertain' where order_id = {ORDER}::text",
    "stock_is_what_its_movements_say": f"update inventory.stock set on_hand = on_hand + 1 where sku = '{SKU}'",
    "stock_is_conserved": f"insert into inventory.movements (sku, warehouse, quantity, reason)"
                          f" values ('{SKU}', 'east', 5, 'found')",
    "nothing_is_held_for_an_order_that_is_settled":
        f"update inventory.holds set state = 'held' where order_id = {ORDER}::text",
    "every_confirmed_order_has_one_payment": f"update orders.orders set payment_id = gen_random_uuid() where id = {ORDER}",
    "money_without_a_confirmed_order_was_given_back":
        f"update orders.orders set status = 'cancelled', cancelled_at = now() where id = {ORDER}",
    "the_acquirer_charged_what_payments_knows_of":
        "update acquirer.authorizations set captured_amount = captured_amount - 1 where captured_amount > 1",
    "no_money_stays_reserved": "update acquirer.authorizations set state = 'authorized', captured_amount = 0"
                               " where state = 'captured' and refunded_amount = 0",
    "each_refund_was_made_once": "update payments.payments set refunded = 1 where status = 'captured'",
    "every_confirmed_order_was_told": "delete from notifications.notifications",
    "nobody_was_told_twice": "alter table notifications.notifications drop constraint notifications_once;"
                             "insert into notifications.notifications (id, event_id, user_id, order_id, type, template,"
                             " recipient, subject, body, status) select gen_random_uuid(), event_id, user_id, order_id, type,"
                             " template, recipient, subject, body, status from notifications.notifications"
                             " where template = 'order_created'",
    "every_event_is_published": "insert into orders.outbox (id, routing_key, body) values (gen_random_uuid(), 'x', '{}')",
}

# rule -> an answer that was never true
TOLD = {
    "an_order_that_was_promised_is_there": {"op": "place", "key": "k", "status": 201, "request": {"items": []},
                                            "body": {"id": "00000000-0000-4000-8000-00000000dead", "total": 1}},
    "what_was_cancelled_stays_cancelled": {"op": "cancel", "status": 200, "order": None, "body": {}},
    "what_was_shipped_stays_shipped": {"op": "ship", "status": 200, "order": None, "body": {}},
    "a_refund_that_was_promised_is_made": {"op": "refund", "status": 201,
                                           "body": {"id": "00000000-0000-4000-8000-00000000dead"}},
    "a_refusal_was_meant": {"op": "place", "key": "k", "status": 402, "request": {"items": []}, "body": {"order_id": None}},
}


@pytest.fixture(scope="module")
def connection(books_lab):
    lab = books_lab
    assert lab.order([{"sku": SKU, "quantity": 1}]).status_code == 201
    connection = psycopg2.connect(lab.env["ORRERY_POSTGRES_ADMIN_URL"])
    wait_until(lambda: books.contradictions(lab.env["ORRERY_POSTGRES_ADMIN_URL"]) == [], 90,
               lambda: f"books that agree: {books.contradictions(lab.env['ORRERY_POSTGRES_ADMIN_URL'])}")
    yield connection
    connection.close()


def broken_rules(connection, responses=()):
    return {text.split(":", 1)[0] for text in books.audit(connection, responses)}


@pytest.mark.parametrize("rule", SPOILT)
def test_it_sees_that(connection, rule):
    try:
        connection.cursor().execute(SPOILT[rule])
        assert rule in broken_rules(connection)
    finally:
        connection.rollback()


@pytest.mark.parametrize("rule", TOLD)
def test_it_sees_an_answer_that_is_not_true(connection, rule):
    cursor = connection.cursor()
    cursor.execute(f"select id::text from orders.orders where id = {ORDER}")
    order = cursor.fetchone()[0]
    entry = {**TOLD[rule]}
    if "order" in entry:
        entry["order"] = order
    if entry["body"].get("order_id", "") is None:
        entry["body"] = {"order_id": order}
    assert rule in broken_rules(connection, [entry])
    connection.rollback()


def test_staff_may_give_back_the_money_of_an_order_that_goes_on(books_lab, connection):
    url, operator = books_lab.env["ORRERY_POSTGRES_ADMIN_URL"], books_lab.token("operator@orrery.test", "operator-password")
    for body in ({"amount": 100}, {}):
        payment = books_lab.order([{"sku": SKU, "quantity": 1}]).json()["payment_id"]
        done = requests.post(books_lab.url("payments", f"/api/v1/payments/{payment}/refund"), json=body, timeout=10,
                             headers={"Authorization": "Bearer " + operator, "Idempotency-Key": payment})
        assert done.status_code == 201, done.text
    wait_until(lambda: books.contradictions(url) == [], 60, lambda: f"books that agree: {books.contradictions(url)}")


def test_it_sees_two_orders_of_one_key_and_two_answers_of_one_adjustment(connection):
    place = [{"op": "place", "key": "k", "status": 201, "request": {"items": []}, "body": {"id": name, "total": 1}}
             for name in "ab"]
    adjust = [{"op": "adjust", "key": "k", "status": 201, "request": {"sku": SKU, "warehouse": "east",
               "quantity": 1}, "body": {"on_hand": n}}
              for n in (1, 2)]
    assert {"one_key_made_one_order", "an_adjustment_counts_once"} <= broken_rules(connection, place + adjust)
    connection.rollback()


def test_every_rule_was_tried():
    tried = {*SPOILT, *TOLD, "one_key_made_one_order", "an_adjustment_counts_once"}
    assert tried == {rule.__name__ for rule in books.RULES}
