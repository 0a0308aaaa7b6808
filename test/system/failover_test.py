# SPDX-License-Identifier: MIT
"""A service that has several addresses for the next one loses nothing when one of them ends, is killed
or comes back."""
import contextlib
import os
import signal
import threading
import uuid

import pytest
import requests

from lab import CARD, wait_until
from replicas import Replica, free_ports

SKU = "SKU-0087"


def environment(lab, name, port, **more):
    folder = lab.state / "service" / name / "env"
    env = {file.name: file.read_text().rstrip("\n") for file in folder.iterdir()}
    return {**env, "PATH": os.environ["PATH"], "ORRERY_PORT": str(port), **more}


class Pair:
    """A second inventory and a second payments, and an orders that knows both of each."""

    def __init__(self, lab):
        self.lab, ports = lab, free_ports(lab)
        self.replicas = {}
        for name in ("inventory", "payments"):
            port = next(ports)
            self.replicas[name] = Replica(lab, name, environment(lab, name, port), port)
        port = next(ports)
        both = {f"ORRERY_UPSTREAM_{name.upper()}": f"{lab.url(name)}, {replica.url()}"
                for name, replica in self.replicas.items()}
        self.replicas["orders"] = Replica(lab, "orders", environment(lab, "orders", port, **both), port)
        try:
            wait_until(self.ready, 30, "the replicas")
        except AssertionError:
            self.end()
            raise

    def ready(self):
        return all(replica.ready() for replica in self.replicas.values())

    def place(self, session):
        return session.post(
            self.replicas["orders"].url("/api/v1/orders"), timeout=30,
            headers=self.lab.headers(**{"Idempotency-Key": str(uuid.uuid4())}),
            json={"items": [{"sku": SKU, "quantity": 1}], "currency": "USD",
                  "payment": {"method": "card", "card": CARD}})

    def end(self):
        for replica in self.replicas.values():
            replica.ask_to_end()
        for replica in self.replicas.values():
            replica.end()


@pytest.fixture(scope="module")
def pairs():
    with contextlib.ExitStack() as stack:
        yield stack, {}


@pytest.fixture
def pair(lab, pairs):
    stack, made = pairs
    if "pair" not in made:
        lab.token()
        lab.set_stock(SKU, 100000)
        made["pair"] = Pair(lab)
        stack.callback(made["pair"].end)
    return made["pair"]


class Customers:
    """Place orders, one after the other, while something happens to a replica."""

    def __init__(self, pair, count=4):
        self.pair, self.done, self.outcomes = pair, threading.Event(), []
        self.threads = [threading.Thread(target=self.run) for _ in range(count)]

    def run(self):
        session = requests.Session()
        while not self.done.is_set():
            answer = self.pair.place(session)
            self.outcomes.append((answer.status_code, answer.text if answer.status_code != 201 else ""))

    def more(self, count=20):
        seen = len(self.outcomes)
        wait_until(lambda: len(self.outcomes) >= seen + count, 60, "orders")

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.done.set()
        for thread in self.threads:
            thread.join()

    def assert_all_placed(self):
        assert [outcome for outcome in self.outcomes if outcome[0] != 201] == []


def is_asked(replica):
    """Since it was started."""
    return 'http_requests_total{method="POST"' in requests.get(replica.url("/metrics"), timeout=10).text


def again(replica, before):
    """It has ended, and its supervisor has started it again."""
    return replica.process is not None and replica.process.pid != before and replica.ready()


@pytest.mark.parametrize("name", ["inventory", "payments"])
def test_orders_are_placed_while_one_of_two_replicas_is_replaced(pair, name):
    replica = pair.replicas[name]
    with Customers(pair) as customers:
        for _ in range(2):
            wait_until(lambda: is_asked(replica), 30, "its share of the orders")
            customers.more()
            before = replica.process.pid
            replica.process.send_signal(signal.SIGTERM)
            wait_until(lambda before=before: again(replica, before), 30, "the replica again")
        customers.more()
    customers.assert_all_placed()


def test_orders_are_placed_while_one_of_two_inventories_is_killed(pair):
    """A reservation has a key, so it may be sent to the other one."""
    replica = pair.replicas["inventory"]
    with Customers(pair) as customers:
        for _ in range(3):
            wait_until(lambda: is_asked(replica), 30, "its share of the orders")
            customers.more()
            before = replica.process.pid
            replica.kill()
            wait_until(lambda before=before: again(replica, before), 30, "the replica again")
        customers.more()
    customers.assert_all_placed()
