# SPDX-License-Identifier: MIT
"""Slow clients and idle ones hold little, for a while, and nobody else waits for them."""
import contextlib
import os
import resource
import time

import pytest

from attacker import (Watch, allow_files, connect, connections, connections_end, is_closed, memory_kib,
                      others_are_served, read_all, series)
from host_test import script, serve  # noqa: F401  (a fixture)
from lab import wait_until

REQUEST_MS, IDLE_MS = 2000, 4000
TIMES = ["--request_timeout_ms", str(REQUEST_MS), "--idle_timeout_ms", str(IDLE_MS)]
SLACK_S = 4
IDLE = 5000
KIB_EACH = 8  # of a connection that is idle, or has sent a part of a small head
SERVICE = script('s:get("/quick", function() return 200, "quick" end)',
                 's:post("/body", function() return 200, "body" end)',
                 's:get("/large", function() return 200, ("x"):rep(8000000) end)')
PARTS = {
    "nothing": b"",
    "a part of a line": b"GET /quick HT",
    "a part of the head": b"GET /quick HTTP/1.1\r\nHost: a\r\nX-Slow: yes",
    "a part of the body": b"POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nx",
    "a part of a chunk": b"POST /body HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n8000\r\nx",
    "a chunk's endless size": b"POST /body HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;x",
}


@pytest.fixture
def crowd():
    """Connects many; all are closed in the end."""
    with contextlib.ExitStack() as stack:
        def gather(host, count, data=b""):
            return [stack.enter_context(connect(host, data)) for _ in range(count)]
        yield gather


def test_5000_idle_connections_hold_little_and_nobody_waits_for_them(serve, crowd):  # noqa: F811
    if allow_files(3 * IDLE) < IDLE + 500:
        pytest.skip("the limit of open files is too low")
    host = serve(SERVICE, "--connections_max", str(2 * IDLE), *TIMES)
    before = memory_kib(host)
    with others_are_served(host):
        idle = crowd(host, IDLE)
        wait_until(lambda: connections(host) >= IDLE, what="the idle ones")
        held = memory_kib(host) - before
        connections_end(host, IDLE_MS / 1000 + SLACK_S)
    assert held < IDLE * KIB_EACH, f"{held} KiB"
    assert all(is_closed(one) for one in idle)


def test_beyond_connections_max_the_longest_idle_make_room(serve, crowd):  # noqa: F811
    host = serve(SERVICE, "--connections_max", "100")
    crowd(host, 300)
    time.sleep(1)
    with others_are_served(host):
        time.sleep(1)
    assert series(host, "http_server_connections") <= 100


def test_where_no_more_files_can_be_opened_the_longest_idle_make_room(serve, crowd):  # noqa: F811
    host = serve(SERVICE)
    files = len(os.listdir(f"/proc/{host.process.pid}/fd"))
    resource.prlimit(host.process.pid, resource.RLIMIT_NOFILE, (files + 50, files + 50))
    crowd(host, 200)
    time.sleep(1)
    for _ in range(5):
        assert host.get("/quick").status_code == 200


@pytest.mark.parametrize("part", PARTS.values(), ids=PARTS.keys())
def test_who_sends_a_part_and_then_a_byte_a_time_is_closed_in_time(serve, crowd, part):  # noqa: F811
    host = serve(SERVICE, *TIMES)
    trickle = part[-1:] or b"G"
    with others_are_served(host), Watch(host) as watch:
        slow = crowd(host, 500, part)
        end = time.monotonic() + (REQUEST_MS if part else IDLE_MS) / 1000 + SLACK_S
        while part and time.monotonic() < end and not all(is_closed(one) for one in slow):
            for one in slow:
                with contextlib.suppress(OSError):
                    one.send(trickle)
            time.sleep(0.1)
        wait_until(lambda: all(is_closed(one) for one in slow),
                   max(0.1, end - time.monotonic()), "the slow ones to be closed")
    assert watch.grown_mib() < 20 and watch.tasks == 0


@pytest.mark.parametrize("what", ["bodies", "heads"])
def test_large_requests_that_do_not_end_hold_no_more_than_they_may(serve, crowd, what):  # noqa: F811
    host = serve(SERVICE, "--arriving_max_mb", "32", *TIMES)
    if what == "bodies":
        part = b"POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 900000
    else:
        part = b"GET /quick HTTP/1.1\r\nHost: a\r\nX-Large: " + b"x" * 400000
    with others_are_served(host), Watch(host) as watch:
        for _ in range(400):
            with contextlib.suppress(OSError):
                crowd(host, 1, part)
        connections_end(host, REQUEST_MS / 1000 + SLACK_S)
    # What the allocator keeps, and what comes between two looks, beside what is counted.
    assert watch.grown_mib() < 3 * 32 + 20, f"{watch.grown_mib():.0f} MiB"
    assert host.get("/quick").status_code == 200


def test_who_does_not_read_its_answer_is_closed_in_time(serve, crowd):  # noqa: F811
    host = serve(SERVICE, *TIMES)
    with others_are_served(host), Watch(host) as watch:
        crowd(host, 10, b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n")
        wait_until(lambda: connections(host) >= 10, what="them")
        connections_end(host, IDLE_MS / 1000 + SLACK_S)
    assert watch.grown_mib() < 10 * 8 * 3


def test_who_reads_its_answer_slowly_gets_it_all(serve, crowd):  # noqa: F811
    host = serve(SERVICE, "--idle_timeout_ms", "1000")
    reader, = crowd(host, 1, b"GET /large HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    got = 0
    for _ in range(60):  # for longer than an idle connection is kept
        got += len(reader.recv(40000))
        time.sleep(0.05)
    assert got + len(read_all(reader)) > 8000000
