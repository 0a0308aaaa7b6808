# SPDX-License-Identifier: MIT
"""Two replicas of every service over the same stores are one service: no job runs twice, no event is
told twice, and what is done at one is known at the other at once."""
import contextlib
import json
import os
import secrets
import signal
import subprocess
import threading
import time
import uuid
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import pika
import psycopg2
import pytest
from prometheus_client.parser import text_string_to_metric_families as prometheus

import ws_client
from lab import CARD, wait_until
from replicas import Replicas
from world import PASSWORD, World

LED = ("orders", "inventory", "payments", "users", "notifications")  # the acquirer has no jobs
LEASE_S = 35
ORDERS = 100
SKU = "SKU-0099"


class Pair(World):
    """Both replicas, and everybody who asks them: `at` 0 is the lab's own, `at` 1 the other."""

    def __init__(self, lab, collector):
        self.lab, self.collector, self.replicas = lab, collector, Replicas(lab)
        self.began = time.time_ns()
        try:
            super().__init__(lab, self.replicas)
            self.instances = {self.instance(service, at): at for service in LED for at in (0, 1)}
        except Exception:
            self.replicas.end()
            raise

    def place(self, at, sku=SKU, key=None):
        return self.ask("orders", "POST", "/api/v1/orders", token=self.tokens["customer"], at=at,
                        headers={"Idempotency-Key": key or self.new("order")},
                        json={"items": [{"sku": sku, "quantity": 1}], "currency": "USD",
                              "payment": {"method": "card", "card": CARD}})

    def as_staff(self, at, service, method, path, **more):
        return self.ask(service, method, path, token=self.tokens["operator"], at=at, **more)

    def samples(self, at, service, name, *labels):
        """{values of the labels: value} of a series."""
        text = self.ask(service, "GET", "/metrics", at=at).text
        return {tuple(s.labels[label] for label in labels): s.value
                for family in prometheus(text) for s in family.samples if s.name == name}

    def instance(self, service, at):
        """What a process calls itself in its spans."""
        trace = secrets.token_hex(16)
        self.ask(service, "GET", f"/api/v1/{service}", at=at, headers={"traceparent": f"00-{trace}-{'1' * 16}-01"})
        found = wait_until(lambda: self.collector.trace(trace), 20, f"a span of {service}")
        return found[0].resource["service.instance.id"]

    def spans(self, wanted):
        """Those of our processes: other labs may send theirs to the same place."""
        with self.collector.lock:
            return [span for span in self.collector.spans if span.start >= self.began and wanted(span)
                    and span.resource["service.instance.id"] in self.instances]

    def shares(self, spans):
        """How many of them are of each replica."""
        count = Counter(self.instances[span.resource["service.instance.id"]] for span in spans)
        return [count[at] for at in (0, 1)]

    def told(self):
        """Of all orders of the beginning."""
        rows = super().told()
        return rows if len(rows) >= len(self.orders) and all(row["status"] == "sent" for row in rows) else None


@pytest.fixture(scope="module")
def pairs():
    made = []
    yield made
    for pair in made:
        pair.replicas.end()


@pytest.fixture
def pair(lab, collector, pairs):
    if not pairs:
        pairs.append(Pair(lab, collector))
    return pairs[0]


def both_at_once(count, work):
    """What work(i) gave, i of 0 to count, several at a time; even ones are for the first replica."""
    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(work, range(count)))


# --- a hundred orders ----------------------------------------------------------------------------

class Listener:
    """A queue of our own that hears every event of orders."""

    def __init__(self, url):
        self.connection = pika.BlockingConnection(pika.URLParameters(url))
        self.channel = self.connection.channel()
        self.queue = self.channel.queue_declare("", exclusive=True).method.queue
        self.channel.queue_bind(self.queue, "events", "order.*")

    def heard(self):
        """[(message_id, routing key, order)]"""
        got = []
        while True:
            method, properties, body = self.channel.basic_get(self.queue, auto_ack=True)
            if method is None:
                return got
            got.append((properties.message_id, method.routing_key, json.loads(body)["order_id"]))


