# SPDX-License-Identifier: MIT
"""Hostile clients are refused, with bounded memory and tasks, and others are served meanwhile."""
import base64
import contextlib
import os
import struct
import time

import pytest

from attacker import (CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, PREFACE, PRIORITY,
                      SETTINGS, Watch, connect, discard, frame, frames_of, get, head_block, others_are_served,
                      read_all, reset, send_until_refused, series)
from host_test import script, serve  # noqa: F401  (a fixture)
from lab import wait_until

WORK_MAX = 100  # under way for one connection: HTTP_CONNECTION_WORK_MAX
SERVICE = script('local task = require "task"',
                 's:get("/quick", function() return 200, "quick" end)',
                 's:get("/slow", function() task.sleep(1) return 200, "slow" end)',
                 's:post("/body", function() return 200, "body" end)',
                 's:get("/hidden", function() return 200, "hidden" end)',
                 's:ws("/echo", { message = function(conn, text) conn:send(text) end })')
HTTP2 = ["--http2", "1"]


# --- request smuggling ---------------------------------------------------------------------------

HIDDEN = b"GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST /body HTTP/1.1\r\nHost: a\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
SHAPES = {
    "length and encoding": POST + b"Content-Length: 5\r\n" + CHUNKED + b"\r\n0\r\n\r\n" + HIDDEN,
    "encoding and length": POST + CHUNKED + b"Content-Length: 5\r\n\r\n0\r\n\r\n" + HIDDEN,
    "two lengths": POST + b"Content-Length: 0\r\nContent-Length: 33\r\n\r\n" + HIDDEN,
    "two equal lengths": POST + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\nx" + HIDDEN,
    "a list of lengths": POST + b"Content-Length: 0, 33\r\n\r\n" + HIDDEN,
    "a length with a sign": POST + b"Content-Length: +0\r\n\r\n" + HIDDEN,
    "a negative length": POST + b"Content-Length: -1\r\n\r\n" + HIDDEN,
    "a hexadecimal length": POST + b"Content-Length: 0x0\r\n\r\n" + HIDDEN,
    "an empty length": POST + b"Content-Length:\r\n\r\n" + HIDDEN,
    "a length that overflows": POST + b"Content-Length: 18446744073709551616\r\n\r\n" + HIDDEN,
    "a blank before the colon of a length": POST + b"Content-Length : 33\r\n\r\n" + HIDDEN,
    "a blank before the colon of an encoding": POST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n" + HIDDEN,
    "a folded header": POST + b"X-A: 1\r\n Content-Length: 33\r\n\r\n" + HIDDEN,
    "a folded encoding": POST + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n" + HIDDEN,
    "a folded first header": b"POST /body HTTP/1.1\r\n X: 1\r\nHost: a\r\n\r\n" + HIDDEN,
    "an unknown encoding": POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + HIDDEN,
    "two codings": POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n" + HIDDEN,
    "chunked twice": POST + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n" + HIDDEN,
    "two encodings": POST + CHUNKED + b"Transfer-Encoding: identity\r\n\r\n0\r\n\r\n" + HIDDEN,
    "an encoding in HTTP/1.0": b"POST /body HTTP/1.0\r\nHost: a\r\n" + CHUNKED + b"\r\n0\r\n\r\n" + HIDDEN,
    "a bare LF after the request line": b"POST /body HTTP/1.1\nHost: a\r\n\r\n" + HIDDEN,
    "a bare LF after a header": POST + b"X: 1\nContent-Length: 33\r\n\r\n" + HIDDEN,
    "a bare LF after the last header": b"POST /body HTTP/1.1\r\nHost: a\n\r\n" + HIDDEN,
    "a bare LF at the end of the head": POST + b"\n" + HIDDEN,
    "a bare CR in a header": POST + b"X: 1\rContent-Length: 33\r\n\r\n" + HIDDEN,
    "a NUL in a header": POST + b"X: 1\0\r\n\r\n" + HIDDEN,
    "a vertical tab before an encoding": POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n" + HIDDEN,
    "no name before the colon": POST + b": 1\r\n\r\n" + HIDDEN,
    "no host": b"POST /body HTTP/1.1\r\n\r\n" + HIDDEN,
    "two hosts": POST + b"Host: b\r\n\r\n" + HIDDEN,
    "a chunk of no size": POST + CHUNKED + b"\r\n\r\n" + HIDDEN,
    "a chunk of a negative size": POST + CHUNKED + b"\r\n-1\r\n\r\n" + HIDDEN,
    "a chunk of too large a size": POST + CHUNKED + b"\r\nfffffffffffffffff\r\n" + HIDDEN,
    "a chunk longer than its size": POST + CHUNKED + b"\r\n1\r\nxy\r\n0\r\n\r\n" + HIDDEN,
}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """One host for what leaves it as it was."""
    from host_test import Host, CHECKOUT
    file = tmp_path_factory.mktemp("sample") / "service.lua"
    file.write_text(SERVICE)
    host = Host(file, "--request_timeout_ms", "3000", ORRERY_ROOT=str(CHECKOUT))
    yield host
    assert host.end() == 0


