# SPDX-License-Identifier: MIT
"""What passes the gateway arrives as it was sent, and what it adds is what it says."""
import contextlib
import gzip
import json
import re
import socket
import ssl
import subprocess
import threading
import time

import pytest
import requests

import ws_client
from edge import (MIB, declaration, echo, edge, exchange, gateway, labelled, large, ok, says,  # noqa: F401
                  until_closed, upstream)
from host_test import script, serve  # noqa: F401
from lab import free_port, wait_until

FILE = bytes(range(256)) * 40
HANDSHAKE = (b"GET /echo HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
             b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")


def ranges(connection, request):
    """A file server, as RFC 9110, 14 has it."""
    found = re.fullmatch(r"bytes=(\d+)-(\d*)", request.header("range") or "")
    if not found:
        connection.sendall(ok(FILE, "Accept-Ranges: bytes", 'ETag: "one"'))
        return
    first, last = int(found[1]), int(found[2] or len(FILE) - 1)
    part = FILE[first:last + 1]
    connection.sendall(f"HTTP/1.1 206 Partial Content\r\nContent-Length: {len(part)}\r\n"
                       f"Content-Range: bytes {first}-{last}/{len(FILE)}\r\n\r\n".encode() + part)


def events(connection, _):
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
                       b"Transfer-Encoding: chunked\r\n\r\n")
    for i in range(5):
        text = f"data: {i} {time.time()}\n\n"
        connection.sendall(f"{len(text):x}\r\n{text}\r\n".encode())
        time.sleep(0.1)
    connection.sendall(b"0\r\n\r\n")


def whole(connection, request):
    """The request as it came, as JSON."""
    body = json.dumps({"method": request.method, "target": request.target, "headers": request.headers,
                       "body": request.body.decode("latin-1")}).encode()
    connection.sendall(ok(b"" if request.method == "HEAD" else body, "Content-Type: application/json"))


PATHS = {
    "/file": ranges, "/events": events, "/whole": whole, "/large": large(20 * MIB),
    "/cookies": says(ok(b"", "Set-Cookie: a=1", "Set-Cookie: b=2; Path=/")),
    "/none": says(b"HTTP/1.1 204 No Content\r\nX-A: 1\r\n\r\n"),
    "/not-modified": says(b'HTTP/1.1 304 Not Modified\r\nETag: "one"\r\nContent-Length: 999\r\n\r\n'),
    "/teapot": says(b"HTTP/1.1 418 I'm a teapot\r\nContent-Length: 3\r\n\r\ntea"),
    "/chunked": says(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-T\r\n\r\n"
                     b"3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nX-T: 1\r\n\r\n"),
    "/zipped": says(ok(gzip.compress(b"zipped" * 100), "Content-Encoding: gzip")),
    "/hop": says(ok(b"x", "Connection: X-Inside", "X-Inside: 1", "Keep-Alive: timeout=1", "X-Outside: 1",
                    "Server: hidden", "X-Frame-Options: SAMEORIGIN")),
}


@pytest.fixture
def site(edge, upstream):  # noqa: F811
    behind = upstream(PATHS)
    host = edge(behind, more="""
edge:headers { ["X-Content-Type-Options"] = "nosniff", ["X-Frame-Options"] = "DENY" }
edge:cors { origins = { "http://shop.example" }, credentials = true, max_age_s = 600 }
""", upstream_options="retry = false")
    host.upstream = behind
    return host


def url(host, path):
    return f"http://127.0.0.1:{host.port}{path}"


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD", "REPORT"])
def test_every_method_passes_with_its_body(site, method):
    answer = requests.request(method, url(site, "/whole?a=1&b=%20/%2F"), data=b"\0\xffbody", timeout=10,
                              headers={"X-Mine": "a, b", "Authorization": "Bearer x", "Cookie": "a=b"})
    assert answer.status_code == 200
    seen = site.upstream.asked("/whole")[-1]
    assert (seen.method, seen.target, seen.body) == (method, "/whole?a=1&b=%20/%2F", b"\0\xffbody")
    assert seen.header("content-length") == "6"
    assert (seen.header("x-mine"), seen.header("authorization"), seen.header("cookie")) == ("a, b", "Bearer x", "a=b")
    assert seen.header("host") == f"127.0.0.1:{site.port}"
    if method == "HEAD":
        assert answer.content == b""