class Hundred:
    """Orders placed at both replicas at the same time, and everything that was heard of them."""

    def __init__(self, pair):
        self.pair = pair
        with contextlib.ExitStack() as stack:
            listener = Listener(pair.lab.env["ORRERY_AMQP_URL"])
            stack.callback(listener.connection.close)
            token = "?access_token=" + pair.tokens["customer"]
            sockets = [stack.enter_context(ws_client.connect(
                pair.urls[at]("notifications", "/ws").replace("http", "ws", 1) + token)) for at in (0, 1)]
            assert [json.loads(socket.recv(10))["type"] for socket in sockets] == ["hello", "hello"]
            self.sent_before = self.sent()
            answers = both_at_once(ORDERS, lambda i: pair.place(i % 2))
            assert {answer.status_code for answer in answers} == {201}, [answer.text for answer in answers][:3]
            self.ids = [answer.json()["id"] for answer in answers]
            self.pushed = [self.pushes(socket) for socket in sockets]
            wait_until(pair.lab.settled, 30, "everything to be published and sold")
            self.events = [event for event in listener.heard() if event[2] in self.ids]
            wait_until(lambda: {row[1] for row in self.notified()} == {"sent"}, 30, "everything to be sent")

    def pushes(self, socket):
        """The orders that a client is told of, until there is silence."""
        got, seconds = [], 30
        with contextlib.suppress(TimeoutError):
            while True:
                got.append(json.loads(socket.recv(seconds))["order_id"])
                seconds = 30 if len(got) < ORDERS else 0.5
        return got

    def notified(self):
        return self.pair.lab.sql("select order_id, status, attempts from notifications.notifications"
                                 " where order_id = any(%s)", self.ids)

    def sent(self):
        """Mails that each replica sent."""
        return [self.pair.samples(at, "notifications", "notifications_sent_total", "type", "status")["email", "sent"]
                for at in (0, 1)]


@pytest.fixture(scope="module")
def kept():
    return {}


@pytest.fixture
def hundred(pair, kept):
    return kept.get("hundred") or kept.setdefault("hundred", Hundred(pair))


def test_each_event_is_published_once_by_either_relay(pair, hundred):
    assert Counter(Counter(message for message, _, _ in hundred.events).values()) == {1: 2 * ORDERS}
    assert sorted((order, key) for _, key, order in hundred.events) == sorted(
        (order, key) for order in hundred.ids for key in ("order.created", "order.confirmed"))
    relayed = pair.shares(pair.spans(lambda s: s.service == "orders" and s.kind == "producer"))
    print("published by each", relayed)
    assert min(relayed) > 0


def test_consumers_share_the_work_and_each_order_is_told_and_sold_once(pair, hundred):
    rows = hundred.notified()
    assert sorted(row[0] for row in rows) == sorted(hundred.ids)
    assert {row[2] for row in rows} == {1}, "one attempt each"
    sent = [after - before for before, after in zip(hundred.sent_before, hundred.sent())]
    print("sent by each", sent)
    assert sum(sent) == ORDERS and min(sent) > 0
    for service in ("notifications", "inventory"):
        taken = pair.shares(pair.spans(lambda s, who=service: s.service == who and s.kind == "consumer"))
        print(service, "consumed by each", taken)
        assert min(taken) > 0, service
    sold = pair.lab.sql("select order_id, count(*) from inventory.movements where reason = 'sold'"
                        " and order_id = any(%s) group by order_id", hundred.ids)
    assert dict(sold) == dict.fromkeys(hundred.ids, 1)


def test_a_client_of_either_replica_hears_of_every_order_once_whoever_consumed_it(hundred):
    for pushed in hundred.pushed:
        assert sorted(pushed) == sorted(hundred.ids)


# --- what both have to agree about ---------------------------------------------------------------

