# SPDX-License-Identifier: MIT
"""Whatever upstreams and clients send, the gateway lives, holds little, and says what was wrong."""
import contextlib
import hashlib
import socket
import threading
import time

import pytest
import requests

from attacker import Watch, connect, memory_kib, others_are_served, read_all, send_until_refused
from edge import (MIB, Upstream, declaration, edge, exchange, gateway, large, ok, reset, says,  # noqa: F401
                  slowly, until_closed, upstream, without_end)
from hostile_test import SHAPES
from lab import wait_until

HEAD = b"HTTP/1.1 200 OK\r\n"
TIMEOUT_MS = 1500

# An answer that can be read in two ways, or in none: 502, and its connection is not used again.
NONSENSE = {
    "an encoding other than chunked": HEAD + b"Transfer-Encoding: gzip\r\n\r\nx",
    "two codings": HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "two encodings": HEAD + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "encoding and length": HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
    "an encoding in HTTP/1.0": b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a length that is a word": HEAD + b"Content-Length: abc\r\n\r\n",
    "a negative length": HEAD + b"Content-Length: -1\r\n\r\n",
    "a length with a sign": HEAD + b"Content-Length: +1\r\n\r\nx",
    "a length that overflows": HEAD + b"Content-Length: 18446744073709551616\r\n\r\nx",
    "two lengths": HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nxy",
    "a list of lengths": HEAD + b"Content-Length: 1, 2\r\n\r\nxy",
    "no HTTP": b"220 mail.example ESMTP\r\n",
    "a folded header": HEAD + b"X: 1\r\n Content-Length: 3\r\n\r\n",
    "a status out of range": b"HTTP/1.1 999 Odd\r\nContent-Length: 0\r\n\r\n",
    "no status": b"HTTP/1.1 \r\n\r\n",
    "another protocol, unasked": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    "200 headers": HEAD + b"X: 1\r\n" * 200 + b"Content-Length: 0\r\n\r\n",
}
CUT = { # an answer that begins well and does not end: its client sees that
    "a body shorter than told": HEAD + b"Content-Length: 1000\r\n\r\n0123456789",
    "a chunk of no size": HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n",
    "chunks without an end": HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    "a chunk of a size too large": HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nfffffffffffffffff\r\n",
}


def reset_in_the_middle(connection, _):
    connection.sendall(HEAD + b"Content-Length: 1000\r\n\r\n0123456789")
    time.sleep(0.2)
    return reset(connection)


def early(connection, request):
    """The answer is there before the body is read, which nobody wants any more."""
    connection.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno")
    return until_closed(connection)