def test_ranges_pass(site):
    answer = requests.get(url(site, "/file"), headers={"Range": "bytes=100-299"}, timeout=10)
    assert (answer.status_code, answer.content) == (206, FILE[100:300])
    assert answer.headers["Content-Range"] == f"bytes 100-299/{len(FILE)}"
    resumed = subprocess.run(["curl", "-sS", "-r", "10000-", url(site, "/file")], stdout=subprocess.PIPE, check=True)
    assert resumed.stdout == FILE[10000:]


def test_head_tells_the_length_and_brings_no_body(site):
    got = exchange(site, b"HEAD /file HTTP/1.1\r\nHost: a\r\n\r\nGET /teapot HTTP/1.1\r\nHost: a\r\n"
                         b"Connection: close\r\n\r\n")
    first, rest = got.split(b"\r\n\r\n", 1)
    assert b"content-length: %d" % len(FILE) in first.lower()
    assert rest.startswith(b"HTTP/1.1 418 ") and rest.endswith(b"tea")


def test_expect_is_answered_and_the_body_comes(site):
    with socket.create_connection(("127.0.0.1", site.port), timeout=10) as client:
        client.sendall(b"POST /whole HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n"
                       b"Connection: close\r\n\r\n")
        assert client.recv(1000).startswith(b"HTTP/1.1 100 ")
        client.sendall(b"hello")
        got = b""
        while part := client.recv(65536):
            got += part
    assert got.startswith(b"HTTP/1.1 200 ")
    seen = site.upstream.asked("/whole")[-1]
    assert seen.body == b"hello" and seen.header("expect") is None