@contextlib.contextmanager
def readers(pair, service, path):
    """Somebody at each replica reads the same thing without a pause, so that it is always cached."""
    over = threading.Event()

    def read(at):
        while not over.is_set():
            pair.as_staff(at, service, "GET", path)
    threads = [threading.Thread(target=read, args=(at,), daemon=True) for at in (0, 1)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join(30)


def test_a_changed_order_is_seen_at_the_other_replica_at_once(pair):
    order = pair.place(0).json()
    path, stale = "/api/v1/orders/" + order["id"], []
    with readers(pair, "orders", path):
        for i in range(30):
            changed = pair.as_staff(i % 2, "orders", "PUT", path,
                                    json={"version": i + order["version"], "note": f"n {i}"})
            assert changed.status_code == 200, changed.text
            seen = pair.as_staff(1 - i % 2, "orders", "GET", path).json()
            if (seen["note"], seen["version"]) != (f"n {i}", changed.json()["version"]):
                stale.append((i, seen))
        assert pair.as_staff(0, "orders", "DELETE", path).status_code == 200
        seen = pair.as_staff(1, "orders", "GET", path).json()
    assert stale == []
    assert (seen["status"], seen["note"]) == ("cancelled", "n 29")


def test_changed_stock_is_seen_at_the_other_replica_at_once(pair):
    path, wrong = "/api/v1/inventory/" + SKU, []
    wait_until(pair.lab.settled, 30, "nothing left to sell")

    def look(at):
        seen = pair.as_staff(at, "inventory", "GET", path).json()
        return seen["on_hand"], seen["available"]

    def change(step, at, on_hand, available, done):
        assert done.status_code < 300, done.text
        if look(1 - at) != (on_hand, available):
            wrong.append((step, at, look(1 - at), (on_hand, available)))

    with readers(pair, "inventory", path):
        for at in (0, 1) * 5:
            on_hand, available = look(at)
            change("adjust", at, on_hand + 1, available + 1, pair.as_staff(
                at, "inventory", "POST", "/api/v1/inventory/adjust", headers=pair.key(),
                json={"sku": SKU, "warehouse": "east", "quantity": 1, "reason": "received"}))
            hold = {"order_id": pair.new("hold")}
            change("reserve", at, on_hand + 1, available, pair.as_staff(
                at, "inventory", "POST", "/api/v1/inventory/reserve",
                json={**hold, "items": [{"sku": SKU, "quantity": 1}]}))
            change("release", at, on_hand + 1, available + 1, pair.as_staff(
                at, "inventory", "POST", "/api/v1/inventory/release", json=hold))
    assert wrong == []


def test_of_requests_with_one_key_at_both_replicas_one_places_the_order(pair):
    key = pair.new("once")
    before = pair.lab.one("select count(*) from payments.payments")
    answers = both_at_once(12, lambda i: pair.place(i % 2, key=key))
    placed = json.loads(wait_until(lambda: (a := pair.place(1, key=key)).status_code == 201 and a.text, 20, "the order"))
    assert {answer.status_code for answer in answers} <= {201, 409}
    assert {answer.json()["id"] for answer in answers if answer.status_code == 201} <= {placed["id"]}
    assert pair.lab.one("select count(*) from payments.payments") == before + 1


def test_of_changes_of_one_version_at_both_replicas_one_wins(pair):
    order = pair.place(1).json()
    answers = both_at_once(8, lambda i: pair.as_staff(
        i % 2, "orders", "PUT", "/api/v1/orders/" + order["id"], json={"version": order["version"], "note": f"n {i}"}))
    assert sorted(answer.status_code for answer in answers) == [200] + [409] * 7
    winner = next(answer.json() for answer in answers if answer.status_code == 200)
    assert [pair.as_staff(at, "orders", "GET", "/api/v1/orders/" + order["id"]).json() for at in (0, 1)] == [winner] * 2


def test_the_limit_of_messages_is_one_for_both_replicas(pair):
    user = str(uuid.uuid4())
    answers = both_at_once(44, lambda i: pair.as_staff(
        i % 2, "notifications", "POST", "/api/v1/notifications/send", headers=pair.key(),
        json={"user_id": user, "channel": "email", "recipient": "demo@orrery.test", "subject": "News", "body": "x"}))
    assert Counter(answer.status_code for answer in answers) == {202: 30, 429: 14}
    assert len({i % 2 for i, answer in enumerate(answers) if answer.status_code == 202}) == 2


def test_the_guesses_at_a_password_are_counted_for_both_replicas(pair):
    email = pair.register()["email"]
    answers = [pair.ask("users", "POST", "/api/v1/users/login", at=i % 2, json={"email": email, "password": "wrong"})
               for i in range(12)]
    assert [answer.status_code for answer in answers] == [401] * 10 + [429] * 2


def me(pair, at, token):
    return pair.ask("users", "GET", "/api/v1/users/me", token=token, at=at).status_code


def login(pair, at, user):
    return pair.made("users", "POST", "/api/v1/users/login", at=at,
                     json={"email": user["email"], "password": PASSWORD})


@pytest.mark.parametrize("at", [0, 1])
def test_a_session_ended_at_one_replica_is_over_at_the_other(pair, at):
    user = pair.register()
    token = login(pair, at, user)["access_token"]
    assert (me(pair, at, token), me(pair, 1 - at, token)) == (200, 200)
    assert pair.ask("users", "POST", "/api/v1/users/logout", token=token, at=at).status_code == 204
    assert (me(pair, 1 - at, token), me(pair, at, token)) == (401, 401)
    tokens = [login(pair, i, user)["access_token"] for i in (0, 1)]
    path = f"/api/v1/users/{user['id']}/sessions"
    assert pair.ask("users", "DELETE", path, token=tokens[0], at=at).status_code == 204
    assert [me(pair, 1 - at, token) for token in tokens] == [401, 401]


@pytest.mark.parametrize("at", [0, 1])
def test_a_refresh_token_used_at_both_replicas_ends_the_session(pair, at):
    first = login(pair, at, pair.register())

    def refresh(at, got):
        return pair.ask("users", "POST", "/api/v1/users/refresh", at=at, json={"refresh_token": got["refresh_token"]})

    second = refresh(at, first)
    assert second.status_code == 200 and me(pair, 1 - at, second.json()["access_token"]) == 200
    assert refresh(1 - at, first).status_code == 401
    assert refresh(at, second.json()).status_code == 401
    assert [me(pair, i, second.json()["access_token"]) for i in (0, 1)] == [401, 401]


def test_both_replicas_report_the_same_orders_by_status(pair, hundred):
    def reported(at):
        return pair.samples(at, "orders", "orders_by_status", "status")

    def counted():
        rows = pair.lab.sql("select status, count(*) from orders.orders group by status")
        return {(status,): count for status, count in rows}

    def agree():
        count = counted()
        return all({status: n for status, n in reported(at).items() if n} == count for at in (0, 1)) and count
    assert wait_until(agree, 15, lambda: f"{reported(0)} and {reported(1)}, not {counted()}")["processing",] >= ORDERS


# --- jobs ------------------------------------------------------------------------------------------

def leases(lab, service, name=None):
    """{job: (run, started_at, in seconds, whether it still runs)}"""
    return {row[0]: row[1:] for row in lab.sql(
        f"select name, run, extract(epoch from started_at)::float8, finished_at is null or finished_at < started_at"
        f" from {service}.leases") if name in (None, row[0])}


def periods(lab, service):
    done = subprocess.run([lab.env["ORRERY_BINARY"], "routes", f"oms/{service}", "--json"], text=True, cwd=lab.root,
                          stdout=subprocess.PIPE, check=True, timeout=30)
    return {job["name"]: job["every_s"] for job in json.loads(done.stdout)["jobs"]}


def runs_of(pair):
    """{(service, job): led runs as spans, by number}"""
    found = defaultdict(list)
    for span in pair.spans(lambda s: s.name.startswith("job ") and "orrery.job.run" in s.attributes):
        found[span.service, span.name.removeprefix("job ")].append(span)
    return {job: sorted(spans, key=lambda s: s.attributes["orrery.job.run"]) for job, spans in found.items()}


def test_no_job_runs_twice(pair):
    often = {(service, job) for service in LED for job, every_s in periods(pair.lab, service).items()
             if every_s <= 5 and job in leases(pair.lab, service)}
    assert len(often) >= 4
    wait_until(lambda: time.time_ns() > pair.began + 16e9, 20, "time for some runs")
    last = {(service, job): state for service in LED for job, state in leases(pair.lab, service).items()
            if state[1] > pair.began / 1e9 + 1}

    def told(job):
        return [s.attributes["orrery.job.run"] for s in runs_of(pair).get(job, [])]
    for job, (run, _, _) in last.items():
        wait_until(lambda job=job, run=run: run in told(job), 20, f"the span of run {run} of {job}")
    for (service, job), spans in runs_of(pair).items():
        numbers = [span.attributes["orrery.job.run"] for span in spans]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers))), f"{service} {job}: {numbers}"
        for one, next_one in zip(spans, spans[1:]):
            assert one.end <= next_one.start, f"{service} {job}: {one} and {next_one} at the same time"
        took_s, every_s = (spans[-1].end - pair.began) / 1e9, periods(pair.lab, service)[job]
        print(f"{service} {job}: {len(spans)} runs in {took_s:.1f} s, by each {pair.shares(spans)}")
        assert len(spans) <= took_s / (0.9 * every_s) + 1
    assert often <= set(runs_of(pair)), "each of them was run"