def hidden_served(host):
    return 'endpoint="/hidden"' in host.get("/metrics").text


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
def test_a_request_that_can_be_read_in_two_ways_is_refused_and_ends_its_connection(site, shape):
    with connect(site, shape) as client:
        answer = read_all(client)
    assert answer.startswith(b"HTTP/1.1 400 "), answer
    assert answer.count(b"HTTP/1.1 ") == 1 and b"Connection: close" in answer
    assert not hidden_served(site)


@pytest.mark.parametrize("ending", [b"0\r\n\r\n", b"0\n\r\n", b"0;x\ny\r\n\r\n", b"0\r\nX: 1\n\n"])
def test_nothing_after_a_chunked_body_is_taken_for_a_request(site, ending):
    with connect(site, POST + CHUNKED + b"\r\n" + ending + HIDDEN) as client:
        answer = read_all(client)
    assert answer.startswith(b"HTTP/1.1 200 ") and answer.count(b"HTTP/1.1 ") == 1
    assert not hidden_served(site)


# --- heads ---------------------------------------------------------------------------------------

HEADS = {
    "101 headers": b"".join(b"X-%d: 1\r\n" % i for i in range(101)) + b"\r\n",
    "one huge header": b"X: " + b"y" * 500000 + b"\r\n\r\n",
    "a huge name": b"X" * 500000 + b": 1\r\n\r\n",
}


@pytest.mark.parametrize("rest", HEADS.values(), ids=HEADS.keys())
def test_the_number_and_size_of_headers_is_bounded(site, rest):
    with connect(site) as client:
        with contextlib.suppress(OSError):
            client.sendall(b"GET /quick HTTP/1.1\r\nHost: a\r\n" + rest)
        answer = read_all(client)
    assert answer == b"" or answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 431 ")), answer


@pytest.mark.parametrize("line", [b"X: 1\r\n", b"x", b"\r\n", b"\0"], ids=["lines", "a line", "nothing", "NUL"])
def test_an_endless_head_ends_its_connection(site, line):
    with others_are_served(site), Watch(site) as watch:
        for _ in range(50):
            with connect(site, b"GET /quick HTTP/1.1\r\nHost: a\r\nY: ") as client:
                send_until_refused(client, line * 10000, 100 << 20)
    assert watch.grown_mib() < 30 and watch.tasks == 0


# --- too much at once ----------------------------------------------------------------------------

def test_beyond_tasks_max_requests_are_refused_or_wait_and_all_are_answered(serve):  # noqa: F811
    host = serve(SERVICE, "--tasks_max", "50")
    with Watch(host) as watch, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(connect(
            host, b"GET /slow HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")) for _ in range(400)]
        answers = [read_all(client)[:13] for client in clients]
    assert set(answers) <= {b"HTTP/1.1 200 ", b"HTTP/1.1 503 "}
    assert answers.count(b"HTTP/1.1 200 ") >= 50
    assert watch.tasks <= 50


# --- HTTP/2 --------------------------------------------------------------------------------------

def test_http2_is_off_unless_it_is_asked_for(site):
    with connect(site, PREFACE + get(1, "/quick")) as client:
        assert read_all(client).startswith(b"HTTP/1.1 400 ")
    with connect(site, b"GET /quick HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings, close\r\n"
                       b"Upgrade: h2c\r\nHTTP2-Settings: \r\n\r\n") as client:
        assert read_all(client).startswith(b"HTTP/1.1 200 ")