def test_statuses_and_headers_of_answers_pass(site):
    assert requests.get(url(site, "/teapot"), timeout=10).status_code == 418
    cookies = exchange(site, b"GET /cookies HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert cookies.lower().count(b"set-cookie:") == 2
    none = requests.get(url(site, "/none"), timeout=10)
    assert (none.status_code, none.headers["X-A"], none.content) == (204, "1", b"")
    same = exchange(site, b"GET /not-modified HTTP/1.1\r\nHost: a\r\n\r\nGET /teapot HTTP/1.1\r\nHost: a\r\n"
                          b"Connection: close\r\n\r\n")
    assert same.startswith(b"HTTP/1.1 304 ") and same.endswith(b"tea")
    assert requests.get(url(site, "/chunked"), timeout=10).text == "abcde"
    zipped = requests.get(url(site, "/zipped"), timeout=10)
    assert zipped.headers["Content-Encoding"] == "gzip" and zipped.text == "zipped" * 100


def test_headers_of_the_edge_are_set_and_those_of_the_hop_are_not(site):
    answer = requests.get(url(site, "/hop"), timeout=10)
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["X-Frame-Options"] == "SAMEORIGIN", "the service's own word counts"
    assert answer.headers["X-Outside"] == "1"
    assert not {"X-Inside", "Keep-Alive"} & set(answer.headers)
    assert answer.headers["Server"] != "hidden"


def test_a_request_has_an_id_that_client_service_and_log_see(site):
    mine = requests.get(url(site, "/whole"), headers={"X-Request-Id": "mine-1"}, timeout=10)
    assert mine.headers["X-Request-Id"] == "mine-1"
    assert site.upstream.asked("/whole")[-1].header("x-request-id") == "mine-1"
    bad = requests.get(url(site, "/whole"), headers={"X-Request-Id": "a b" + "x" * 200}, timeout=10)
    made = bad.headers["X-Request-Id"]
    assert re.fullmatch(r"[A-Za-z0-9._-]{8,128}", made)
    assert site.upstream.asked("/whole")[-1].header("x-request-id") == made
    wait_until(lambda: {"mine-1", made} <= {line.get("request_id") for line in site.lines()}, what="the log")


def test_the_trace_goes_on_from_the_client_to_the_service(site):
    sent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    requests.get(url(site, "/whole"), headers={"traceparent": sent, "tracestate": "a=1"}, timeout=10)
    seen = site.upstream.asked("/whole")[-1]
    version, trace, span, flags = seen.header("traceparent").split("-")
    assert (version, trace, flags) == ("00", sent.split("-")[1], "01") and span != sent.split("-")[2]
    assert seen.header("tracestate") == "a=1"


def test_large_answers_and_bodies_pass_whole(site):
    assert len(requests.get(url(site, "/large"), timeout=30).content) == 20 * MIB
    body = bytes(range(256)) * 3900
    requests.post(url(site, "/whole"), data=body, timeout=30)
    assert site.upstream.asked("/whole")[-1].body == body


def test_pieces_pass_as_they_come(site):
    with requests.get(url(site, "/events"), stream=True, timeout=10) as answer:
        late = [time.time() - float(line.split()[2]) for line in answer.iter_lines() if line]
    assert len(late) == 5 and max(late) < 0.4, late


def test_an_http_1_0_client_is_served(site):
    got = exchange(site, b"GET /chunked HTTP/1.0\r\n\r\n")
    assert got.endswith(b"\r\n\r\nabcde") and b"chunked" not in got.lower()


def test_preflights_are_answered_and_answers_carry_cors(site):
    before = len(site.upstream.requests)
    asked = requests.options(url(site, "/whole"), timeout=10, headers={
        "Origin": "http://shop.example", "Access-Control-Request-Method": "PUT",
        "Access-Control-Request-Headers": "authorization"})
    assert asked.status_code == 204 and len(site.upstream.requests) == before
    assert asked.headers["Access-Control-Allow-Origin"] == "http://shop.example"
    assert asked.headers["Access-Control-Allow-Credentials"] == "true"
    assert asked.headers["Access-Control-Max-Age"] == "600"
    assert "PUT" in asked.headers["Access-Control-Allow-Methods"]
    assert "authorization" in asked.headers["Access-Control-Allow-Headers"].lower()
    answer = requests.get(url(site, "/whole"), headers={"Origin": "http://shop.example"}, timeout=10)
    assert answer.headers["Access-Control-Allow-Origin"] == "http://shop.example"
    assert "Origin" in answer.headers["Vary"]
    other = requests.get(url(site, "/whole"), headers={"Origin": "http://evil.example"}, timeout=10)
    assert other.status_code == 200 and "Access-Control-Allow-Origin" not in other.headers


def test_before_decides_and_adds(edge, upstream):  # noqa: F811
    behind = upstream(PATHS)
    host = edge(behind, route_options="""before = function(req)
      if req.headers["x-key"] == nil then return 401, { error = "no key" } end
      if req.headers["x-key"] == "broken" then error("a bug") end
      if req.headers["x-key"] == "body" then return 200, req.raw:upper() end
      return gate.with { ["X-User"] = "user-" .. req.headers["x-key"], ["X-Path"] = req.route }
    end""")
    refused = requests.get(url(host, "/whole"), timeout=10)
    assert (refused.status_code, refused.json()) == (401, {"error": "no key"})
    assert requests.get(url(host, "/whole"), headers={"X-Key": "broken"}, timeout=10).status_code == 500
    said = requests.post(url(host, "/whole"), headers={"X-Key": "body"}, data=b"abc", timeout=10)
    assert said.text == "ABC"
    assert not behind.requests
    assert requests.get(url(host, "/whole"), headers={"X-Key": "7", "X-User": "forged"}, timeout=10).status_code == 200
    assert behind.requests[-1].header("x-user") == "user-7"


def test_a_websocket_passes_both_ways(edge, serve):  # noqa: F811
    behind = serve(script('s:ws("/echo", { message = function(conn, text) conn:send(text) end })',
                          's:get("/plain", function() return 200, "plain" end)'))
    host = edge(f"http://127.0.0.1:{behind.port}", route_options="upgrade = true, upgrades_per_client_max = 5")
    with ws_client.connect(url(host, "/echo").replace("http", "ws")) as socket_:
        for size in (1, 100, 60000):
            text = "é" * (size // 2) + "x"
            socket_.send(text)
            assert socket_.recv(10) == text
        assert labelled(host.get("/metrics").text, "gateway_tunnels") == 1
        assert requests.get(url(host, "/plain"), timeout=10).text == "plain"
    wait_until(lambda: labelled(host.get("/metrics").text, "gateway_tunnels") == 0, what="the end of the tunnel")


def test_one_client_opens_no_more_websockets_than_it_may(edge, serve):  # noqa: F811
    behind = serve(script('s:ws("/echo", { message = function(conn, text) conn:send(text) end })'))
    host = edge(f"http://127.0.0.1:{behind.port}", route_options="upgrade = true, upgrades_per_client_max = 3")
    held = [socket.create_connection(("127.0.0.1", host.port), timeout=10) for _ in range(4)]
    statuses = []
    for one in held:
        one.sendall(HANDSHAKE)
        statuses.append(one.recv(1000).split()[1])
    assert statuses == [b"101"] * 3 + [b"429"]
    held[0].close()
    wait_until(lambda: labelled(host.get("/metrics").text, "gateway_tunnels") == 2, what="room")
    with socket.create_connection(("127.0.0.1", host.port), timeout=10) as again:
        again.sendall(HANDSHAKE)
        assert again.recv(1000).split()[1] == b"101"
    for one in held:
        one.close()


def test_a_websocket_ends_with_its_service_and_does_not_hold_the_gateway(edge, serve):  # noqa: F811
    behind = serve(script('s:ws("/echo", { message = function(conn, text) conn:send(text) end })'))
    host = edge(f"http://127.0.0.1:{behind.port}", route_options="upgrade = true")
    with ws_client.connect(url(host, "/echo").replace("http", "ws")) as one:
        one.send("x")
        assert one.recv(10) == "x"
        behind.process.terminate()
        wait_until(lambda: labelled(host.get("/metrics").text, "gateway_tunnels") == 0, 15, "the end of the tunnel")
    began = time.monotonic()
    assert host.end() == 0
    assert time.monotonic() - began < 8


def test_a_websocket_that_opens_while_the_gateway_ends_does_not_hold_it(edge, upstream):  # noqa: F811
    def late(connection, _):
        time.sleep(1)
        connection.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n")
        return until_closed(connection)

    behind = upstream({"/late": late})
    host = edge(behind, "--grace_ms", "15000", route_options="upgrade = true")
    with socket.create_connection(("127.0.0.1", host.port), timeout=20) as one:
        one.sendall(HANDSHAKE.replace(b"/echo", b"/late"))
        wait_until(lambda: behind.asked("/late"), what="the handshake")
        began = time.monotonic()
        assert host.end() == 0
        assert time.monotonic() - began < 8
        assert one.recv(1000).startswith(b"HTTP/1.1 101 ") and not one.recv(1000)


def test_an_edit_of_the_policy_counts_at_once_and_loses_nothing(edge, upstream, tmp_path):  # noqa: F811
    slow = upstream({"/slow": lambda connection, request: (time.sleep(1), echo(connection, request))})
    other = upstream()
    host = edge(slow)
    file = tmp_path / "edge0" / "service.lua"
    answers = []
    thread = threading.Thread(target=lambda: answers.append(requests.get(url(host, "/slow"), timeout=10)))
    thread.start()
    wait_until(lambda: slow.asked("/slow"), what="the request under way")
    file.write_text(file.read_text().replace(slow.url, other.url))
    wait_until(lambda: requests.get(url(host, "/new"), timeout=10) and other.asked("/new"), 5, "the new upstream")
    thread.join()
    assert (answers[0].status_code, answers[0].text) == (200, "/slow")
    file.write_text(file.read_text().replace('edge:route("/"', 'edge:rout("/"'))
    wait_until(lambda: "rout" in host.get("/ready").text, 5, "the complaint")
    assert requests.get(url(host, "/still"), timeout=10).text == "/still"


def certificate(folder):
    files = folder / "cert.pem", folder / "key.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                    "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
                    "-keyout", files[1], "-out", files[0]], check=True, stderr=subprocess.PIPE)
    return files


