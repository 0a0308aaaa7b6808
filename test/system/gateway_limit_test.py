# SPDX-License-Identifier: MIT
"""Limits count over all gateways with one Redis, and go on without it."""
import contextlib
import re
import signal
import socket
import subprocess
import threading
import time

import pytest
import requests

from attacker import memory_kib
from edge import Upstream, declaration, echo, gateway, labelled
from lab import free_port, wait_until

RATE, BURST, SECONDS = 200, 100, 5
EXACT = 0.01


class Redis:
    def __init__(self, folder):
        self.port = free_port()
        self.process = subprocess.Popen(
            ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)],
            stdout=subprocess.DEVNULL)
        wait_until(self.answers, 10, "Redis")

    def answers(self):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1) as s:
            s.sendall(b"PING\r\n")
            return s.recv(100) == b"+PONG\r\n"

    def close(self):
        self.process.send_signal(signal.SIGCONT)
        self.process.terminate()
        self.process.wait()


class Site:
    """Two gateways with the same limits before one upstream, which notes when it was asked."""

    def __init__(self, folder):
        self.times = []
        self.upstream = Upstream({"/press": self.note})
        self.redis = Redis(folder)
        source = declaration(self.upstream.url, "connections_max = 200, retry = false", "limits = { all }", f"""
local all = edge:limit("all", {{ requests = {RATE}, per_s = 1, burst = {BURST} }})
local few = edge:limit("few", {{ requests = 3, per_s = 60, burst = 3 }})
local mine = edge:limit("mine", {{ requests = 2, per_s = 60, burst = 2, by = "header:x-key" }})
edge:route("/few", up, {{ limits = {{ all, few }} }})
edge:route("/mine", up, {{ limits = {{ mine }} }})
edge:route("/free", up)
""")
        self.gateways = [gateway(folder / name, source, ORRERY_REDIS_URL=f"redis://127.0.0.1:{self.redis.port}/0")
                         for name in ("one", "two")]

    def note(self, connection, request):
        self.times.append(time.monotonic())
        echo(connection, request)

    def press(self, gateways):
        """More than is allowed, for a while, on these: how much passed, against what may."""
        self.times.clear()
        pressing = [subprocess.Popen(
            ["wrk", "-t1", "-c16", f"-d{SECONDS}s", f"http://127.0.0.1:{one.port}/press"], text=True,
            stdout=subprocess.PIPE) for one in gateways]
        for one in pressing:
            assert "Non-2xx" in one.communicate(timeout=30)[0], "it was not pressed hard enough"
        times = sorted(self.times)
        return len(times), BURST + RATE * (times[-1] - times[0])

    def close(self):
        for one in self.gateways:
            one.end()
        self.redis.close()
        self.upstream.close()


@pytest.fixture
def site(tmp_path):
    made = Site(tmp_path)
    yield made
    made.close()


def get(host, path, **headers):
    return requests.get(f"http://127.0.0.1:{host.port}{path}", headers=headers, timeout=10)


def test_two_gateways_together_let_through_what_one_limit_says_to_one_percent(site):
    passed, allowed = site.press(site.gateways)
    assert abs(passed / allowed - 1) < EXACT, (passed, allowed)
    print(f"{passed} passed of {allowed:.0f} allowed: {100 * (passed / allowed - 1):+.2f} %")


def test_without_redis_each_gateway_limits_by_itself_at_once_and_says_so(site):
    one = site.gateways[0]
    assert get(one, "/press").status_code == 200
    site.redis.process.terminate()
    site.redis.process.wait()
    passed, allowed = site.press([one])
    assert abs(passed / allowed - 1) < EXACT, (passed, allowed)
    wait_until(lambda: any(line["message"] == "limits are decided without Redis" for line in one.lines()), 10,
               "the log line")
    assert labelled(one.get("/metrics").text, "gateway_limited_requests_total", limit="all", by="local") > 0
    ready = one.get("/ready")
    assert (ready.status_code, ready.json()["dependencies"][0]["status"]) == (200, "down"), "it serves, and says so"
    passed, allowed = site.press(site.gateways)
    assert abs(passed / (2 * allowed) - 1) < 0.1, (passed, allowed)


def test_a_redis_that_hangs_makes_nobody_wait_for_long(site):
    one = site.gateways[0]
    assert get(one, "/press").status_code == 200
    site.redis.process.send_signal(signal.SIGSTOP)
    took = []
    for _ in range(40):
        began = time.monotonic()
        assert get(one, "/press").status_code == 200
        took.append(time.monotonic() - began)
    assert max(took) < 1 and sorted(took)[20] < 0.05, took
    site.redis.process.send_signal(signal.SIGCONT)

    def counted_by_redis():
        answers = [get(host, "/few").status_code for host in site.gateways * 3]
        return 429 in answers and any(
            labelled(host.get("/metrics").text, "gateway_limited_requests_total", limit="few", by="redis")
            for host in site.gateways)

    wait_until(counted_by_redis, 15, "Redis to count again")


def test_who_is_refused_hears_when_to_come_again(site):
    one, two = site.gateways
    answers = [get(host, "/few") for host in (one, two, one, two)]
    assert [a.status_code for a in answers] == [200, 200, 200, 429]
    refused = answers[3]
    assert 18 <= int(refused.headers["Retry-After"]) <= 20
    assert refused.json()["kind"] == "limit" and refused.headers["Content-Type"] == "application/problem+json"
    assert re.search(r'"few";.*q=3', refused.headers["RateLimit-Policy"])
    assert re.search(r'"few";.*r=0', refused.headers["RateLimit"])
    assert "r=2" in answers[0].headers["RateLimit"]
    assert get(one, "/free").status_code == 200 and "RateLimit" not in get(one, "/free").headers


def test_callers_told_apart_by_a_header_do_not_take_from_one_another(site):
    one, two = site.gateways
    for key in ("a", "b"):
        assert [get(host, "/mine", **{"X-Key": key}).status_code for host in (one, two, one)] == [200, 200, 429]
    # Without the header it is the client's address that counts.
    assert [get(host, "/mine").status_code for host in (one, two, one)] == [200, 200, 429]


def test_nothing_of_a_caller_stands_in_redis(site):
    get(site.gateways[0], "/mine", **{"X-Key": "secret-token"})
    get(site.gateways[0], "/press")
    with socket.create_connection(("127.0.0.1", site.redis.port)) as s:
        s.sendall(b"KEYS *\r\n")
        keys = s.recv(65536)
    assert b"secret-token" not in keys and b"127.0.0.1" not in keys and keys.count(b"$") >= 2


def test_a_crowd_of_callers_holds_little(tmp_path):
    upstream = Upstream()
    host = gateway(tmp_path / "edge", declaration(upstream.url, "", "limits = { each }", """
local each = edge:limit("each", { requests = 1, per_s = 3600, burst = 1, by = "header:x-key" })
"""))
    try:
        before = memory_kib(host)

        def crowd(start):
            session = requests.Session()
            for i in range(start, 20000, 4):
                session.get(f"http://127.0.0.1:{host.port}/", headers={"X-Key": f"caller-{i}"}, timeout=10)

        threads = [threading.Thread(target=crowd, args=(i,)) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert memory_kib(host) - before < 6 * 1024
        assert get(host, "/", **{"X-Key": "caller-19999"}).status_code == 429
    finally:
        host.end()
        upstream.close()