def process_with_port(pids, port, remote):
    """Which of the processes has the local end of a connection."""
    with open("/proc/net/tcp", encoding="ascii") as table:
        inode = next(f[9] for f in (line.split() for line in table)
                     if f[1].endswith(f":{port:04X}") and f[2].endswith(f":{remote:04X}") and f[9] != "0")
    for pid in pids:
        for name in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                if os.readlink(f"/proc/{pid}/fd/{name}") == f"socket:[{inode}]":
                    return pid
    raise AssertionError(f"nobody has port {port}")


def killed_in_a_run(pair):
    """Has a run of recovery wait for a lock, and kills whoever leads it; gives the run's number."""
    lab, owner = pair.lab, psycopg2.connect(pair.lab.env["ORRERY_POSTGRES_ADMIN_URL"])
    try:
        before = leases(lab, "orders")["recovery"][0]
        owner.cursor().execute("lock table orders.orders in access exclusive mode")

        def waiting():
            rows = lab.sql("select client_port from pg_stat_activity where wait_event_type = 'Lock'"
                           " and query ~ 'set tried_at = now'")
            return rows and rows[0][0]
        port = wait_until(waiting, 20, "a run that waits")
        run, _, running = leases(lab, "orders")["recovery"]
        assert running and run > before
        pids = [int(lab.pids()["orders"]), pair.replicas.all["orders"].process.pid]
        leader = process_with_port(pids, port, urlsplit(lab.env["ORRERY_POSTGRES_ADMIN_URL"]).port)
        os.kill(leader, signal.SIGKILL)
        return run
    finally:
        owner.close()


