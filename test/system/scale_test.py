# SPDX-License-Identifier: MIT
"""Several instances of a service: they come and go behind the gateway, and who asks does not notice."""
import os
import re
import shutil
import socket
import tempfile
import threading

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families as prometheus

from lab import Lab, port_is_free, wait_until

ORDERS = ["orders", "orders-2", "orders-3"]


@pytest.fixture(scope="module")
def grown(collector):
    """A lab of its own, with room for three instances of each service."""
    state = tempfile.mkdtemp(prefix="orrery-scale-", dir="/var/tmp")
    os.chmod(state, 0o755)
    lab = Lab(state, collector.url, spans=3)
    try:
        lab.up()
        yield lab
    finally:
        lab.command("down", check=False)
        shutil.rmtree(state, ignore_errors=True)


@pytest.fixture
def one(grown):
    grown.scale(orders=1, inventory=1)
    return grown


@pytest.fixture
def three(grown):
    grown.scale(orders=3, inventory=1)
    return grown


class Customers:
    """They list and place orders through the gateway all the time; what they are answered is kept."""

    def __init__(self, lab):
        self.lab, self.answers, self.ending = lab, [], threading.Event()
        lab.token()
        lab.set_stock("SKU-0062", 100000)
        self.threads = [threading.Thread(target=self.go_on, args=(what,))
                        for what in (self.look, self.look, self.place)]

    def look(self, session):
        return session.get(self.lab.url("gateway", "/api/v1/orders"), headers=self.lab.headers(), timeout=15)

    def place(self, session):
        return self.lab.order([{"sku": "SKU-0062", "quantity": 1}], session=session, via="gateway")

    def go_on(self, what):
        session = requests.Session()
        while not self.ending.is_set():
            try:
                answer = what(session)
                self.answers.append((what.__name__, answer.status_code, answer.text[:300]))
            except requests.RequestException as e:
                self.answers.append((what.__name__, None, str(e)))

    def count(self, status):
        return sum(1 for answer in self.answers if answer[1] == status)

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        self.more()
        return self

    def more(self):
        """Until twenty more of each kind have come."""
        looked, placed = self.count(200), self.count(201)
        wait_until(lambda: self.count(200) >= looked + 20 and self.count(201) >= placed + 20, 60,
                   lambda: f"answers: {self.answers[-3:]}")

    def __exit__(self, kind, *_):
        try:
            if kind is None:
                self.more()
        finally:
            self.ending.set()
            for thread in self.threads:
                thread.join()

    def failures(self):
        return [answer for answer in self.answers if answer[1] not in (200, 201)]


def address(lab, name):
    return lab.url(name).removeprefix("http://")


def served(lab, name):
    """Requests for lists of orders that an instance has answered."""
    return sum(sample.value for family in prometheus(lab.metrics(name)) for sample in family.samples
               if sample.name == "http_requests_total" and sample.labels["endpoint"] == "/api/v1/orders")


def look(lab, times):
    """So many requests through the gateway, each on a connection of its own."""
    for _ in range(times):
        assert requests.get(lab.url("gateway", "/api/v1/orders"), headers=lab.headers(), timeout=10).status_code == 200


def moments(lab, name, message):
    """When an instance logged it."""
    return [line["timestamp"] for line in lab.log_lines(name) if line["message"] == message]


# --- up ----------------------------------------------------------------------------------------


def test_two_more_instances_leave_everything_else_running(one):
    before = one.pids()
    one.scale(orders=3)
    after = one.pids()
    assert set(after) - set(before) == {"orders-2", "orders-3"}
    assert {name: after[name] for name in before} == before
    assert one.addresses("orders") == {address(one, name): True for name in ORDERS}


def test_status_shows_each_instance_with_its_port(three):
    rows = {line.split()[0]: line.split() for line in three.command("status").stdout.splitlines()[1:]}
    assert [int(rows[name][3]) - three.base for name in ORDERS] == [1, 101, 201]
    assert all(rows[name][4] == "yes" for name in ORDERS)
    assert len({rows[name][2] for name in ORDERS}) == 3


