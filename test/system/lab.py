# SPDX-License-Identifier: MIT
"""The lab as a user has it: started by ./compose/lab on free ports, spoken to over HTTP."""
import json
import os
import pathlib
import random
import shutil
import socket
import subprocess
import time
import uuid

import psycopg2
import requests

CHECKOUT = pathlib.Path(__file__).resolve().parents[2]
CARD = {"number": "4242424242424242", "exp_month": 12, "exp_year": 2035, "cvc": "123"}
SPAN_OF_PORTS = 100


def free_port_base(spans=1):
    """A base whose next hundred ports nobody listens on; not the first one, which another run may
    be about to take. Third instances of services need three hundred."""
    bases = list(range(21000, 31000, SPAN_OF_PORTS))
    for base in random.sample(bases, len(bases)):
        if all(port_is_free(base + i) for i in range(spans * SPAN_OF_PORTS)):
            return base
    raise RuntimeError("no free ports")


def port_is_free(port):
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) != 0


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_until(condition, seconds=20, what="condition"):
    """The first true value that condition() gives; an error after so many seconds."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"{what() if callable(what) else what}: not within {seconds} s")
        time.sleep(0.05)


class Lab:
    """Runs from a copy of the scripts, so that a test may edit them."""

    def __init__(self, state, collector, spans=1):
        self.state = pathlib.Path(state)
        self.root = self.state / "checkout"
        for folder in ("compose", "conf", "lib", "scripts"):
            shutil.copytree(CHECKOUT / folder, self.root / folder)
        self.base = free_port_base(spans)
        self.collector = collector
        self.tokens = {}
        self.env = {}

    def command(self, *words, check=True, **extra):
        env = {
            **os.environ, "ORRERY_STATE": str(self.state), "ORRERY_PORT_BASE": str(self.base),
            "OTEL_EXPORTER_OTLP_ENDPOINT": self.collector, "OTEL_BSP_SCHEDULE_DELAY": "200",
            "OTEL_METRIC_EXPORT_INTERVAL": "1000",
            "ORRERY_BUILD": os.environ.get("ORRERY_BUILD", str(CHECKOUT / "build/gcc/orrery")), **extra,
        }
        done = subprocess.run([self.root / "compose" / "lab", *words], env=env, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=600)
        if check and done.returncode != 0:
            raise AssertionError(f"lab {' '.join(words)}: {done.returncode}\n{done.stdout[-6000:]}")
        return done

    def up(self, *words, **extra):
        done = self.command("up", *words, **extra)
        self.env = dict(line.split("=", 1) for line in
                        (self.state / "lab.env").read_text().splitlines() if "=" in line)
        return done

    def down(self):
        return self.command("down")

    def scale(self, **wanted):
        """orders=3: so many instances of it."""
        return self.up("--scale", ",".join(f"{name}={count}" for name, count in wanted.items()))

    def url(self, name, path=""):
        """Of a service or instance; `gateway` is the way in, `gateway_admin` what it says of itself."""
        return self.env["ORRERY_URL_" + name.upper().replace("-", "_")] + path

    def addresses(self, service):
        """Of the instances that the gateway knows: "127.0.0.1:8001" -> whether it is up."""
        rows = requests.get(self.url("gateway_admin", "/upstreams"), timeout=5).json()["upstreams"]
        return {row["address"]: row["up"] for row in rows if row["upstream"] == service}

    def pids(self):
        """NAME -> process id, as `status` shows them."""
        lines = self.command("status", check=False).stdout.splitlines()[1:]
        return {f[0]: f[2] for f in (line.split() for line in lines) if len(f) >= 5}

    def log(self, service):
        """All that is kept; svlogd begins a new file now and then."""
        folder = self.state / "log" / service
        files = [*sorted(folder.glob("@*")), folder / "current"]
        return "".join(file.read_text(errors="replace") for file in files if file.exists())

    def log_lines(self, service):
        for line in self.log(service).splitlines():
            at = line.find("{")
            if at >= 0:
                try:
                    yield json.loads(line[at:])
                except ValueError:
                    pass

    # --- as a customer ---------------------------------------------------------------------

    def token(self, email="demo@orrery.test", password="demo-password"):
        if email not in self.tokens:
            answer = requests.post(self.url("users", "/api/v1/users/login"), timeout=10,
                                   json={"email": email, "password": password})
            assert answer.status_code == 200, answer.text
            self.tokens[email] = answer.json()["access_token"]
        return self.tokens[email]

    def headers(self, **more):
        return {"Authorization": "Bearer " + self.token(), **more}

    def order(self, items=None, card=None, key=None, session=requests, headers=None, via="orders", **body):
        """POST /api/v1/orders; gives the response."""
        return session.post(
            self.url(via, "/api/v1/orders"), timeout=30,
            headers=self.headers(**{"Idempotency-Key": key or str(uuid.uuid4())}, **(headers or {})),
            json={"items": items or [{"sku": "SKU-0001", "quantity": 1}], "currency": "USD",
                  "payment": {"method": "card", "card": {**CARD, **(card or {})}}, **body})

    # --- as its checker ----------------------------------------------------------------------

    def sql(self, text, *values):
        """Rows of a statement run as the owner of the database."""
        connection = psycopg2.connect(self.env["ORRERY_POSTGRES_ADMIN_URL"], connect_timeout=5)
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(text, values[0] if values and isinstance(values[0], dict) else values or None)
                return cursor.fetchall() if cursor.description else []
        finally:
            connection.close()

    def one(self, text, *values):
        return self.sql(text, *values)[0][0]

    def stock(self, sku):
        """(on hand, reserved) over all warehouses."""
        row = self.sql("select sum(on_hand)::int, sum(reserved)::int from inventory.stock"
                       " where sku = %s", sku)[0]
        return row[0], row[1]

    def set_stock(self, sku, units):
        """All of it in one warehouse, nothing held; the books stay true."""
        self.sql("with ended as (update inventory.holds set state = 'released' where state = 'held' and id in"
                 "  (select hold_id from inventory.hold_lines where sku = %(sku)s)),"
                 " wanted as (select sku, warehouse, case when warehouse = 'east' then %(units)s else 0 end as units"
                 "  from inventory.stock where sku = %(sku)s),"
                 " moved as (insert into inventory.movements (sku, warehouse, quantity, reason)"
                 "  select w.sku, w.warehouse, w.units - s.on_hand, 'correction' from wanted w"
                 "  join inventory.stock s using (sku, warehouse) where w.units <> s.on_hand)"
                 " update inventory.stock s set reserved = 0, on_hand = w.units from wanted w"
                 " where s.sku = w.sku and s.warehouse = w.warehouse", {"sku": sku, "units": units})

    def settled(self):
        """Nothing is left to publish or to turn into a sale."""
        waiting = self.one("select count(*) from orders.outbox")
        held = self.one("select count(*) from inventory.holds h join orders.orders o"
                        " on o.id::text = h.order_id where h.state = 'held' and o.status = 'processing'")
        return waiting == 0 and held == 0

    def metrics(self, service, path="/metrics"):
        answer = requests.get(self.url(service, path), timeout=10)
        assert answer.status_code == 200
        return answer.text

    def ready(self, service):
        try:
            return requests.get(self.url(service, "/ready"), timeout=3).status_code == 200
        except requests.RequestException:
            return False