def test_when_the_leader_is_killed_in_a_run_the_next_begins_when_its_lease_is_over(pair):
    lab, every_s = pair.lab, periods(pair.lab, "orders")["recovery"]
    run = killed_in_a_run(pair)
    held_s = lab.one("select extract(epoch from held_until - started_at)::int from orders.leases"
                     " where name = 'recovery'")
    assert held_s == LEASE_S
    # The lease is cut short, by less than a job's period: it has to be waited for, and not for longer.
    free_at = lab.one("update orders.leases set held_until = greatest(now(), next_at) + interval '6 s'"
                      " where name = 'recovery' returning extract(epoch from held_until)::float8")
    wait_until(lambda: leases(lab, "orders")["recovery"][0] > run, 6 + 2 * every_s + 15, "the next run")
    next_run, started_at, _ = leases(lab, "orders")["recovery"]
    print(f"{started_at - free_at:.1f} s after the lease was over")
    assert next_run == run + 1
    assert free_at <= started_at <= free_at + every_s + 2
    wait_until(lambda: not leases(lab, "orders")["recovery"][2], 20, "its end")
    for url in (lab.url, pair.replicas.url):
        wait_until(lambda url=url: ready(pair, url), 20, "the killed one again")


def ready(pair, url):
    with contextlib.suppress(OSError):
        return pair.http.get(url("orders", "/ready"), timeout=3).status_code == 200
