# SPDX-License-Identifier: MIT
"""Two thousand orders against a hundred units."""
import collections
import concurrent.futures
import threading

import requests

from lab import wait_until

SKU, UNITS, ORDERS, CONNECTIONS = "SKU-0050", 100, 2000, 64


def test_exactly_as_many_orders_succeed_as_there_are_units(any_lab):
    lab = any_lab
    wait_until(lab.settled, 60, "earlier orders to settle")
    lab.set_stock(SKU, UNITS)
    before = lab.one("select coalesce(max(created_at), 'epoch') from orders.orders")
    lab.token()
    local = threading.local()

    def place(_):
        if not hasattr(local, "session"):
            local.session = requests.Session()
        return lab.order([{"sku": SKU, "quantity": 1}], session=local.session)

    with concurrent.futures.ThreadPoolExecutor(CONNECTIONS) as pool:
        answers = list(pool.map(place, range(ORDERS)))
    statuses = collections.Counter(answer.status_code for answer in answers)
    assert statuses == {201: UNITS, 409: ORDERS - UNITS}, statuses
    assert {a.json()["kind"] for a in answers if a.status_code == 409} == {"refused"}

    wait_until(lab.settled, 60, "the sales")
    assert lab.stock(SKU) == (0, 0)
    assert lab.one("select count(*) from inventory.holds h join inventory.hold_lines l on l.hold_id = h.id"
                   " where h.state = 'held' and l.sku = %s", SKU) == 0
    confirmed = lab.one("select coalesce(sum(total), 0) from orders.orders"
                        " where status = 'processing' and created_at > %s", before)
    paid = lab.one("select coalesce(sum(amount), 0) from payments.payments p join orders.orders o"
                   " on o.id::text = p.order_id::text where p.status = 'captured' and o.created_at > %s",
                   before)
    assert confirmed == paid > 0
    assert lab.one("select count(*) from payments.payments p join orders.orders o"
                   " on o.id::text = p.order_id::text where p.status = 'captured' and o.created_at > %s",
                   before) == UNITS
