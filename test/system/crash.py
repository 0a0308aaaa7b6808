# SPDX-License-Identifier: MIT
"""Orders while things die: services, PostgreSQL, Redis and RabbitMQ are killed at random moments,
customers place, repeat and cancel orders, staff ships and adjusts. Afterwards the books (books.py)
have to agree within the bound that scripts/oms/orders/README.md states."""
import collections
import json
import os
import random
import signal
import threading
import time
import uuid

import requests

import books
from lab import CARD, wait_until
from replicas import SERVICES, Replicas

BOUND_S = 60
STORES = ("postgres", "redis", "rabbitmq")
DECLINED, LATE = "4000000000000002", ("4000000000004087", "4000000000004095")
RARE = [f"SKU-{n:04d}" for n in (17, 34, 51, 68, 85)]
PLENTY = [f"SKU-{n:04d}" for n in range(1, 101) if n % 17]


class Client:
    """Somebody with an account; a request goes to any replica, and is kept with its answer."""

    def __init__(self, campaign, seed, email, password):
        self.campaign, self.random = campaign, random.Random(seed)
        self.email, self.password = email, password
        self.session = requests.Session()
        self.token, self.token_at = None, 0

    def url(self, name, path):
        return self.random.choice(self.campaign.urls[name]) + path

    def headers(self, **more):
        if time.monotonic() - self.token_at > 300:
            self.login()
        return {"Authorization": f"Bearer {self.token}", **more}

    def login(self):
        while not self.campaign.stopping.is_set():
            try:
                answer = requests.post(self.url("users", "/api/v1/users/login"), timeout=10,
                                       json={"email": self.email, "password": self.password})
            except requests.RequestException:
                self.campaign.stopping.wait(0.2)
                continue
            if answer.status_code == 200:
                self.token, self.token_at = answer.json()["access_token"], time.monotonic()
                return
            self.campaign.stopping.wait(0.2)

    def ask(self, op, method, name, path, body=None, headers=None, **about):
        """(status, body); status None: no answer."""
        status, answer = None, None
        try:
            got = self.session.request(method, self.url(name, path), json=body, timeout=20,
                                       headers=self.headers(**(headers or {})))
            status = got.status_code
            answer = got.json() if got.content else None
        except (requests.RequestException, ValueError):
            pass
        if status == 401:
            self.token_at = 0
        self.campaign.keep({"op": op, "request": scrubbed(body), "status": status, "body": answer, **about})
        return status, answer


def scrubbed(body):
    """A request without its card."""
    return {name: value for name, value in (body or {}).items() if name != "payment"}


class Customer(Client):
    def place(self):
        draw = self.random.random()
        rare = self.random.random() < 0.02
        body = {
            "items": [{"sku": sku, "quantity": self.random.randint(1, 3)} for sku in
                      ([self.random.choice(RARE)] if rare else
                       {self.random.choice(PLENTY) for _ in range(self.random.randint(1, 3))})],
            "currency": "USD", "payment": self.payment(draw),
        }
        if self.random.random() < 0.3:
            body["billing"] = {"country": self.random.choice(["US", "UK", "DE", "FR", "JP", "BR", "IN", "NZ"])}
        key = str(uuid.UUID(int=self.random.getrandbits(128), version=4))
        for _ in range(self.random.choice([1, 1, 4])):
            status, answer = self.ask("place", "POST", "orders", "/api/v1/orders", body,
                                      {"Idempotency-Key": key}, key=key)
            if status is not None and status < 500 and status != 409:
                break
            self.campaign.stopping.wait(self.random.uniform(0, 1))
        if status == 201:
            self.campaign.placed(answer["id"])
            if self.random.random() < 0.06:
                self.ask("cancel", "DELETE", "orders", f"/api/v1/orders/{answer['id']}", order=answer["id"])

    @staticmethod
    def payment(draw):
        if draw < 0.03:
            return {"method": "paypal", "paypal": {"email": "buyer@orrery.test"}}
        if draw < 0.05:
            return {"method": "bank_transfer", "bank_transfer": {"iban": "DE89370400440532013000"}}
        number = DECLINED if draw < 0.08 else LATE[int(draw * 10000) % 2] if draw < 0.085 else CARD["number"]
        return {"method": "card", "card": {**CARD, "number": number}}

    def work(self):
        while not self.campaign.stopping.is_set():
            self.place()