def reset_rapidly(client, streams, pause_s):
    """Opens and resets streams until they are so many or the connection ends: at once, or when a
    handler had time to start. Gives how many."""
    opened, each = 0, 50 if pause_s else 1000
    with contextlib.suppress(OSError):
        while opened < streams:
            ids = range(2 * opened + 1, 2 * (opened + each), 2)
            if pause_s:
                client.sendall(b"".join(get(i, "/slow") for i in ids))
                time.sleep(pause_s)
                client.sendall(b"".join(reset(i) for i in ids))
            else:
                client.sendall(b"".join(get(i, "/slow") + reset(i) for i in ids))
            opened += each
    return opened


@pytest.mark.parametrize("pause_s", [0, 0.002], ids=["reset at once", "reset when it is served"])
def test_a_rapid_reset_starts_few_tasks(serve, pause_s):  # noqa: F811
    host = serve(SERVICE, *HTTP2)
    with others_are_served(host), Watch(host) as watch, connect(host, PREFACE) as client:
        discard(client)
        assert reset_rapidly(client, 20000, pause_s) >= 1000
        time.sleep(0.5)
    assert watch.tasks <= WORK_MAX and watch.grown_mib() < 20
    wait_until(lambda: series(host, "tasks") == 0, what="the tasks to end")


def status_of(client, stream):
    """The status in the HEADERS frame that answers this stream: "503", or "200" by its index."""
    got = b""
    while True:
        part = client.recv(65536)
        assert part, "the connection was closed"
        got += part
        for kind, _, number, payload in frames_of(got):
            if kind == HEADERS and number == stream and payload:
                return "200" if payload[0] == 0x88 else payload[2:5].decode()


