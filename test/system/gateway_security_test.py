# SPDX-License-Identifier: MIT
"""What strangers, customers, upstreams and neighbours try at the edge: paths that lead elsewhere, headers
that speak for somebody else, heads that cost much, HTTP/2 that would be other requests in HTTP/1."""
import pathlib
import socket
import ssl
import subprocess
import time
import uuid

import pytest
import requests

import ws_client
from attacker import (DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PREFACE, RST_STREAM, frame, frames_of,
                      others_are_served, read_all, reset)
from edge import (declaration, edge, exchange, gateway, ok, says, upstream)  # noqa: F401 (fixtures)
from gateway_test import certificate
from host_test import script, serve  # noqa: F401 (a fixture)
from lab import wait_until

GET = b"GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
HANDSHAKE = (b"GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
             b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n")


def status(answer):
    return int(answer.split(b" ", 2)[1]) if answer else None


def cpu_s(host):
    fields = pathlib.Path(f"/proc/{host.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / 100


# --- heads ---------------------------------------------------------------------------------------

def test_the_most_headers_that_pass_are_not_too_many_for_a_service(edge, serve):  # noqa: F811
    behind = serve(script('s:get("/x", function() return 200, "well" end)'))
    host = edge(f"http://127.0.0.1:{behind.port}")
    tracing = f"traceparent: 00-{'a' * 32}-{'b' * 16}-01\r\ntracestate: a=b\r\nCookie: a=b\r\n".encode()

    def ask(count):
        return status(exchange(host, GET + tracing + b"".join(b"X-%d: 1\r\n" % i for i in range(count)) + b"\r\n"))

    assert [ask(count) for count in (88, 89, 95)] == [200, 431, 431]


@pytest.mark.parametrize("line", [b"X: " + b"x" * 70000, b"Cookie: " + b"x" * 70000,
                                  b"Connection: close" + b", a" * 100000], ids=["long", "cookie", "names"])
def test_a_head_that_no_service_would_take_is_refused_at_the_edge(edge, upstream, line):  # noqa: F811
    behind = upstream()
    host = edge(behind)
    began = cpu_s(host)
    assert [status(exchange(host, GET + line + b"\r\nX-A: 1\r\n" * 80 + b"\r\n")) for _ in range(5)] == [431] * 5
    assert cpu_s(host) - began < 0.4, "the names in Connection are not looked for in every header"
    assert not behind.requests and status(exchange(host, GET + b"\r\n")) == 200


def test_an_answer_whose_connection_names_thousands_costs_little(edge, upstream):  # noqa: F811
    many = b"Connection: X-Hop" + b",a" * 30000 + b"\r\nX-Hop: 1\r\nX-End: 1\r\n" + b"X: 1\r\n" * 100
    behind = upstream({"/x": says(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n" + many + b"\r\n")})
    host = edge(behind)
    began = cpu_s(host)
    for _ in range(40):
        answer = exchange(host, GET + b"\r\n").lower()
        assert status(answer) == 200 and b"x-end: 1" in answer and b"x-hop" not in answer
    assert cpu_s(host) - began < 0.5


# --- who somebody says he is ---------------------------------------------------------------------

FORGED = {"X-Envoy-External-Address": "192.0.2.9", "X-Envoy-Internal": "true", "X-Envoy-Upstream-Rq-Timeout-Ms": "1",
          "X_Forwarded_For": "192.0.2.9", "X-Forwarded_For": "192.0.2.9", "X_Real_IP": "192.0.2.9",
          "Content_Length": "192", "Transfer_Encoding": "chunked192", "X_Request_Id": "192", "Proxy": "http://192.0.2.9"}


def test_no_header_of_a_proxy_comes_from_outside_however_it_is_spelled(edge, upstream):  # noqa: F811
    behind = upstream()
    requests.post(f"http://127.0.0.1:{edge(behind).port}/x", data=b"body", timeout=10, headers={**FORGED, "X_Own": "1"})
    seen, = behind.requests
    assert "192" not in str([header for header in seen.headers if header[0] not in ("traceparent", "x-request-id")])
    assert seen.header("x_own") == "1" and seen.body == b"body"


def test_what_before_sets_is_not_said_beside_it_in_another_spelling(edge, upstream):  # noqa: F811
    behind = upstream()
    host = edge(behind, route_options='before = function() return gate.with { ["X-User-Id"] = "7" } end')
    requests.get(f"http://127.0.0.1:{host.port}/x", timeout=10,
                 headers={"X-User-Id": "1", "X_User_Id": "1", "x-user_id": "1"})
    assert [value for name, value in behind.requests[-1].headers if name.replace("_", "-") == "x-user-id"] == ["7"]


@pytest.mark.parametrize("method", ["CONNECT", "TRACE"])
def test_a_method_that_is_for_proxies_goes_no_further(edge, upstream, method):  # noqa: F811
    behind = upstream()
    host = edge(behind, "--http2", "1")
    answer = exchange(host, f"{method} /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
    assert status(answer) == 405 and b"\r\nallow: GET" in answer
    assert outcome(host, block(*pseudo(method=method.encode()))) == "answered"
    assert not behind.requests


def test_whoever_holds_a_network_of_ipv6_is_one_client(edge, serve):  # noqa: F811
    behind = serve(script('s:ws("/ws", { message = function() end })', 's:get("/x", function() return 200, "" end)'))
    host = edge(f"http://127.0.0.1:{behind.port}", "--trusted_proxies", "127.0.0.1",
                route_options="upgrade = true, upgrades_per_client_max = 3, limits = { few }",
                more='local few = edge:limit("few", { requests = 5, per_s = 600 })')
    held = []

    def shake_hands(client):
        held.append(socket.create_connection(("127.0.0.1", host.port), timeout=10))
        held[-1].sendall(HANDSHAKE + f"X-Forwarded-For: {client}\r\n\r\n".encode())
        return status(held[-1].recv(1000))

    def ask(client):
        return status(exchange(host, GET + f"X-Forwarded-For: {client}\r\n\r\n".encode()))

    assert [shake_hands(f"2001:db8::{i}") for i in range(1, 5)] == [101, 101, 101, 429]
    assert shake_hands("2001:db8:0:1::1") == 101, "of another network"
    assert [ask(f"2001:db8:0:2:{i}::") for i in range(6)] == [200] * 5 + [429]
    assert [ask(client) for client in ("192.0.2.1", "::ffff:192.0.2.1", "::FFFF:C000:201") * 2] == [200] * 5 + [429]
    for one in held:
        one.close()


# --- limits and where a path leads ---------------------------------------------------------------

def test_no_spelling_of_a_limited_path_is_outside_its_limit(edge, upstream):  # noqa: F811
    behind = upstream()
    host = edge(behind, more="""
local once = edge:limit("once", { requests = 1, per_s = 600 })
edge:route("/users/login", up, { limits = { once } })
""")

    def ask(path, method="POST"):
        return status(exchange(host, f"{method} {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode()))

    assert ask("/users/login") == 200
    for path in ("/users/login", "/users/login?x", "/users/login/", "/users/%6cogin", "/users/%6Cogin", "/users/./login",
                 "/users/x/../login", "/users/x/%2e%2E/login", "/../users/login", "/users/login/.", "/users/login//",
                 "/users/login/x/..", "http://a/users/login", "/users/login%2f", "/users/login;x", "/users/Login",
                 "/users//login", "/users%2flogin", "/users/login#", "/users/login%20"):
        for method in ("POST", "HEAD", "OPTIONS"):
            found = ask(path, method)
            assert found == 429 or (found == 200 and behind.requests[-1].path not in ("/users/login", "/users/login/")), path
    assert len([r for r in behind.requests if r.path.startswith("/users/login/") or r.path == "/users/login"]) == 1


# --- HTTP/2 --------------------------------------------------------------------------------------

def block(*headers):
    def text(value):
        size, head = len(value), b""
        if size >= 127:
            head, size = b"\x7f", size - 127
            while size >= 128:
                head, size = head + bytes([size % 128 + 128]), size // 128
        return head + bytes([size]) + value
    return b"".join(b"\0" + text(name) + text(value) for name, value in headers)


def pseudo(method=b"GET", path=b"/x", authority=b"a"):
    return (b":method", method), (b":scheme", b"http"), (b":path", path), (b":authority", authority)


def outcome(host, head, body=None, seconds=5):
    """answered, or refused by a reset of the stream or the end of the connection."""
    got = b""
    with socket.create_connection(("127.0.0.1", host.port), timeout=seconds) as client:
        client.sendall(PREFACE + frame(HEADERS, END_HEADERS | (END_STREAM if body is None else 0), 1, head) +
                       (b"" if body is None else frame(DATA, END_STREAM, 1, body)))
        while part := client.recv(65536):
            got += part
            for kind, flags, stream, _ in frames_of(got):
                if kind in (RST_STREAM, GOAWAY):
                    return "refused"
                if kind in (DATA, HEADERS) and flags & END_STREAM and stream == 1:
                    return "answered"
    return "refused"


NOT_HTTP1 = {
    "a blank in the method": (pseudo(method=b"GET /y HTTP/1.1\r\nHost: a\r\n\r\nGET"), None),
    "a blank in the path": (pseudo(path=b"/x y"), None),
    "a line in the path": (pseudo(path=b"/x HTTP/1.1\r\nX: 1\r\n"), None),
    "a blank in the query": (pseudo(path=b"/x?a b"), None),
    "a line in the query": (pseudo(path=b"/x?a\r\nX: 1"), None),
    "no path": (pseudo(path=b""), None),
    "a star": (pseudo(method=b"OPTIONS", path=b"*"), None),
    "a line in the authority": (pseudo(authority=b"a\r\nX: 1"), None),
    "a path in the authority": (pseudo(authority=b"a/b"), None),
    "a user in the authority": (pseudo(authority=b"a@b"), None),
    "two paths": (pseudo() + ((b":path", b"/y"),), None),
    "a path after the headers": (pseudo()[:2] + ((b"x", b"1"),) + pseudo()[2:], None),
    "an unknown pseudo header": (pseudo() + ((b":protocol", b"websocket"),), None),
    "a line in a value": (pseudo() + ((b"x", b"1\r\nY: 1"),), None),
    "half a line in a value": (pseudo() + ((b"x", b"1\nY: 1"),), None),
    "a NUL in a value": (pseudo() + ((b"x", b"1\0"),), None),
    "a line in a name": (pseudo() + ((b"x: 1\r\ny", b"1"),), None),
    "a colon in a name": (pseudo() + ((b"transfer-encoding:chunked", b"1"),), None),
    "a blank in a name": (pseudo() + ((b"transfer-encoding ", b"chunked"),), None),
    "capitals in a name": (pseudo() + ((b"Transfer-Encoding", b"chunked"),), None),
    "an encoding": (pseudo(b"POST") + ((b"transfer-encoding", b"chunked"),), b"0\r\n\r\n"),
    "a connection": (pseudo() + ((b"connection", b"x"),), None),
    "an upgrade": (pseudo() + ((b"upgrade", b"websocket"),), None),
    "a body longer than told": (pseudo(b"POST") + ((b"content-length", b"0"),), b"GET /y HTTP/1.1\r\n\r\n"),
    "a body shorter than told": (pseudo(b"POST") + ((b"content-length", b"30"),), b"abc"),
    "two lengths": (pseudo(b"POST") + ((b"content-length", b"3"), (b"content-length", b"9")), b"abc"),
}


@pytest.fixture(scope="module")
def http2(tmp_path_factory):
    from edge import Upstream
    behind = Upstream({"/push": says(ok(b"", "Link: </x>; rel=preload"))})
    host = gateway(tmp_path_factory.mktemp("edge"), declaration(behind.url), "--http2", "1")
    host.upstream = behind
    yield host
    assert host.end() == 0
    behind.close()


@pytest.mark.parametrize("headers, body", NOT_HTTP1.values(), ids=NOT_HTTP1.keys())
def test_what_would_be_another_request_in_http1_does_not_pass(http2, headers, body):
    before = len(http2.upstream.requests)
    outcome(http2, block(*headers), body)
    assert outcome(http2, block(*pseudo(path=b"/after"))) == "answered"
    assert [request.path for request in http2.upstream.requests[before:]] == ["/after"]


def test_trailers_speak_for_nobody_and_crumbs_are_one_cookie(http2):
    with socket.create_connection(("127.0.0.1", http2.port), timeout=10) as client:
        client.sendall(PREFACE + frame(HEADERS, END_HEADERS, 1, block(
            *pseudo(b"POST", b"/trailers"), (b"cookie", b"a=1"), (b"cookie", b"b=2"))) + frame(DATA, 0, 1, b"abc") +
            frame(HEADERS, END_STREAM | END_HEADERS, 1, block((b"x-forwarded-for", b"192.0.2.9"))))
        wait_until(lambda: http2.upstream.asked("/trailers"), 10, "the request")
    seen, = http2.upstream.asked("/trailers")
    assert seen.body == b"abc" and seen.header("cookie") == "a=1; b=2"
    assert seen.header("x-forwarded-for") == "127.0.0.1"


def test_an_upstream_cannot_have_anything_pushed(http2):
    before = len(http2.upstream.requests)
    assert outcome(http2, block(*pseudo(path=b"/push"))) == "answered"
    assert outcome(http2, block(*pseudo(path=b"/after"))) == "answered"
    assert [request.path for request in http2.upstream.requests[before:]] == ["/push", "/after"]


def test_streams_reset_at_once_cost_the_upstream_nothing(http2):
    before = http2.upstream.connections
    with others_are_served(http2), socket.create_connection(("127.0.0.1", http2.port), timeout=10) as client:
        client.sendall(PREFACE)
        for stream in range(1, 2001, 2):
            client.sendall(frame(HEADERS, END_STREAM | END_HEADERS, stream, block(*pseudo(path=b"/reset"))) + reset(stream))
    assert len(http2.upstream.asked("/reset")) < 100
    assert http2.upstream.connections - before < 150


# --- browsers, sockets, TLS ----------------------------------------------------------------------

@pytest.mark.parametrize("origin", ["null", "http://shop.example.evil", "http://evil.shop.example", "http://shop.example:80",
                                    "https://shop.example", "HTTP://SHOP.EXAMPLE", "http://shop.example, null", "*", ""])
def test_only_an_origin_that_is_named_may_read(edge, upstream, origin):  # noqa: F811
    own = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nAccess-Control-Allow-Origin: *\r\n\r\n".encode()
    host = edge(upstream({"/x": says(own)}), more='edge:cors { origins = { "http://shop.example" }, credentials = true }')
    answer = exchange(host, GET + f"Origin: {origin}\r\n\r\n".encode()).lower()
    assert status(answer) == 200 and b"access-control-" not in answer and b"vary: origin" in answer
    asked = exchange(host, b"OPTIONS /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\nAccess-Control-Request-Method: PUT\r\n"
                     + f"Origin: {origin}\r\n\r\n".encode()).lower()
    assert status(asked) == 403 and b"access-control-allow" not in asked


def test_a_handshake_that_fails_opens_no_way_past_the_edge(edge, serve):  # noqa: F811
    behind = serve(script('s:ws("/ws", { message = function() end })', 's:get("/hidden", function() return 200, "hidden" end)'))
    host = edge(f"http://127.0.0.1:{behind.port}", route_options="upgrade = true", more="""
local nowhere = edge:upstream("nowhere", { address = "http://127.0.0.1:1", health = false })
edge:route("/hidden", nowhere)
""")
    behind_it = b"GET /hidden HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    for change in ((b"Version: 13", b"Version: 9"), (b"websocket", b"h2c"), (b"websocket", b"h2c, websocket"),
                   (b"GET", b"POST"), (b"HTTP/1.1", b"HTTP/1.0"), (b"Key: dGhlIHNhbXBsZSBub25jZQ==", b"Key: x")):
        with socket.create_connection(("127.0.0.1", host.port), timeout=10) as client:
            client.sendall(HANDSHAKE.replace(*change) + b"\r\n" + behind_it)
            got = read_all(client)
        assert b" 101 " not in got and not got.endswith(b"hidden"), (change, got)


def test_tls_takes_no_cipher_that_is_broken_later(tmp_path, upstream):  # noqa: F811
    cert, key = certificate(tmp_path)
    host = gateway(tmp_path / "tls", declaration(upstream().url), "--tls_certificate", str(cert), "--tls_key", str(key),
                   wait=False)

    def shakes_hands(ciphers):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(ciphers)
        try:
            with socket.create_connection(("127.0.0.1", host.port), timeout=10) as plain:
                return bool(context.wrap_socket(plain).cipher())
        except ssl.SSLError:
            return False
        except ConnectionRefusedError:
            return None

    try:
        wait_until(lambda: shakes_hands("ECDHE+AESGCM"), 10, "the gateway")
        assert shakes_hands("ECDHE+CHACHA20")
        assert not shakes_hands("ECDHE-ECDSA-AES128-SHA:ECDHE-ECDSA-AES256-SHA384:ECDHE-ECDSA-AES128-CCM8:@SECLEVEL=0")
    finally:
        assert host.end() == 0


# --- the lab's own -------------------------------------------------------------------------------

def test_no_path_reaches_what_is_not_public(lab):
    port = int(lab.url("gateway").rsplit(":", 1)[1])
    climbs = ("/../", "/%2e%2e/", "/.%2E/", "/..;/", "/..%2f", "/%2e%2e%2f", "/..\\", "/%5c..%5c", "//../", "/%c0%ae%c0%ae/")
    for prefix in ("/ws", "/api/v1/orders", "/api/v1/users/login"):
        depth = prefix.count("/")
        for climb in climbs:
            for place in ("metrics", "ready", "health", "openapi.json", "v1/charges", "upstreams"):
                path = prefix + climb * depth + place
                with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
                    client.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
                    answer = read_all(client)
                normal = place == "openapi.json" and b'"/health"' in answer  # the gateway's own
                assert status(answer) in (401, 404) or normal, (path, answer[:300])
                assert b"http_requests_total" not in answer and b'"status":"ready"' not in answer, path


def test_a_token_in_the_query_of_a_socket_is_in_no_log_and_no_span(lab, collector):
    token = lab.token()
    with ws_client.connect(lab.url("gateway").replace("http", "ws") + "/ws?access_token=" + token) as client:
        assert "hello" in client.recv(10)
    trace = uuid.uuid4().hex
    requests.get(lab.url("gateway") + "/ws?access_token=" + token, timeout=10, headers={
        "traceparent": f"00-{trace}-{'b' * 16}-01", "Authorization": "Bearer " + token})
    wait_until(lambda: {span.service for span in collector.trace(trace)} >= {"gateway", "notifications"}, what="the spans")
    wait_until(lambda: trace in lab.log("gateway") and trace in lab.log("notifications"), what="the lines")
    secret = token.rsplit(".", 1)[1][:20]
    assert not [span for span in collector.trace(trace) if secret in str(span.attributes)]
    assert secret not in lab.log("gateway") + lab.log("notifications")


def test_logins_through_the_gateway_are_counted_by_the_client_whatever_he_says(lab):
    url = lab.env["ORRERY_REDIS_URL"]

    def counted():
        return set(subprocess.run(["redis-cli", "-u", url, "--scan", "--pattern", "*login-client*"], check=True, text=True,
                                  stdout=subprocess.PIPE).stdout.split())

    def fail(base, **headers):
        answer = requests.post(base + "/api/v1/users/login", timeout=10, headers=headers, json={
            "email": f"{uuid.uuid4()}@example.test", "password": "not-the-password"})
        assert answer.status_code == 401, answer.text

    fail(lab.url("users"))
    before = counted()
    assert before
    for name in ("X-Forwarded-For", "X_Forwarded_For", "Forwarded", "X-Real-IP", "X-Envoy-External-Address"):
        fail(lab.url("gateway"), **{name: "for=192.0.2.9" if name == "Forwarded" else "192.0.2.9"})
    fail(lab.url("gateway"), **{"Connection": "close, X-Forwarded-For", "X-Forwarded-For": "192.0.2.9, 127.0.0.1"})
    assert counted() == before, "all of them are this machine's"
    fail(lab.url("users"), **{"X-Forwarded-For": f"2001:db8:{uuid.uuid4().hex[:4]}::1"})
    assert len(counted()) == len(before) + 1, "what the gateway says is what is counted"