def shakes_hands(host, version):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")  # the client's own library would refuse old ones
    context.minimum_version = context.maximum_version = version
    with socket.create_connection(("127.0.0.1", host.port), timeout=10) as plain, contextlib.suppress(OSError):
        context.wrap_socket(plain).close()
        return True
    return False


@pytest.mark.parametrize("http2", [0, 1])
def test_tls_with_and_without_http2(tmp_path, upstream, http2):  # noqa: F811
    cert, key = certificate(tmp_path)
    behind = upstream({**PATHS, "/large": large(5 * MIB)})
    host = gateway(tmp_path / "tls", declaration(behind.url), "--tls_certificate", str(cert), "--tls_key", str(key),
                   "--admin_port", str(admin := free_port()), "--http2", str(http2), wait=False)
    try:
        wait_until(lambda: answers(admin), 10, "the gateway")
        base = f"https://127.0.0.1:{host.port}"
        assert requests.get(base + "/file", verify=cert, timeout=10).content == FILE
        assert behind.asked("/file")[-1].header("x-forwarded-proto") == "https"
        words = ["curl", "-sS", "--cacert", cert, "-o", "/dev/null", "-w", "%{http_version} %{http_code} %{size_download}"]
        said = subprocess.run([*words, "--http2", base + "/large"], stdout=subprocess.PIPE, text=True, check=True).stdout
        assert said == f"{2 if http2 else 1.1} 200 {5 * MIB}"
        posted = subprocess.run([*words, "--data-binary", "@" + str(cert), base + "/whole"], stdout=subprocess.PIPE,
                                text=True, check=True).stdout
        assert " 200 " in posted and behind.asked("/whole")[-1].body == cert.read_bytes()
        assert shakes_hands(host, ssl.TLSVersion.TLSv1_2) and not shakes_hands(host, ssl.TLSVersion.TLSv1_1)
    finally:
        assert host.end() == 0, host.printed()