def test_requests_are_spread_over_all_of_them(three, collector):
    before = {name: served(three, name) for name in ORDERS}
    look(three, 30)
    shares = [served(three, name) - before[name] for name in ORDERS]
    assert sum(shares) == 30 and min(shares) >= 8, shares
    ports = {int(three.url(name).rsplit(":", 1)[1]) for name in ORDERS}

    def instances():
        with collector.lock:
            spans = list(collector.spans)
        asked = {span.id: span for span in spans if span.service == "gateway" and span.kind == "client"}
        return {(asked[span.parent].attributes["server.port"], span.resource["service.instance.id"])
                for span in spans if span.service == "orders" and span.kind == "server" and span.parent in asked
                and asked[span.parent].attributes["server.port"] in ports}
    seen = wait_until(lambda: instances() if {port for port, _ in instances()} == ports else None, 20, "their spans")
    assert len({ident for _, ident in seen}) >= 3, "each has an id of its own"


def test_the_number_is_remembered_until_another_is_asked_for(three):
    before = three.pids()
    three.up()
    assert three.pids() == before
    three.scale(users=2)
    assert set(three.pids()) - set(before) == {"users-2"}
    ports = [int(three.url(name).rsplit(":", 1)[1]) for name in (*ORDERS, "users-2")]
    three.down()
    assert all(port_is_free(port) for port in ports)
    three.up()
    assert set(three.pids()) == {*before, "users-2"}
    assert three.order(via="gateway").status_code == 201
    three.scale(users=1)
    assert set(three.pids()) == set(before)


def test_a_killed_instance_costs_nobody_an_answer_and_comes_back(three):
    with Customers(three) as customers:
        pid = three.pids()["orders-2"]
        os.kill(int(pid), 9)
        wait_until(lambda: three.pids()["orders-2"] not in ("-", pid) and three.addresses("orders") == {
            address(three, name): True for name in ORDERS}, 20, "it again")
    lost = [answer for answer in customers.failures() if answer[0] == "look"]
    assert lost == [], "what is safe to repeat was asked of another one"


# --- one after another -------------------------------------------------------------------------


def test_a_restart_goes_from_one_to_the_next_and_no_request_fails(three):
    before = three.pids()
    with Customers(three) as customers:
        three.command("restart", "orders")
    after = three.pids()
    assert customers.failures() == []
    assert all(after[name] not in ("-", before[name]) for name in ORDERS)
    assert {name: after[name] for name in before if name not in ORDERS} == {
        name: before[name] for name in before if name not in ORDERS}
    for first, second in zip(ORDERS, ORDERS[1:]):
        assert moments(three, first, "serving")[-1] < moments(three, second, "draining")[-1]


@pytest.mark.parametrize("name, process", [("orders-2", "orders-2"), ("orders-1", "orders")])
def test_one_instance_restarts_alone(three, name, process):
    before = three.pids()
    three.command("restart", name)
    after = three.pids()
    assert [each for each in before if after[each] != before[each]] == [process]


def test_reload_reaches_every_instance_or_the_one_that_is_named(three):
    pids = three.pids()
    assert set(re.findall(r"process (\d+): generation", three.command("reload", "orders").stdout)) == {
        pids[name] for name in ORDERS}
    assert re.findall(r"process (\d+): generation", three.command("reload", "orders-3").stdout) == [pids["orders-3"]]


def test_an_instance_that_is_stopped_is_down_for_the_gateway_and_its_reload_fails(three):
    three.command("stop", "orders-3")
    try:
        wait_until(lambda: three.addresses("orders")[address(three, "orders-3")] is False, 10, "the gateway's look")
        assert three.command("reload", "orders", check=False).returncode != 0
        look(three, 10)
    finally:
        three.command("start", "orders-3")
    wait_until(lambda: three.addresses("orders")[address(three, "orders-3")], 10, "the gateway's look")


# --- down --------------------------------------------------------------------------------------


