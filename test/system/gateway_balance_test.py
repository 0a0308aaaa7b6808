# SPDX-License-Identifier: MIT
"""The gateway finds out who answers, and asks nobody else."""
import contextlib
import itertools
import signal
import statistics
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from edge import declaration, echo, edge, gateway, labelled, ok, reset, says, upstream  # noqa: F401
from host_test import Host, script
from lab import CHECKOUT, free_port, wait_until

SERVICE = script('local task = require "task"',
                 's:post("/work", function(req) task.sleep(0.02) return 201, { made = true } end)',
                 's:get("/work", function(req) task.sleep(0.02) return 200, { made = false } end)')


class Load:
    """Clients that ask all the time, safe and unsafe, each on its own connection."""

    def __init__(self, url, clients=12, methods=("GET", "POST")):
        self.url, self.done, self.ended = url, [], threading.Event()
        self.methods = methods
        self.threads = [threading.Thread(target=self.run) for _ in range(clients)]

    def run(self):
        session = requests.Session()
        for method in itertools.cycle(self.methods):
            if self.ended.is_set():
                return
            began = time.monotonic()
            try:
                answer = session.request(method, self.url, timeout=15)
                outcome = answer.status_code if answer.status_code < 300 else answer.text
            except requests.RequestException as error:
                outcome = repr(error)
            self.done.append((began, time.monotonic(), method, outcome))

    def failures(self):
        return [one for one in self.done if not isinstance(one[3], int)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        wait_until(lambda: len(self.done) > 100, 20, "the load")
        return self

    def __exit__(self, *_):
        self.ended.set()
        for thread in self.threads:
            thread.join()


@pytest.fixture
def three(tmp_path):
    """Three replicas of a service."""
    made, file = [], tmp_path / "sample" / "service.lua"
    file.parent.mkdir()
    file.write_text(SERVICE)

    def start(port=None):
        words = ["--port", str(port)] if port else []
        made.append(Host(file, *words, wait=not port, ORRERY_ROOT=str(CHECKOUT), ORRERY_UNREADY_MS="700"))
        made[-1].port = port or made[-1].port
        return made[-1]

    hosts = [start() for _ in range(3)]
    hosts[0].start_again = start
    yield hosts
    for host in made:
        host.end(signal.SIGKILL)


def addresses(hosts):
    return ",".join(f"http://127.0.0.1:{host.port}" for host in hosts)


def asked(host):
    return labelled(host.get("/metrics").text, "http_requests_total", endpoint="/work")


WATCHED = 'health = { interval_ms = 300, timeout_ms = 500 }'


@pytest.fixture
def before_three(three, tmp_path):
    def make(options="", **parts):
        hosts.append(gateway(tmp_path / "edge", declaration(addresses(three), f"{WATCHED}, {options}", **parts)))
        return hosts[-1]

    hosts = []
    yield make
    for host in hosts:
        assert host.end() == 0


@pytest.mark.parametrize("balance", ["round_robin", "least_busy"])
def test_load_spreads_evenly(three, before_three, balance):
    host = before_three(f'balance = "{balance}"')
    with Load(f"http://127.0.0.1:{host.port}/work") as load:
        wait_until(lambda: len(load.done) > 600, 20, "load")
    shares = [asked(one) for one in three]
    assert load.failures() == []
    assert sum(shares) == len(load.done) and min(shares) > 0.25 * sum(shares), shares


def test_of_three_one_killed_costs_at_most_what_it_had_under_way(three, before_three):
    host = before_three()
    with Load(f"http://127.0.0.1:{host.port}/work") as load:
        three[1].process.kill()
        three[1].process.wait()
        killed, count = time.monotonic(), len(load.done)
        wait_until(lambda: len(load.done) > count + 500, 20, "load after it")
        failed = load.failures()
        assert all(began < killed and method == "POST" for began, _, method, _ in failed), (killed, failed)
        metrics = host.get("/metrics").text
        assert labelled(metrics, "gateway_upstream_addresses", upstream="up", state="up") == 2
        three[0].start_again(three[1].port)
        wait_until(lambda: labelled(host.get("/metrics").text, "gateway_upstream_addresses", state="up") == 3, 15,
                   "the third to be back")
        wait_until(lambda: asked_at(three[1].port) > 20, 15, "work for it")
    assert [one for one in load.failures() if one[0] >= killed] == []
    print(f"{len(failed)} of {len(load.done)} failed, all under way when it was killed")


def asked_at(port):
    with contextlib.suppress(requests.RequestException):
        return labelled(requests.get(f"http://127.0.0.1:{port}/metrics", timeout=3).text, "http_requests_total",
                        endpoint="/work")
    return 0


def test_replicas_replaced_one_by_one_under_load_cost_nothing(three, before_three):
    host = before_three()
    with Load(f"http://127.0.0.1:{host.port}/work") as load:
        for one in three:
            assert one.end() == 0
            fresh = three[0].start_again(one.port)
            wait_until(fresh.answers, 10, "the fresh one")
            wait_until(lambda: labelled(host.get("/metrics").text, "gateway_upstream_addresses", state="up") == 3, 10,
                       "that it is taken up")
    assert load.failures() == [] and len(load.done) > 500


def test_a_breaker_opens_answers_at_once_and_closes_again(edge, upstream):  # noqa: F811
    state = {"good": False}
    behind = upstream({"/x": lambda c, r: echo(c, r) if state["good"] else reset(c)})
    host = edge(behind, upstream_options="breaker = { failures = 3, open_ms = 700 }, retry = false")
    for _ in range(3):
        assert requests.get(f"http://127.0.0.1:{host.port}/x", timeout=5).status_code == 502
    count = len(behind.requests)
    began = time.monotonic()
    answers = [requests.get(f"http://127.0.0.1:{host.port}/x", timeout=5) for _ in range(5)]
    assert time.monotonic() - began < 0.5
    assert {a.status_code for a in answers} == {503} and {a.json()["kind"] for a in answers} == {"unavailable"}
    assert len(behind.requests) == count, "nobody is asked while it is open"
    metrics = host.get("/metrics").text
    assert labelled(metrics, "gateway_breaker_transitions_total", upstream="up", to="open") == 1
    assert labelled(metrics, "gateway_upstream_addresses", upstream="up", state="open") == 1
    state["good"] = True
    wait_until(lambda: requests.get(f"http://127.0.0.1:{host.port}/x", timeout=5).status_code == 200, 5, "it to close")
    assert labelled(host.get("/metrics").text, "gateway_breaker_transitions_total", to="closed") == 1


def test_safe_requests_are_tried_elsewhere_unsafe_ones_that_were_sent_are_not(edge, upstream):  # noqa: F811
    bad, good = upstream({"/x": reset}), upstream()
    host = edge(f"{bad.url},{good.url}", upstream_options="breaker = false")
    assert {requests.get(f"http://127.0.0.1:{host.port}/x", timeout=5).status_code for _ in range(10)} == {200}
    statuses = [requests.post(f"http://127.0.0.1:{host.port}/x", data=b"once", timeout=5).status_code
                for _ in range(10)]
    assert sorted(set(statuses)) == [200, 503]
    posted = [r for r in bad.requests + good.requests if r.method == "POST"]
    assert len(posted) == 10, "each was sent once"
    assert labelled(host.get("/metrics").text, "gateway_retries_total", upstream="up", outcome="made") >= 4


def test_what_could_not_be_sent_is_sent_elsewhere_whatever_the_method(edge, upstream):  # noqa: F811
    good = upstream()
    host = edge(f"http://127.0.0.1:{free_port()},{good.url}", upstream_options="breaker = false")
    assert {requests.post(f"http://127.0.0.1:{host.port}/x", data=b"once", timeout=5).status_code
            for _ in range(10)} == {200}
    assert len(good.requests) == 10


def test_retries_have_a_budget(edge, upstream):  # noqa: F811
    bad = upstream({"/x": reset})
    host = edge(f"{bad.url},{upstream({'/x': reset}).url}",
                upstream_options="breaker = false, retry = { attempts_max = 2, ratio = 0.1, per_s = 1 }")
    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(lambda _: requests.get(f"http://127.0.0.1:{host.port}/x", timeout=10).status_code,
                                 range(400)))
    assert set(statuses) == {502}
    metrics = host.get("/metrics").text
    made = labelled(metrics, "gateway_retries_total", outcome="made")
    assert labelled(metrics, "gateway_retries_total", outcome="refused") > 200 and 0 < made < 100


