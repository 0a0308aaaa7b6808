# SPDX-License-Identifier: MIT
"""The host alone: one file, no server, and how it starts and ends."""
import json
import os
import pathlib
import signal
import socket
import subprocess
import tempfile

import pytest
import requests

from lab import CHECKOUT, free_port, wait_until

BINARY = os.environ.get("ORRERY_BUILD", str(CHECKOUT / "build" / "gcc" / "orrery"))


class Host:
    """`orrery serve` of one file on a free port."""

    def __init__(self, file, *words, binary=BINARY, wait=True, **env):
        self.port = free_port()
        self.output = tempfile.TemporaryFile("w+")
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("ORRERY_", "OTEL_"))}
        self.process = subprocess.Popen(
            [binary, "serve", str(file), "--port", str(self.port), *words], env={**clean, **env},
            stdout=self.output, stderr=subprocess.STDOUT, cwd="/")
        if wait:
            wait_until(self.answers, 10, "the host")

    def answers(self):
        assert self.process.poll() is None, self.printed()
        try:
            return self.get("/health").status_code == 200
        except requests.RequestException:
            return False

    def get(self, path, **how):
        return requests.get(f"http://127.0.0.1:{self.port}{path}", timeout=10, **how)

    def printed(self):
        self.output.seek(0)
        return self.output.read()

    def lines(self):
        return [json.loads(line) for line in self.printed().splitlines() if line.startswith("{")]

    def end(self, how=signal.SIGTERM):
        if self.process.poll() is None:
            self.process.send_signal(how)
        try:
            return self.process.wait(20)
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()


@pytest.fixture
def serve(tmp_path):
    hosts = []

    def start(source, *words, **env):
        file = tmp_path / "service.lua" if isinstance(source, str) else source
        if isinstance(source, str):
            folder = tmp_path / "sample"
            folder.mkdir(exist_ok=True)
            file = folder / "service.lua"
            file.write_text(source)
        hosts.append(Host(file, *words, ORRERY_ROOT=str(CHECKOUT), **env))
        return hosts[-1]

    yield start
    for host in hosts:
        host.end(signal.SIGKILL)


HELLO = CHECKOUT / "scripts" / "hello" / "service.lua"


def script(*lines):
    return "\n".join(['local app = require "app"', 'local s = app.service "sample"', *lines, "return s"])


def test_hello_answers_with_metrics_logs_and_traces(serve, collector):
    host = serve(HELLO, OTEL_EXPORTER_OTLP_ENDPOINT=collector.url, OTEL_BSP_SCHEDULE_DELAY="100")
    answer = host.get("/hello/world", headers={"traceparent": "00-" + "a1" * 16 + "-" + "b2" * 8 + "-01"})
    assert (answer.status_code, answer.json()) == (200, {"hello": "world"})
    assert 'http_requests_total{method="GET",endpoint="/hello/:name",status="200"} 1' in host.get("/metrics").text
    span = wait_until(lambda: collector.trace("a1" * 16), what="the span")[0]
    assert (span.service, span.name, span.parent) == ("hello", "GET /hello/:name", "b2" * 8)
    line = wait_until(lambda: [li for li in host.lines() if li["message"] == "request"], what="the log")[0]
    assert (line["trace_id"], line["span_id"], line["status"]) == (span.trace_id, span.id, 200)


def test_http2_by_prior_knowledge_works(serve):
    host = serve(HELLO, "--http2", "1")
    done = subprocess.run(["curl", "-s", "--http2-prior-knowledge", "-w", "%{http_version}",
                           f"http://127.0.0.1:{host.port}/hello/two"], text=True, stdout=subprocess.PIPE)
    assert done.stdout == '{"hello":"two"}2'