class Staff(Client):
    def work(self):
        while not self.campaign.stopping.wait(0.1):
            if self.random.random() < 0.3:
                self.adjust()
            else:
                self.ship()

    def adjust(self):
        key = str(uuid.uuid4())
        body = {"sku": self.random.choice(PLENTY), "warehouse": self.random.choice(["east", "west"]),
                "quantity": self.random.randint(1, 5), "reason": "received"}
        for _ in range(5):
            status, _ = self.ask("adjust", "POST", "inventory", "/api/v1/inventory/adjust", body,
                                 {"Idempotency-Key": key}, key=key)
            if status in (200, 201):
                return
            self.campaign.stopping.wait(1)

    def ship(self):
        order = self.campaign.some_order(self.random)
        if not order:
            return
        status, seen = self.ask("look", "GET", "orders", f"/api/v1/orders/{order}", order=order)
        if status == 200:
            self.ask("ship", "PUT", "orders", f"/api/v1/orders/{order}",
                     {"version": seen["version"], "status": "shipped"}, order=order)


class Killer:
    """Kills by turns drawn from the seed; a store is started again after a moment."""

    def __init__(self, campaign, seed, pause_s):
        self.campaign, self.random, self.pause_s = campaign, random.Random(seed), pause_s
        self.counts = collections.Counter()

    def work(self):
        targets = []
        while not self.campaign.enough():
            if not targets:
                targets = list(SERVICES) * 2 + list(STORES) * 2
                self.random.shuffle(targets)
            self.campaign.done.wait(self.random.uniform(0.3, 1.7) * self.pause_s)
            self.kill(targets.pop())

    def kill(self, name):
        if name in STORES:
            self.campaign.lab.command("kill", name)
            self.campaign.done.wait(self.random.uniform(0, 1.5))
            self.campaign.lab.command("start", name)
        elif self.campaign.replicas and self.random.random() < 0.5:
            self.campaign.replicas.all[name].kill()
        else:
            pid = self.campaign.lab.pids().get(name, "-")
            if pid != "-":
                os.kill(int(pid), signal.SIGKILL)
        self.counts[name] += 1


class Campaign:
    """At least so many orders and kills; then rest, and the books."""

    def __init__(self, lab, orders, kills, seed=1, replicas=False, customers=12, pause_s=2, say=print):
        self.lab, self.orders, self.kills, self.say = lab, orders, kills, say
        self.lock, self.stopping, self.done = threading.Lock(), threading.Event(), threading.Event()
        self.statuses, self.ids, self.asked = collections.Counter(), [], 0
        self.path = lab.state / "responses.jsonl"
        self.file = open(self.path, "w", encoding="utf-8")
        self.replicas = Replicas(lab) if replicas else None
        self.urls = {name: [lab.url(name)] + ([self.replicas.url(name)] if replicas else []) for name in SERVICES}
        self.killer = Killer(self, seed, pause_s)
        self.clients = [Customer(self, seed * 1000 + i, *self.account(i)) for i in range(customers)]
        self.clients.append(Staff(self, seed * 1000 + 999, "operator@orrery.test", "operator-password"))

    def account(self, number):
        email, password = f"crash-{number}@orrery.test", f"password of {number}"
        requests.post(self.lab.url("users", "/api/v1/users/register"), timeout=10,
                      json={"email": email, "password": password})
        return email, password

    def keep(self, entry):
        with self.lock:
            self.file.write(json.dumps(entry) + "\n")
            self.statuses[f"{entry['op']} {entry['status']}"] += 1
            self.asked += entry["op"] == "place"

    def placed(self, order):
        with self.lock:
            self.ids.append(order)

    def some_order(self, draw):
        with self.lock:
            return draw.choice(self.ids[-50:]) if self.ids else None

    def enough(self):
        return self.asked >= self.orders and sum(self.killer.counts.values()) >= self.kills

    def run(self):
        """[contradiction]; empty: all is well."""
        threads = [threading.Thread(target=client.work, daemon=True) for client in self.clients]
        try:
            for thread in threads:
                thread.start()
            self.killer.work()
        finally:
            self.done.set()
            self.stopping.set()
            for thread in threads:
                thread.join()
            self.file.close()
        try:
            return self.rest()
        finally:
            if self.replicas:
                self.replicas.end()

    def rest(self):
        for name in STORES:
            self.lab.command("start", name)
        wait_until(lambda: all(self.lab.ready(name) for name in SERVICES) and
                   (not self.replicas or all(r.ready() for r in self.replicas.all.values())), 60, "everything ready")
        began = time.monotonic()
        with open(self.path, encoding="utf-8") as file:
            responses = [json.loads(line) for line in file]
        while True:
            found = books.contradictions(self.lab.env["ORRERY_POSTGRES_ADMIN_URL"].rstrip("/"), responses)
            self.settled_s = time.monotonic() - began
            if not found or self.settled_s > BOUND_S:
                return found
            time.sleep(0.5)

    def table(self):
        lines = [f"{self.asked} orders asked for, {len(self.ids)} placed, {sum(self.killer.counts.values())} kills:"
                 f" {dict(self.killer.counts)}", f"at rest after {self.settled_s:.1f} s"]
        return "\n".join(lines + [f"  {name:14} {count}" for name, count in sorted(self.statuses.items())])