def test_instances_that_go_are_not_asked_any_more_and_no_request_fails(three):
    before = three.pids()
    ports = [int(three.url(name).rsplit(":", 1)[1]) for name in ORDERS[1:]]
    with Customers(three) as customers:
        three.scale(orders=1)
        assert three.addresses("orders") == {address(three, "orders"): True}
    assert customers.failures() == []
    after = three.pids()
    assert after == {name: pid for name, pid in before.items() if name not in ORDERS[1:]}
    assert all(port_is_free(port) for port in ports)
    for name in ORDERS[1:]:
        assert not (three.state / "service" / name).exists()
        assert moments(three, name, "draining"), "it ended by itself"


# --- who asks them -----------------------------------------------------------------------------


def test_who_asks_a_service_is_told_of_all_its_instances(three):
    before = three.pids()
    with Customers(three) as customers:
        three.scale(inventory=2)
    assert customers.failures() == [], "who is told anew restarts one after another"
    after = three.pids()
    assert {name for name in before if after[name] != before[name]} == set(ORDERS)

    def asked(name):
        return sum(sample.value for family in prometheus(three.metrics(name)) for sample in family.samples
                   if sample.name == "http_requests_total" and sample.labels["endpoint"].startswith("/api/"))
    before = {name: asked(name) for name in ("inventory", "inventory-2")}
    for _ in range(12):
        assert three.order(via="gateway").status_code == 201
    assert all(asked(name) >= before[name] + 6 for name in before)


def test_who_is_one_and_told_anew_is_restarted_while_others_are_there(one):
    """orders is told of the second inventory, and of its end: it restarts when orders-2 has come, or before it
    goes."""
    before = one.pids()
    with Customers(one) as customers:
        one.scale(orders=2, inventory=2)
        between = one.pids()
        one.scale(orders=1, inventory=1)
    assert customers.failures() == []
    assert len({before["orders"], between["orders"], one.pids()["orders"]}) == 3
    assert one.addresses("orders") == {address(one, "orders"): True}


# --- what is refused ---------------------------------------------------------------------------


@pytest.mark.parametrize("words, said", [
    (["--scale", "gateway=2"], "one gateway"), (["--scale", "redis=2"], "no service 'redis'"),
    (["--scale", "orders=10"], "orders=1 to orders=9"), (["--scale", "orders=0"], "orders=1 to orders=9"),
    (["--scale", "orders"], "how many"), (["--scale"], "--scale NAME=N"), (["orders=3"], "nothing else"),
])
def test_what_cannot_be_scaled_is_said_and_changes_nothing(grown, words, said):
    before = grown.pids()
    done = grown.command("up", *words, check=False)
    assert done.returncode != 0 and said in done.stdout
    assert grown.pids() == before


def test_a_taken_port_of_an_instance_is_a_clear_error_and_changes_nothing(one):
    before = one.pids()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", one.base + 103))
        taken.listen()
        done = one.command("up", "--scale", "payments=2", check=False)
    assert done.returncode != 0 and str(one.base + 103) in done.stdout
    assert one.pids() == before
    one.up()
    assert one.pids() == before, "it is not remembered either"


# --- all of them -------------------------------------------------------------------------------


def test_every_service_replaced_one_by_one_under_load_costs_nobody_anything(grown):
    """Ten processes, each restarted while customers look and place orders: no request fails, and what was
    ordered is paid, sold and told of."""
    services = ["orders", "inventory", "payments", "users", "notifications"]
    grown.scale(**{name: 2 for name in services})
    before, began = grown.pids(), grown.one("select now()")
    with Customers(grown) as customers:
        for name in services:
            grown.command("restart", name)
    after = grown.pids()
    assert customers.failures() == []
    assert all(after[name] != before[name] for each in services for name in (each, each + "-2"))
    placed = customers.count(201)
    wait_until(lambda: grown.one(
        "select count(distinct o.id) from orders.orders o join payments.payments p on p.order_id = o.id::text"
        " join notifications.notifications n on n.order_id = o.id::text"
        " where o.created_at > %s and o.status = 'processing' and p.status = 'captured'", began) >= placed, 30,
        "every order to be paid and told of")
    wait_until(grown.settled, 30, "the stock to be sold")
    print(f"{placed} orders and {customers.count(200)} lists, none failed")