def test_sigterm_ends_it_well_after_the_requests_under_way(serve):
    host = serve(script('s:get("/slow", function() require("task").sleep(0.5) return 200, "done" end)'))
    with socket.create_connection(("127.0.0.1", host.port)) as slow:
        slow.sendall(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
        wait_until(lambda: 'http_server_active_requests 1' in host.get("/metrics").text, what="the request")
        host.process.send_signal(signal.SIGTERM)
        slow.settimeout(10)
        assert b"done" in slow.makefile("rb").read()
    assert host.end() == 0


def test_grpc_is_refused_at_start(tmp_path):
    done = subprocess.run([BINARY, "serve", str(HELLO), "--port", str(free_port())], text=True, timeout=10,
                          env={**os.environ, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
                               "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4317"},
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode != 0
    assert "OTEL_EXPORTER_OTLP_PROTOCOL" in done.stdout and "grpc" in done.stdout


def test_a_taken_port_is_a_clear_error(serve):
    host = serve(HELLO)
    done = subprocess.run([BINARY, "serve", str(HELLO), "--port", str(host.port)], text=True, timeout=10,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == 1
    assert str(host.port) in done.stdout


def test_an_unknown_setting_is_a_clear_error():
    done = subprocess.run([BINARY, "serve", str(HELLO), "--prot", "1"], text=True, timeout=10,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == 2 and "unknown setting" in done.stdout and "prot" in done.stdout


def test_a_broken_script_says_file_and_line(serve, tmp_path):
    file = tmp_path / "broken.lua"
    file.write_text("local x = 1\nlocal y = = 2\n")
    done = subprocess.run([BINARY, "serve", str(file)], text=True, timeout=10, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, env={**os.environ, "ORRERY_ROOT": str(CHECKOUT)})
    assert done.returncode == 1 and "broken.lua:2:" in done.stdout


def test_a_failing_handler_is_a_problem_document_and_the_rest_goes_on(serve):
    host = serve(script(
        's:get("/bug", function() local x = nil return x.y end)',
        's:get("/nothing", function() end)',
        's:get("/bomb", function() local t = {} while true do t[#t + 1] = ("x"):rep(100) .. #t end end)',
        's:get("/fault", function() require("fault").raise("refused", "no", {order = 7}) end)',
        's:get("/fine", function() return 200, {ok = true} end)'))
    bug = host.get("/bug")
    assert bug.status_code == 500 and bug.json()["kind"] == "internal"
    assert "service.lua:3" in bug.json()["detail"]
    assert "returned" in host.get("/nothing").json()["detail"]
    bomb = host.get("/bomb")
    assert bomb.status_code == 503 and bomb.json()["kind"] == "limit"
    fault = host.get("/fault")
    assert fault.status_code == 409 and fault.json()["order"] == 7
    assert host.get("/fine").json() == {"ok": True}


def test_production_hides_the_detail_of_a_bug(serve):
    host = serve(script('s:get("/bug", function() error("secret path") end)'), "--mode", "production")
    answer = host.get("/bug").json()
    assert "secret" not in json.dumps(answer)
    assert len(answer["trace_id"]) == 32


def test_parts_run_side_by_side(serve):
    host = serve(script(
        'local task = require "task"',
        's:get("/parts", function()',
        '  local running, most = 0, 0',
        '  local function part()',
        '    running = running + 1',
        '    most = math.max(most, running)',
        '    task.sleep(0.2)',
        '    running = running - 1',
        '    return 1',
        '  end',
        '  local a, b, c = task.all { part, part, part }',
        '  return 200, { sum = a + b + c, most = most }',
        'end)'))
    assert host.get("/parts").json() == {"sum": 3, "most": 3}


def test_a_slow_request_does_not_hold_up_another(serve):
    host = serve(script('s:get("/slow", function() require("task").sleep(3) return 200, "slow" end)',
                        's:get("/quick", function() return 200, "quick" end)'))
    with socket.create_connection(("127.0.0.1", host.port)) as slow:
        slow.sendall(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
        wait_until(lambda: "http_server_active_requests 1" in host.get("/metrics").text, what="the request")
        assert host.get("/quick").text == "quick"
        slow.setblocking(False)
        with pytest.raises(BlockingIOError):
            slow.recv(1)


def test_two_workers_serve_one_port(serve):
    host = serve(script('s:get("/", function() return 200, "x" end)'), "--workers", "2")
    for _ in range(50):
        assert host.get("/").status_code == 200
    assert 'http_requests_total{method="GET",endpoint="/",status="200"} 50' in host.get("/metrics").text


def test_the_installed_host_serves_a_file_outside_the_checkout(tmp_path):
    build = pathlib.Path(BINARY).parent
    prefix = tmp_path / "prefix"
    subprocess.run(["meson", "install", "-C", str(build), "--no-rebuild", "--destdir", str(prefix)],
                   check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    binary = next(prefix.rglob("bin/orrery"))
    version = subprocess.run([binary, "--version"], text=True, stdout=subprocess.PIPE, check=True).stdout
    assert version.startswith("orrery 0.")
    file = tmp_path / "mine.lua"
    file.write_text(script('s:get("/", function() return 200, "mine" end)'))
    host = Host(file, binary=str(binary))
    try:
        assert host.get("/").text == "mine"
    finally:
        assert host.end() == 0
