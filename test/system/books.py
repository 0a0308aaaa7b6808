#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Do the books of a lab agree, with one another and with what callers were told?

    books.py POSTGRES_URL [RESPONSES]

Reads databases and responses, nothing else. RESPONSES has one JSON object a line: op (place, cancel,
ship, adjust, refund), key or order, request, status (null: no answer), body. Prints each
contradiction, and ends with 1 if there is any. Meant for a lab that has come to rest.
"""
import collections
import json
import sys

import psycopg2

CONFIRMED = ("processing", "shipped", "delivered")
RULES = []


def rule(check):
    RULES.append(check)
    return check


class Books:
    """What the databases hold, read in one transaction, and what was answered."""

    def __init__(self, connection, responses=()):
        self.cursor = connection.cursor()
        self.responses = list(responses)
        self.orders = {row["id"]: row for row in self.rows(
            "select o.id::text, o.customer_id::text, o.status, o.total, o.currency, o.payment_id::text,"
            " o.compensation, o.idempotency_key from orders.orders o")}
        self.lines = collections.defaultdict(dict)
        for row in self.rows("select order_id::text, sku, sum(quantity)::int as n from orders.order_items group by 1, 2"):
            self.lines[row["order_id"]][row["sku"]] = row["n"]
        self.payments = self.rows(
            "select id::text, order_id, customer_id::text, status, amount, currency, refunded from payments.payments")
        self.by_key = {(row["customer_id"], row["idempotency_key"]): row for row in self.orders.values()}

    def rows(self, text):
        self.cursor.execute(text)
        names = [column.name for column in self.cursor.description]
        return [dict(zip(names, row)) for row in self.cursor.fetchall()]

    def answers(self, op):
        return [entry for entry in self.responses if entry["op"] == op]


def charged(payment):
    """Money that is with us still."""
    if payment["status"] in ("captured", "refunded"):
        return payment["amount"] - payment["refunded"]
    return 0


@rule
def no_order_is_left_in_between(books):
    for order in books.orders.values():
        if order["status"] == "pending":
            yield f"order {order['id']} is pending"
        if order["compensation"]:
            yield f"order {order['id']} has still to be undone: {order['compensation']}"


@rule
def no_payment_is_left_in_between(books):
    for payment in books.payments:
        if payment["status"] in ("pending", "uncertain"):
            yield f"payment {payment['id']} is {payment['status']}"
    for refund in books.rows("select id::text, status from payments.refunds where status in ('pending', 'uncertain')"):
        yield f"refund {refund['id']} is {refund['status']}"


@rule
def stock_is_what_its_movements_say(books):
    for row in books.rows(
            "select s.sku, s.warehouse, s.on_hand, s.reserved, coalesce(m.n, 0)::int as moved, coalesce(h.n, 0)::int as held"
            " from inventory.stock s"
            " left join (select sku, warehouse, sum(quantity) as n from inventory.movements group by 1, 2) m"
            "  using (sku, warehouse)"
            " left join (select l.sku, l.warehouse, sum(l.quantity) as n from inventory.hold_lines l"
            "  join inventory.holds h on h.id = l.hold_id where h.state = 'held' group by 1, 2) h using (sku, warehouse)"):
        if row["on_hand"] != row["moved"]:
            yield f"{row['sku']} in {row['warehouse']}: {row['on_hand']} on hand, its movements make {row['moved']}"
        if row["reserved"] != row["held"]:
            yield f"{row['sku']} in {row['warehouse']}: {row['reserved']} reserved, its holds make {row['held']}"
        if not 0 <= row["reserved"] <= row["on_hand"]:
            yield f"{row['sku']} in {row['warehouse']}: {row['reserved']} reserved of {row['on_hand']}"


@rule
def stock_is_conserved(books):
    """on hand + sold = seeded + adjusted, with sold read from the orders, not from the movements."""
    sold = collections.Counter()
    for order in books.orders.values():
        if order["status"] in CONFIRMED:
            sold.update(books.lines[order["id"]])
    for row in books.rows(
            "select s.sku, sum(s.on_hand)::int as on_hand, (select coalesce(sum(m.quantity), 0) from inventory.movements m"
            "  where m.sku = s.sku and m.reason not in ('sold', 'returned'))::int as given from inventory.stock s group by s.sku"):
        if row["on_hand"] + sold[row["sku"]] != row["given"]:
            yield (f"{row['sku']}: {row['on_hand']} on hand and {sold[row['sku']]} sold,"
                   f" of {row['given']} seeded and adjusted")


@rule
def nothing_is_held_for_an_order_that_is_settled(books):
    for hold in books.rows("select order_id, state from inventory.holds where state = 'held'"):
        status = books.orders.get(hold["order_id"], {}).get("status", "not there")
        yield f"stock is held for the order {hold['order_id']}, which is {status}"


@rule
def every_confirmed_order_has_one_payment(books):
    live = collections.defaultdict(list)
    for payment in books.payments:
        if payment["status"] in ("captured", "refunded"):  # staff may give back all of it, and the order goes on
            live[payment["order_id"]].append(payment)
    for order in books.orders.values():
        if order["status"] not in CONFIRMED:
            continue
        found = live[order["id"]]
        if [p["id"] for p in found] != [order["payment_id"]]:
            yield f"order {order['id']} is {order['status']} with the payments {[p['id'] for p in found]}"
        elif (found[0]["amount"], found[0]["customer_id"]) != (order["total"], order["customer_id"]):
            yield f"order {order['id']} of {order['total']} was paid with {found[0]['amount']} by {found[0]['customer_id']}"


@rule
def money_without_a_confirmed_order_was_given_back(books):
    for payment in books.payments:
        order = books.orders.get(payment["order_id"])
        if charged(payment) and (not order or order["status"] not in CONFIRMED):
            yield (f"payment {payment['id']} keeps {charged(payment)} for the order {payment['order_id']},"
                   f" which is {order['status'] if order else 'not there'}")


@rule
def the_acquirer_charged_what_payments_knows_of(books):
    ours = {payment["id"]: payment for payment in books.payments}
    for row in books.rows("select idempotency_key as key, amount, captured_amount, refunded_amount"
                          " from acquirer.authorizations where captured_amount > 0"):
        payment = ours.get(row["key"])
        kept = row["captured_amount"] - row["refunded_amount"]
        if not payment or charged(payment) != kept:
            yield f"the acquirer keeps {kept} for {row['key']}, payments {charged(payment) if payment else 'knows nothing'}"
    theirs = {row["key"] for row in books.rows(
        "select idempotency_key as key from acquirer.authorizations where captured_amount > 0")}
    for payment in books.payments:
        if payment["status"] in ("captured", "refunded") and payment["id"] not in theirs:
            yield f"payment {payment['id']} is {payment['status']}, and the acquirer has nothing"


@rule
def no_money_stays_reserved(books):
    """An authorization that nobody captures keeps its customer from his money."""
    for row in books.rows("select idempotency_key as key, amount from acquirer.authorizations where state = 'authorized'"):
        yield f"the acquirer reserves {row['amount']} for {row['key']}"


@rule
def each_refund_was_made_once(books):
    """By the same key and amount at the acquirer, and counted by its payment."""
    theirs = {row["key"]: row["amount"] for row in books.rows("select idempotency_key as key, amount from acquirer.refunds")}
    made = collections.Counter()
    for row in books.rows("select id::text, payment_id::text, amount, status from payments.refunds"):
        given = theirs.pop(row["id"], 0)
        if given != (row["amount"] if row["status"] == "done" else 0):
            yield f"refund {row['id']} of {row['amount']} is {row['status']}, and the acquirer gave back {given}"
        if row["status"] == "done":
            made[row["payment_id"]] += row["amount"]
    for payment in books.payments:
        if payment["refunded"] != made[payment["id"]]:
            yield f"payment {payment['id']} counts {payment['refunded']} as given back, its refunds make {made[payment['id']]}"
    for key in theirs:
        yield f"the acquirer gave back {theirs[key]} for {key}, payments knows nothing"


@rule
def every_confirmed_order_was_told(books):
    told = {row["order_id"] for row in books.rows("select distinct order_id::text from notifications.notifications")}
    for order in books.orders.values():
        if order["status"] in CONFIRMED and order["id"] not in told:
            yield f"order {order['id']} is {order['status']}, and nobody was told"


@rule
def nobody_was_told_twice(books):
    for row in books.rows("select order_id::text, template, type, count(*) as n from notifications.notifications"
                          " where template = 'order_created' group by 1, 2, 3 having count(*) > 1"):
        yield f"order {row['order_id']}: {row['template']} by {row['type']} {row['n']} times"


@rule
def every_event_is_published(books):
    for schema in ("orders", "inventory"):
        count = books.rows(f"select count(*) as n from {schema}.outbox")[0]["n"]
        if count:
            yield f"{count} events wait in the outbox of {schema}"


@rule
def an_order_that_was_promised_is_there(books):
    cancelled = {entry["order"] for entry in books.answers("cancel") if entry["status"] in (None, 200)
                 or entry["status"] >= 500}
    for entry in books.answers("place"):
        if entry["status"] != 201:
            continue
        body = entry["body"]
        order = books.orders.get(body["id"])
        if not order:
            yield f"201 for the order {body['id']}, which is not there"
            continue
        wanted = collections.Counter()
        for line in entry["request"]["items"]:
            wanted[line["sku"]] += line["quantity"]
        if dict(wanted) != books.lines[body["id"]] or order["total"] != body["total"]:
            yield f"201 for the order {body['id']} says something else than the database"
        if order["status"] not in CONFIRMED and body["id"] not in cancelled:
            yield f"201 for the order {body['id']}, which is {order['status']} though nobody asked for that"
        if order["idempotency_key"] != entry["key"]:
            yield f"201 for the order {body['id']} under another key"


@rule
def one_key_made_one_order(books):
    ids = collections.defaultdict(set)
    for entry in books.answers("place"):
        if entry["status"] == 201:
            ids[entry["key"]].add(entry["body"]["id"])
    for key, found in ids.items():
        if len(found) > 1:
            yield f"the key {key} was answered with {len(found)} orders"


@rule
def a_refusal_was_meant(books):
    """Who was told no (declined, not enough) has no order, unless the same key was told yes as well."""
    for entry in books.answers("place"):
        body = entry["body"] if isinstance(entry["body"], dict) else {}
        order = books.orders.get(body.get("order_id"))
        if entry["status"] in (402, 422) and order and order["status"] != "cancelled":
            yield f"{entry['status']} for the order {order['id']}, which is {order['status']}"


@rule
def what_was_cancelled_stays_cancelled(books):
    for entry in books.answers("cancel"):
        order = books.orders.get(entry["order"], {})
        if entry["status"] == 200 and order.get("status") != "cancelled":
            yield f"the order {entry['order']} was cancelled for its customer, and is {order.get('status')}"


@rule
def what_was_shipped_stays_shipped(books):
    for entry in books.answers("ship"):
        order = books.orders.get(entry["order"], {})
        if entry["status"] == 200 and order.get("status") not in ("shipped", "delivered"):
            yield f"the order {entry['order']} was shipped, and is {order.get('status')}"


@rule
def a_refund_that_was_promised_is_made(books):
    status = {row["id"]: row["status"] for row in books.rows("select id::text, status from payments.refunds")}
    for entry in books.answers("refund"):
        if entry["status"] == 201 and status.get(entry["body"]["id"]) != "done":
            yield f"201 for the refund {entry['body']['id']}, which is {status.get(entry['body']['id'], 'not there')}"


@rule
def an_adjustment_counts_once(books):
    keys = collections.defaultdict(set)
    for entry in books.answers("adjust"):
        if entry["status"] in (200, 201):
            keys[entry["key"]].add(json.dumps(entry["body"], sort_keys=True))
    for key, bodies in keys.items():
        if len(bodies) > 1:
            yield f"the adjustment {key} was answered in {len(bodies)} ways"
    made = {row["key"]: row for row in books.rows(
        "select a.idempotency_key as key, m.sku, m.warehouse, m.quantity from inventory.adjustments a"
        " join inventory.movements m on m.id = a.movement_id")}
    for entry in books.answers("adjust"):
        if entry["status"] == 201:
            asked, found = entry["request"], made.get(entry["key"], {})
            if any(found.get(name) != asked[name] for name in ("sku", "warehouse", "quantity")):
                yield f"the adjustment {entry['key']} was promised, and its movement is {found or 'not there'}"


def audit(connection, responses=()):
    """[text], of every rule; empty: the books agree."""
    books = Books(connection, responses)
    return [f"{check.__name__}: {found}" for check in RULES for found in check(books)]


def contradictions(url, responses=()):
    """The same, of one moment."""
    connection = psycopg2.connect(url, connect_timeout=5)
    try:
        connection.set_session(isolation_level="REPEATABLE READ", readonly=True)
        return audit(connection, responses)
    finally:
        connection.close()


def main(url, path=None):
    responses = []
    if path:
        with open(path, encoding="utf-8") as file:
            responses = [json.loads(line) for line in file]
    found = contradictions(url, responses)
    for text in found:
        print(text)
    print(f"{len(RULES)} rules, {len(responses)} responses, {len(found)} contradictions")
    return 1 if found else 0


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))