def test_a_certificate_that_cannot_be_read_is_an_error_that_names_the_setting(tmp_path, upstream):  # noqa: F811
    host = gateway(tmp_path / "tls", declaration(upstream().url), "--tls_certificate", str(tmp_path / "none.pem"),
                   "--tls_key", str(tmp_path / "none.pem"), wait=False)
    assert host.process.wait(10) != 0
    assert "tls_certificate" in host.printed()


def answers(port):
    try:
        return requests.get(f"http://127.0.0.1:{port}/health", timeout=2).status_code == 200
    except requests.RequestException:
        return False


def test_the_admin_port_has_what_is_for_operators_and_the_public_one_has_not(tmp_path, upstream):  # noqa: F811
    behind, admin = upstream(), free_port()
    host = gateway(tmp_path / "edge", declaration(behind.url, more="""
s:get("/upstreams", { admin = true }, function() return 200, gate.status() end)
"""), "--admin_port", str(admin), wait=False)
    try:
        wait_until(lambda: answers(admin), 10, "the gateway")
        for path in ("/health", "/ready", "/metrics", "/upstreams"):
            assert requests.get(f"http://127.0.0.1:{admin}{path}", timeout=5).status_code == 200
            assert requests.get(url(host, path), timeout=5).text == path, "forwarded like any other"
        row, = requests.get(f"http://127.0.0.1:{admin}/upstreams", timeout=5).json()
        assert (row["upstream"], row["address"], row["up"]) == ("up", f"127.0.0.1:{behind.port}", True)
        assert requests.get(f"http://127.0.0.1:{admin}/anything", timeout=5).status_code == 404
    finally:
        assert host.end() == 0