def test_who_says_503_at_ready_gets_nothing_new_and_is_asked_when_nobody_else_is_there(edge, upstream):  # noqa: F811
    state = {"ready": True}

    def ready(connection, request):
        connection.sendall(ok(b"") if state["ready"] else
                           b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")

    one, two = upstream({"/ready": ready}), upstream({"/ready": says(ok(b""))})
    host = edge_watched(edge, f"{one.url},{two.url}")
    state["ready"] = False
    wait_until(lambda: labelled(host.get("/metrics").text, "gateway_upstream_addresses", state="down") == 1, 5, "down")
    count = len(one.asked("/x"))
    for _ in range(20):
        assert requests.get(f"http://127.0.0.1:{host.port}/x", timeout=5).status_code == 200
    assert len(one.asked("/x")) == count
    two.close()
    wait_until(lambda: labelled(host.get("/metrics").text, "gateway_upstream_addresses", state="down") == 2, 10, "all down")
    wait_until(lambda: requests.get(f"http://127.0.0.1:{host.port}/x", timeout=5).status_code == 200, 5,
               "the one that is there to be asked")


def edge_watched(edge, address):  # noqa: F811
    return edge(address, upstream_options="health = { interval_ms = 200, timeout_ms = 500 }")


def test_slow_replicas_get_less_where_the_least_busy_is_asked(edge, upstream):  # noqa: F811
    slow = upstream({"/x": lambda c, r: (time.sleep(0.3), echo(c, r))})
    quick = upstream({"/x": lambda c, r: (time.sleep(0.01), echo(c, r))})
    host = edge(f"{slow.url},{quick.url}", upstream_options='balance = "least_busy"')
    with Load(f"http://127.0.0.1:{host.port}/x", 8, ("GET",)) as load:
        wait_until(lambda: len(load.done) > 400, 20, "load")
    assert load.failures() == []
    assert len(slow.asked("/x")) < 0.35 * len(quick.asked("/x"))


def test_a_list_in_a_file_is_followed(edge, upstream, tmp_path):  # noqa: F811
    one, two = upstream(), upstream()
    file = tmp_path / "addresses"
    file.write_text(one.url + "\n")
    host = edge(f"file://{file}", upstream_options="resolve_ms = 200")
    assert requests.get(f"http://127.0.0.1:{host.port}/x", timeout=5).status_code == 200
    file.write_text(f"{two.url}\n")
    wait_until(lambda: requests.get(f"http://127.0.0.1:{host.port}/x", timeout=5) and two.requests, 5, "the second")
    count = len(one.requests)
    for _ in range(10):
        assert requests.get(f"http://127.0.0.1:{host.port}/x", timeout=5).status_code == 200
    assert len(one.requests) == count
    file.unlink()
    wait_until(lambda: any("keeps its addresses" in line["message"] for line in host.lines()), 5, "that it is missed")
    assert requests.get(f"http://127.0.0.1:{host.port}/x", timeout=5).status_code == 200, "what is known stays"


def test_two_workers_serve_and_forward_alike(edge, upstream):  # noqa: F811
    behind = upstream({"/x": lambda c, r: (time.sleep(0.005), echo(c, r))})
    host = edge(behind, "--workers", "2")
    with Load(f"http://127.0.0.1:{host.port}/x", 8, ("GET", "POST")) as load:
        wait_until(lambda: len(load.done) > 400, 20, "load")
    assert load.failures() == []
    assert statistics.median(end - began for began, end, _, _ in load.done) < 1
