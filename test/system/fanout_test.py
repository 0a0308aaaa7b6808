# SPDX-License-Identifier: MIT
"""Replicas of a service: what one pushes reaches the WebSocket clients of all, through Redis."""
import contextlib
import json
import re
import shutil
import subprocess
import time

import pytest

import ws_client
from host_test import serve  # noqa: F401 (a fixture)
from lab import free_port, wait_until

SERVICE = """\
local app = require "app"
local ws = require "ws"
local s = app.service "sample"
s:get("/push/:text", function(req) ws.push("news", { text = req.path.text }) return 200, "VERSION" end)
SOCKET
return s
"""
SOCKET = 's:ws("/ws", { accept = function() return { channels = { "news" } } end })'
CHANNEL = "orrery:ws:0:/sample"

pytestmark = pytest.mark.skipif(not shutil.which("redis-server"), reason="Redis is not installed")


def source(socket=SOCKET, version="one"):
    return SERVICE.replace("SOCKET", socket).replace("VERSION", version)


class Redis:
    def __init__(self):
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}"
        self.process = None
        self.start()

    def start(self):
        self.process = subprocess.Popen(
            ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no",
             "--dir", "/tmp"], stdout=subprocess.DEVNULL)
        wait_until(lambda: self.cli("ping") == "PONG", 10, "Redis")

    def cli(self, *words):
        done = subprocess.run(["redis-cli", "-p", str(self.port), *words], text=True, timeout=10,
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        return done.stdout.strip()

    def listeners(self):
        """Processes that listen to what the replicas publish."""
        return int(self.cli("pubsub", "numsub", CHANNEL).split()[-1])

    def kill(self):
        self.process.kill()
        self.process.wait()


@pytest.fixture
def redis():
    server = Redis()
    yield server
    server.kill()


@pytest.fixture
def replicas(serve, redis):  # noqa: F811
    """(a, b): two processes of one service that share a Redis."""
    def start(*words, text=None):
        hosts = [serve(text or source(), *words, ORRERY_REDIS_URL=redis.url) for _ in range(2)]
        if text is None:
            wait_until(lambda: redis.listeners() == 2, 10, "both to listen")
        return hosts
    return start


@contextlib.contextmanager
def clients(*hosts):
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(ws_client.connect(f"ws://127.0.0.1:{host.port}/ws")) for host in hosts]


def push(host, text):
    assert host.get(f"/push/{text}").status_code == 200


def next_text(client, seconds=10):
    return json.loads(client.recv(seconds))["text"]


def hears_nothing(client, seconds=0.3):
    try:
        return pytest.fail("came: " + client.recv(seconds))
    except TimeoutError:
        return True


def counted(host, outcome):
    name = re.escape(f'websocket_fanout_messages_total{{outcome="{outcome}"}}')
    found = re.search(rf"^{name} (\S+)$", host.get("/metrics").text, re.M)
    return float(found.group(1)) if found else 0


@pytest.mark.parametrize("workers", [1, 2])
def test_a_push_at_one_replica_reaches_the_clients_of_both_exactly_once(replicas, workers):
    a, b = replicas("--workers", str(workers))
    with clients(a, a, a, b, b, b) as all_of_them:
        sent = [f"{name}{i}" for i in range(50) for name in "ab"]
        for text in sent:
            push(a if text[0] == "a" else b, text)
        for client in all_of_them:
            got = [next_text(client) for _ in sent]
            assert sorted(got) == sorted(sent)
            if workers == 1:  # of one loop, in the order of pushing
                for name in "ab":
                    assert [t for t in got if t[0] == name] == [t for t in sent if t[0] == name]
        for client in all_of_them:
            hears_nothing(client, 0.1)
    assert counted(a, "sent") == counted(b, "sent") == 50
    assert counted(a, "received") == counted(b, "received") == 50


def test_without_redis_pushes_stay_local_and_with_it_they_are_fanned_out_again(replicas, redis):
    a, b = replicas()
    with clients(a, b) as (at_a, at_b):
        redis.kill()
        began = time.monotonic()
        push(a, "alone")
        assert next_text(at_a, 2) == "alone"
        assert time.monotonic() - began < 1, "a push waits for nobody"
        wait_until(lambda: counted(a, "failed") == 1, 10, "the failure to be counted")
        time_of_restart = time.monotonic()
        redis.start()
        wait_until(lambda: redis.listeners() == 2, 8, "both to listen again")
        number = 0
        while counted(a, "sent") < 1:  # the pool that publishes comes back on its own time
            assert time.monotonic() - time_of_restart < 10
            push(a, f"again{number}")
            number += 1
            wait_until(lambda: counted(a, "sent") + counted(a, "failed") == 1 + number, 5, "its end")
        assert next_text(at_b) == f"again{number - 1}"
        assert [next_text(at_a) for _ in range(number)] == [f"again{i}" for i in range(number)]
        hears_nothing(at_b)
    told = [line["message"] for line in b.lines() if CHANNEL in line["message"]]
    assert len(told) == 2 and "is missed" in told[0] and "is heard again" in told[1], told


def test_a_service_listens_from_its_first_socket_on_through_every_reload(replicas, redis):
    a, b = replicas(text=source(socket=""))
    file = a.process.args[2]

    def edit(**how):
        with open(file, "w") as out:
            out.write(source(**how))
        for host in (a, b):
            wait_until(lambda: host.get("/push/-").text == how["version"], 10, "the new version")

    assert redis.listeners() == 0
    edit(version="two")
    wait_until(lambda: redis.listeners() == 2, 10, "both to listen")
    with clients(a, b) as (at_a, at_b):
        for version in ("three", "four", "five"):
            edit(version=version)
            assert redis.listeners() == 2
        push(a, "reloaded")
        for client in (at_a, at_b):
            while (text := next_text(client)) == "-":
                pass
            assert text == "reloaded"


@pytest.mark.parametrize("workers", [1, 2])
def test_a_replica_ends_well_with_redis_and_without(replicas, redis, workers):
    a, b = replicas("--workers", str(workers))
    with clients(a, b):
        push(a, "x")
        assert a.end() == 0
        wait_until(lambda: redis.listeners() == 1, 5, "the end of its subscription")
        redis.kill()
        push(b, "y")
        assert b.end() == 0
    for host in (a, b):
        assert "ERROR" not in host.printed() and "runtime error" not in host.printed()