def test_what_a_client_has_left_behind_counts_until_it_is_done(serve):  # noqa: F811
    host = serve(SERVICE, *HTTP2)
    with connect(host, PREFACE) as client:
        for start in range(1, 4 * WORK_MAX, WORK_MAX):
            ids = range(start, start + WORK_MAX, 2)
            client.sendall(b"".join(get(i, "/slow") for i in ids))
            wait_until(lambda: series(host, "tasks") >= min(start // 2 + WORK_MAX // 2, WORK_MAX), what="tasks")
            client.sendall(b"".join(reset(i) for i in ids))
        assert series(host, "tasks") == WORK_MAX
        client.sendall(get(1001, "/slow"))
        assert status_of(client, 1001) == "503"
        wait_until(lambda: series(host, "tasks") == 0, what="the tasks to end")
        client.sendall(get(1003, "/slow"))
        assert status_of(client, 1003) == "200"


HUGE = struct.pack(">I", 0xffffff)[1:]
REFERENCES = b"\x40\x01a" + b"\x7f\xe1\x1e" + b"b" * 4000 + b"\xbe" * 12000  # one entry, many references
FLOODS = {
    "an oversized frame": HUGE + b"\x00\x00\x00\x00\x00\x01" + b"x" * 30000,
    "an oversized head": HUGE + b"\x01\x04\x00\x00\x00\x01" + b"x" * 30000,
    "an endless head": frame(HEADERS, END_STREAM, 1, head_block("/quick"))
    + frame(CONTINUATION, 0, 1, b"\x00\x01a\x01b" * 3000) * 50,
    "an endless empty head": frame(HEADERS, END_STREAM, 1, head_block("/quick")) + frame(CONTINUATION, 0, 1) * 50000,
    "a head of references": get(1, "/quick") + b"".join(
        frame(HEADERS, END_STREAM | END_HEADERS, i, head_block("/quick") + REFERENCES[:16000]) for i in range(3, 203, 2)),
    "a head of 400,000 references": b"".join(
        frame(HEADERS, END_STREAM, i, head_block("/quick") + REFERENCES[:16000])
        + frame(CONTINUATION, 0, i, b"\xbe" * 16384) * 23 + frame(CONTINUATION, END_HEADERS, i) for i in range(1, 61, 2)),
    "pings": frame(PING, 0, 0, b"12345678") * 50000,
    "settings": frame(SETTINGS) * 50000,
    "priorities": b"".join(frame(PRIORITY, 0, i, b"\0\0\0\0\x10") for i in range(1, 50001, 2)),
    "data for nobody": get(1, "/quick") + frame(DATA, 0, 1) * 50000,
    "heads that break the compression": frame(HEADERS, END_STREAM | END_HEADERS, 1, b"\xff\xff\xff\xff\xff\xff"),
}


@pytest.mark.parametrize("flood", FLOODS.values(), ids=FLOODS.keys())
def test_a_flood_of_http2_frames_holds_little(serve, flood):  # noqa: F811
    host = serve(SERVICE, *HTTP2)
    with others_are_served(host), Watch(host) as watch:
        for _ in range(20):
            with connect(host, PREFACE) as client:
                discard(client)
                send_until_refused(client, flood, len(flood))
        time.sleep(0.2)
    assert watch.tasks <= WORK_MAX and watch.grown_mib() < 100, f"{watch.grown_mib():.0f} MiB"


def test_the_number_of_http2_headers_is_bounded(serve):  # noqa: F811
    host = serve(SERVICE, *HTTP2)
    block = head_block("/quick") + b"\x40\x01a\x01b" + b"\xbe" * 100
    with connect(host, PREFACE + frame(HEADERS, END_STREAM | END_HEADERS, 1, block)) as client:
        assert status_of(client, 1) == "431"
        client.sendall(frame(HEADERS, END_STREAM | END_HEADERS, 3, block[:-1]))
        assert status_of(client, 3) == "200"


def test_an_oversized_http2_frame_is_answered_by_goaway(serve):  # noqa: F811
    host = serve(SERVICE, *HTTP2)
    with connect(host, PREFACE + FLOODS["an oversized frame"]) as client:
        kinds = [f[0] for f in frames_of(read_all(client))]
    assert GOAWAY in kinds


# --- WebSocket -----------------------------------------------------------------------------------

def ws_frame(text, opcode=1, final=True, size=None):
    size = len(text) if size is None else size
    head = bytes([0x80 * final | opcode])
    if size < 126:
        head += bytes([0x80 | size])
    elif size < 1 << 16:
        head += b"\xfe" + struct.pack(">H", size)
    else:
        head += b"\xff" + struct.pack(">Q", size)
    return head + b"\0\0\0\0" + text


def ws_connect(host):
    key = base64.b64encode(os.urandom(16))
    client = connect(host, b"GET /echo HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                           b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + key + b"\r\n\r\n")
    assert client.recv(4096).startswith(b"HTTP/1.1 101 ")
    return client


def ws_close_code(data):
    """Of the close frame that the data end with."""
    at = data.rfind(b"\x88")
    assert at >= 0, data
    return struct.unpack(">H", data[at + 2:at + 4])[0]


MESSAGES = {
    "a frame of 4 EiB": (ws_frame(b"x" * 1000, size=1 << 62), 1009),
    "a frame above the limit": (ws_frame(b"x" * 100000), 1009),
    "a message above the limit": (ws_frame(b"x" * 60000, final=False) + ws_frame(b"x" * 60000, opcode=0), 1009),
    "a message of many fragments": (ws_frame(b"x", final=False) + ws_frame(b"x", opcode=0, final=False) * 60000, 1008),
    "a message of empty fragments": (ws_frame(b"", final=False) + ws_frame(b"", opcode=0, final=False) * 60000, 1008),
    "a ping above the limit": (ws_frame(b"x" * 200, opcode=9), 1002),
    "a fragmented ping": (ws_frame(b"x", opcode=9, final=False), 1002),
    "an unknown opcode": (ws_frame(b"x", opcode=5), 1002),
    "no mask": (b"\x81\x01x", 1002),
    "no text": (ws_frame(b"\xff\xff"), 1007),
}


@pytest.mark.parametrize("message, code", MESSAGES.values(), ids=MESSAGES.keys())
def test_a_websocket_that_sends_what_it_may_not_is_closed_with_the_reason(site, message, code):
    with others_are_served(site), Watch(site) as watch:
        for _ in range(20):
            with ws_connect(site) as client:
                with contextlib.suppress(OSError):
                    client.sendall(message)
                got = read_all(client)
                assert not got or ws_close_code(got) == code
    assert watch.grown_mib() < 20


def test_a_websocket_that_does_not_read_is_closed(site):
    text = ws_frame(b"x" * 60000)
    with others_are_served(site), Watch(site) as watch, ws_connect(site) as client:
        client.settimeout(10)  # the closing handshake, which it does not read either, has 5 s
        end = time.monotonic() + 10
        with pytest.raises(OSError):
            while time.monotonic() < end:
                client.sendall(text)
    assert watch.grown_mib() < 30