PATHS = {
    "/quick": says(ok(b"quick")),
    **{f"/nonsense/{i}": says(text, end=True) for i, text in enumerate(NONSENSE.values())},
    **{f"/cut/{i}": says(text, end=True) for i, text in enumerate(CUT.values())},
    "/endless-headers": without_end(HEAD, b"X-Header: value\r\n" * 100),
    "/endless-line": without_end(HEAD + b"X: ", b"x" * 4096),
    "/endless-interim": without_end(b"", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 50),
    "/interim": says(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n" + ok(b"after")),
    "/framing": without_end(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1;" + b"x" * 4000 + b"\r\na\r\n"),
    "/reset": reset,
    "/reset-in-the-middle": reset_in_the_middle,
    "/hang-up": lambda connection, _: False,
    "/silence": lambda connection, _: until_closed(connection),
    "/drip-head": slowly(HEAD + b"X: " + b"y" * 1000, 0.05),
    "/drip-body": slowly(HEAD + b"Content-Length: 40\r\n\r\n" + b"z" * 40, 0.02),
    "/stops": lambda connection, _: (connection.sendall(HEAD + b"Content-Length: 9\r\n\r\nabc"),
                                      until_closed(connection)),
    "/more": says(ok(b"asked") + ok(b"not asked")),
    "/large": large(100 * MIB),
    "/early": early,
    "/until-close": says(b"HTTP/1.0 200 OK\r\n\r\nto the end", end=True),
}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """One gateway before one upstream, for what leaves both as they were."""
    behind = Upstream(PATHS, early=(early,))
    host = gateway(tmp_path_factory.mktemp("edge"), declaration(
        behind.url, "breaker = false, retry = false, connections_max = 200",
        f"timeout_ms = {TIMEOUT_MS}, idle_timeout_ms = 1000, body_size_max = 1000000"))
    host.upstream = behind
    yield host
    assert host.end() == 0
    behind.close()


def get(site, path, **how):
    return requests.get(f"http://127.0.0.1:{site.port}{path}", timeout=20, **how)


# --- upstreams -----------------------------------------------------------------------------------

@pytest.mark.parametrize("at", range(len(NONSENSE)), ids=NONSENSE.keys())
def test_an_answer_that_is_nonsense_is_a_bad_gateway(site, at):
    answer = get(site, f"/nonsense/{at}")
    assert answer.status_code == 502, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["kind"] == "broken" and answer.json()["trace_id"]
    assert get(site, "/quick").text == "quick"


@pytest.mark.parametrize("at", range(len(CUT)), ids=CUT.keys())
def test_an_answer_that_is_cut_is_seen_to_be_cut(site, at):
    got = exchange(site, f"GET /cut/{at} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
    assert got.startswith(b"HTTP/1.1 200 ") or got.startswith(b"HTTP/1.1 502 "), got
    if got.startswith(b"HTTP/1.1 200 "):
        head, body = got.split(b"\r\n\r\n", 1)
        assert b"0\r\n\r\n" not in body if b"chunked" in head.lower() else len(body) < 1000
    assert get(site, "/quick").text == "quick"


def test_a_reset_in_the_middle_cuts_the_answer(site):
    got = exchange(site, b"GET /reset-in-the-middle HTTP/1.1\r\nHost: a\r\n\r\n")
    assert got.startswith(b"HTTP/1.1 200 ") and len(got.split(b"\r\n\r\n", 1)[1]) < 1000


@pytest.mark.parametrize("path", ["/endless-headers", "/endless-line", "/endless-interim"])
def test_a_head_without_end_is_a_bad_gateway_and_holds_little(site, path):
    with others_are_served(site), Watch(site) as watch:
        for _ in range(5):
            assert get(site, path).status_code == 502
    assert watch.grown_mib() < 8


def test_chunks_that_are_more_frame_than_content_are_cut(site):
    with Watch(site) as watch:
        got = exchange(site, b"GET /framing HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert got.startswith(b"HTTP/1.1 200 ") or got.startswith(b"HTTP/1.1 502 "), got
    if got.startswith(b"HTTP/1.1 200 "):
        assert not got.endswith(b"\r\n0\r\n\r\n") and got.split(b"\r\n\r\n", 1)[1].count(b"a") < 100
    assert watch.grown_mib() < 8
    assert get(site, "/quick").text == "quick"


@pytest.mark.parametrize("path, method, status, kind", [
    ("/reset", "GET", 502, "broken"), ("/hang-up", "GET", 502, "broken"),
    ("/reset", "POST", 503, "uncertain"), ("/hang-up", "POST", 503, "uncertain"),
    ("/silence", "GET", 504, "timeout"), ("/silence", "POST", 503, "uncertain"),
    ("/drip-head", "GET", 504, "timeout")])
def test_no_answer_has_the_status_of_its_reason(site, path, method, status, kind):
    began = time.monotonic()
    answer = requests.request(method, f"http://127.0.0.1:{site.port}{path}", timeout=20)
    assert (answer.status_code, answer.json()["kind"]) == (status, kind), answer.text
    assert time.monotonic() - began < TIMEOUT_MS / 1000 + 1.5


def test_who_stops_in_the_middle_of_an_answer_is_not_waited_for_longer_than_said(site):
    began = time.monotonic()
    got = exchange(site, b"GET /stops HTTP/1.1\r\nHost: a\r\n\r\n")
    assert got.endswith(b"\r\n\r\nabc") and 0.9 < time.monotonic() - began < 5


def test_a_body_that_drips_comes_whole(site):
    assert get(site, "/drip-body").text == "z" * 40


def test_interim_answers_are_not_the_answer(site):
    assert get(site, "/interim").text == "after"


def test_an_answer_may_end_with_its_connection(site):
    answer = get(site, "/until-close")
    assert answer.text == "to the end"


def test_what_nobody_asked_for_is_nobodys_answer(site):
    for _ in range(20):
        assert get(site, "/more").text == "asked"
        assert get(site, "/quick").text == "quick"


def test_an_answer_before_the_body_was_read_counts(site):
    answer = requests.post(f"http://127.0.0.1:{site.port}/early", data=b"x" * 900000, timeout=20)
    assert (answer.status_code, answer.text) == (403, "no")


def test_100_mb_pass_through_in_little_memory_however_slowly_they_are_read(site):
    expected = hashlib.sha256((bytes(range(256)) * 256) * (100 * MIB >> 16)).hexdigest()
    with others_are_served(site), Watch(site) as watch:
        slow = [connect(site, b"GET /large HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n") for _ in range(10)]
        with get(site, "/large", stream=True) as answer:
            digest = hashlib.sha256()
            for part in answer.iter_content(MIB):
                digest.update(part)
        for one in slow:
            assert one.recv(100000)
            one.close()
    assert digest.hexdigest() == expected
    assert watch.grown_mib() < 12, watch.grown_mib()


# --- clients -------------------------------------------------------------------------------------

@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
def test_a_request_that_can_be_read_in_two_ways_does_not_pass(site, shape):
    before = len(site.upstream.requests)
    with connect(site, shape) as client:
        answer = read_all(client)
    assert answer.startswith(b"HTTP/1.1 400 ") and answer.count(b"HTTP/1.1 ") == 1, answer
    assert len(site.upstream.requests) == before


@pytest.mark.parametrize("headers, gone, kept", [
    ({"Connection": "close, X-Secret", "X-Secret": "1"}, ["x-secret"], []),
    ({"Connection": "keep-alive, Host, Content-Length, X-Forwarded-For"}, ["keep-alive"], ["host", "x-forwarded-for"]),
    ({"Keep-Alive": "timeout=9", "Proxy-Connection": "close", "TE": "trailers, gzip", "Upgrade": "x"},
     ["keep-alive", "proxy-connection", "te", "upgrade"], []),
    ({"Proxy-Authorization": "Basic x"}, ["proxy-authorization"], []),
    ({"X-Envoy-Expected-Rq-Timeout-Ms": "1"}, [], ["x-envoy-expected-rq-timeout-ms"]),
], ids=["named", "named to mislead", "hop by hop", "of proxies", "a deadline of its own"])
def test_what_belongs_to_a_connection_ends_with_it(site, headers, gone, kept):
    requests.post(f"http://127.0.0.1:{site.port}/headers", data=b"body", headers=headers, timeout=10)
    seen = site.upstream.asked("/headers")[-1]
    assert seen.body == b"body" and seen.header("content-length") == "4"
    assert not {name for name, _ in seen.headers} & set(gone)
    assert all(seen.header(name) for name in kept)
    assert seen.header("connection") in (None, "keep-alive")
    if "X-Envoy-Expected-Rq-Timeout-Ms" in headers:
        assert int(seen.header("x-envoy-expected-rq-timeout-ms")) > 100


def test_what_a_client_says_of_itself_is_not_believed(site):
    forged = {"X-Forwarded-For": "192.0.2.9", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "bank.example",
              "Forwarded": "for=192.0.2.9", "X-Real-IP": "192.0.2.9"}
    get(site, "/forged", headers=forged)
    seen = site.upstream.asked("/forged")[-1]
    assert seen.header("x-forwarded-for") == "127.0.0.1"
    assert seen.header("x-forwarded-proto") == "http"
    assert seen.header("x-forwarded-host") == f"127.0.0.1:{site.port}"
    assert "192.0.2.9" not in str(seen.headers)


def test_a_body_above_the_limit_is_refused_before_anybody_is_asked(site):
    answer = requests.post(f"http://127.0.0.1:{site.port}/too-large", data=b"x" * 1000001, timeout=10)
    assert answer.status_code == 413
    assert not site.upstream.asked("/too-large")


def test_chunked_bodies_go_on_with_their_length(site):
    requests.post(f"http://127.0.0.1:{site.port}/chunked", data=iter([b"a" * 1000, b"b"]), timeout=10)
    seen = site.upstream.asked("/chunked")[-1]
    assert seen.body == b"a" * 1000 + b"b" and seen.header("content-length") == "1001"


@pytest.mark.parametrize("path", ["/large", "/silence", "/drip-head", "/stops"])
def test_clients_that_leave_leave_nothing_behind(site, path):
    with others_are_served(site), Watch(site) as watch:
        asked, clients = len(site.upstream.asked(path)), []
        for _ in range(60):
            clients.append(connect(site, f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode()))
        wait_until(lambda: len(site.upstream.asked(path)) >= asked + 60, 10, "them to be forwarded")
        for client in clients:
            client.close()
        wait_until(lambda: len(site.upstream.open) < 20, 1, "the upstream's connections to end")
    assert watch.grown_mib() < 12
    assert get(site, "/quick").text == "quick"


def test_who_reads_nothing_of_an_endless_answer_is_cut_off(edge, upstream):  # noqa: F811
    behind = upstream({"/large": large(100 * MIB), "/quick": says(ok(b"quick"))})
    host = edge(behind, "--idle_timeout_ms", "1500")
    with others_are_served(host), Watch(host) as watch, contextlib.ExitStack() as stack:
        for _ in range(20):
            stack.enter_context(connect(host, b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n"))
        wait_until(lambda: len(behind.open) >= 20, 10, "the twenty")
        wait_until(lambda: len(behind.open) < 10, 15, "them to be cut off")
    assert watch.grown_mib() < 20


def test_endless_requests_are_refused(site):
    with others_are_served(site), Watch(site) as watch:
        for start in (b"GET / HTTP/1.1\r\nHost: a\r\nX: ", b"POST / HTTP/1.1\r\nHost: a\r\n"
                      b"Transfer-Encoding: chunked\r\n\r\n5000\r\n" + b"x" * 0x5000 + b"\r\n5000\r\n"):
            with connect(site, start) as client:
                send_until_refused(client, b"x" * 10000, 50 * MIB)
    assert watch.grown_mib() < 12


def test_a_path_that_climbs_out_of_its_prefix_goes_where_it_leads(edge, upstream):  # noqa: F811
    shop, secret = upstream(), upstream()
    host = edge(shop, more=f"""
local hidden = edge:upstream("hidden", {{ address = "{secret.url}", health = false }})
edge:route("/hidden", hidden)
""")
    for path in ("/a/../hidden/x", "/a/%2e%2e/hidden/x", "/./hidden/x", "//hidden/x", "/a/..%2fhidden/x", "/hidden%2fx",
                 "/hidden-not", "/%68idden/x"):
        exchange(host, f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
    assert all(not request.path.startswith("/hidden/") for request in shop.requests), [r.path for r in shop.requests]
    assert all(request.path == "/hidden" or request.path.startswith("/hidden/") for request in secret.requests)
    assert "/hidden-not" in [request.path for request in shop.requests]


def test_an_upstream_that_is_the_gateway_itself_ends(edge, upstream, tmp_path):  # noqa: F811
    behind = upstream()
    host = edge(behind, route_options="timeout_ms = 2000")
    file = tmp_path / "edge0" / "service.lua"
    file.write_text(file.read_text().replace(behind.url, f"http://127.0.0.1:{host.port}"))
    wait_until(lambda: get(host, "/round").status_code >= 500, 10, "the round")
    began = time.monotonic()
    assert get(host, "/round").status_code >= 500
    assert time.monotonic() - began < 4
    file.write_text(file.read_text().replace(f"http://127.0.0.1:{host.port}", behind.url))
    wait_until(lambda: get(host, "/out").status_code == 200, 10, "the way out")


def test_five_hundred_hostile_answers_at_once_leave_the_gateway_as_it_was(site):
    before = memory_kib(site)
    paths = [f"/nonsense/{i}" for i in range(len(NONSENSE))] + [f"/cut/{i}" for i in range(len(CUT))] + [
        "/reset", "/hang-up", "/reset-in-the-middle"]

    def ask(some):
        for path in some:
            with contextlib.suppress(requests.RequestException):
                get(site, path)

    with others_are_served(site):
        threads = [threading.Thread(target=ask, args=(paths * 3,)) for _ in range(7)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert memory_kib(site) - before < 12 * 1024
    assert get(site, "/quick").text == "quick"
