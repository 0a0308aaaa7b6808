# SPDX-License-Identifier: MIT
"""A service that is told to end says so first, and goes on as before until its clients have gone: so
that it can be replaced without anybody noticing."""
import signal
import socket
import threading
import time

import pytest
import requests

from host_test import script, serve  # noqa: F401 (a fixture)
from lab import free_port, wait_until

SERVICE = script('s:get("/x", function() return 200, "x" end)',
                 's:get("/slow", function() require("task").sleep(1.5) return 200, "done" end)')


class Kept:
    """A connection, and what was answered on it."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self.file = self.socket.makefile("rb")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()
        self.socket.close()

    def get(self, path="/x"):
        """(status, headers, body); OSError when there is no whole answer."""
        self.socket.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        return self.answer()

    def answer(self):
        status = self.file.readline().split()
        if len(status) < 2:
            raise ConnectionResetError("no answer")
        headers = {}
        for line in iter(self.file.readline, b"\r\n"):
            name, value = line.decode().split(":", 1)
            headers[name.lower()] = value.strip()
        body = self.file.read(int(headers["content-length"]))
        if len(body) != int(headers["content-length"]):
            raise ConnectionResetError("half an answer")
        return int(status[1]), headers, body

    def is_closed(self):
        return self.file.read() == b""


@pytest.fixture
def free():
    return free_port()


def ready(port):
    return requests.get(f"http://127.0.0.1:{port}/ready", timeout=10)


def port_is_closed(port):
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) != 0


def messages(host):
    return [line["message"] for line in host.lines()]


@pytest.mark.parametrize("workers", ["1", "2"])
def test_told_to_end_it_serves_on_and_tells_its_clients_to_go(serve, workers):  # noqa: F811
    host = serve(SERVICE, ORRERY_UNREADY_MS="3000", ORRERY_WORKERS=workers)
    with Kept(host.port) as kept, Kept(host.port) as silent:
        status, headers, _ = kept.get()
        assert (status, headers["connection"]) == (200, "keep-alive")
        began = time.monotonic()
        host.process.send_signal(signal.SIGTERM)
        wait_until(lambda: ready(host.port).status_code == 503, 1, "to be unready at once")
        assert ready(host.port).json()["status"] == "draining"
        assert ready(host.port).headers["connection"] == "close"
        for connection in (kept, silent):
            status, headers, body = connection.get()
            assert (status, headers["connection"], body) == (200, "close", b"x")
            assert connection.is_closed()
        with Kept(host.port) as late:
            status, headers, body = late.get()
            assert (status, headers["connection"], body) == (200, "close", b"x")
        assert time.monotonic() < began + 3, "all of it while it was unready"
    assert host.process.wait(10) == 0
    took = time.monotonic() - began
    assert 3 <= took < 5, took
    assert port_is_closed(host.port)
    assert [m for m in messages(host) if "ready" in m or "drain" in m] == ["unready for 3000 ms", "draining"]


class Client(threading.Thread):
    """Asks on one connection after the other, as long as it may open one."""

    def __init__(self, port, may_open):
        super().__init__()
        self.port, self.may_open, self.answers, self.failures = port, may_open, 0, []
        self.start()

    def run(self):
        while self.may_open.is_set():
            try:
                with Kept(self.port) as connection:
                    self.use(connection)
            except OSError as failure:
                self.failures.append(repr(failure))

    def use(self, connection):
        while True:
            status, headers, _ = connection.get()
            if status != 200:
                self.failures.append(status)
            self.answers += 1
            if headers.get("connection") == "close":
                return


@pytest.mark.parametrize("workers", ["1", "2"])
def test_no_request_fails_when_clients_heed_what_they_are_told(serve, workers):  # noqa: F811
    """They open no connection once /ready says 503, and use none any more whose answer said close."""
    host = serve(SERVICE, ORRERY_UNREADY_MS="800", ORRERY_WORKERS=workers)
    may_open = threading.Event()
    may_open.set()
    clients = [Client(host.port, may_open) for _ in range(8)]
    try:
        wait_until(lambda: all(client.answers > 50 for client in clients), what="load")
        host.process.send_signal(signal.SIGTERM)
        wait_until(lambda: ready(host.port).status_code == 503, 1, "to be unready at once")
    finally:
        may_open.clear()
    for client in clients:
        client.join(10)
    assert [client.failures for client in clients] == [[]] * len(clients)
    assert host.process.wait(10) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_the_wait(serve, number):  # noqa: F811
    host = serve(SERVICE, ORRERY_UNREADY_MS="600000")
    host.process.send_signal(signal.SIGTERM)
    wait_until(lambda: "unready for 600000 ms" in messages(host), what="the wait")
    assert host.get("/x").status_code == 200
    host.process.send_signal(number)
    assert host.process.wait(5) == 0


def test_whoever_interrupts_it_does_not_wait(serve):  # noqa: F811
    host = serve(SERVICE, ORRERY_UNREADY_MS="600000")
    assert host.end(signal.SIGINT) == 0
    assert not any(message.startswith("unready") for message in messages(host))


def test_without_the_setting_it_ends_at_once(serve):  # noqa: F811
    host = serve(SERVICE)
    with Kept(host.port) as kept:
        kept.get()
        began = time.monotonic()
        host.process.send_signal(signal.SIGTERM)
        assert kept.is_closed()
        assert host.process.wait(5) == 0
    assert time.monotonic() - began < 1
    assert not any(message.startswith("unready") for message in messages(host))


def test_messages_and_jobs_go_on_while_it_is_unready(serve):  # noqa: F811
    host = serve(script('local n = 0',
                        's:every("tick", 0.1, function() n = n + 1 end)',
                        's:get("/n", function() return 200, tostring(n) end)'), ORRERY_UNREADY_MS="600000")
    host.process.send_signal(signal.SIGTERM)
    wait_until(lambda: "unready for 600000 ms" in messages(host), what="the wait")
    before = int(host.get("/n").text)
    wait_until(lambda: int(host.get("/n").text) > before + 2, 10, "further runs")
    host.process.send_signal(signal.SIGTERM)
    assert host.process.wait(5) == 0


def test_a_new_version_is_loaded_while_it_is_unready(serve, tmp_path):  # noqa: F811
    host = serve(SERVICE, ORRERY_UNREADY_MS="600000", ORRERY_RELOAD="signal")
    host.process.send_signal(signal.SIGTERM)
    wait_until(lambda: "unready for 600000 ms" in messages(host), what="the wait")
    (tmp_path / "sample" / "service.lua").write_text(script('s:get("/x", function() return 200, "new" end)'))
    host.process.send_signal(signal.SIGHUP)
    wait_until(lambda: host.get("/x").text == "new", 10, "the new version")
    assert host.end() == 0


@pytest.mark.parametrize("workers", ["1", "2"])
def test_operators_have_a_port_of_their_own_until_the_end(serve, free, workers):  # noqa: F811
    host = serve(SERVICE, "--admin_port", str(free), ORRERY_WORKERS=workers, wait=False)
    url = f"http://127.0.0.1:{free}"
    wait_until(lambda: not port_is_closed(free), 10, "the host")
    for path in ("/health", "/ready", "/metrics"):
        assert requests.get(url + path, timeout=10).status_code == 200
        assert host.get(path).status_code == 404, "clients have no business there"
    assert requests.get(url + "/x", timeout=10).status_code == 404
    assert host.get("/x").status_code == 200
    started = next(line for line in host.lines() if line["message"] == "serving")
    assert (started["port"], started["admin_port"]) == (host.port, free)
    with Kept(host.port) as slow:
        slow.socket.sendall(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
        wait_until(lambda: "\ntasks 1" in requests.get(url + "/metrics", timeout=10).text, what="the task")
        host.process.send_signal(signal.SIGTERM)
        wait_until(lambda: port_is_closed(host.port), what="the closed port")
        answer = requests.get(url + "/ready", timeout=10)
        assert (answer.status_code, answer.json()["status"]) == (503, "draining")
        assert slow.answer()[2] == b"done"
    assert host.process.wait(10) == 0
    assert port_is_closed(free)


def test_the_port_of_operators_must_be_free_and_another_one(serve, free):  # noqa: F811
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", free))
        taken.listen()
        host = serve(SERVICE, "--admin_port", str(free), wait=False)
        assert host.process.wait(10) == 1
        assert f"port {free} of 127.0.0.1 is taken" in host.printed()
    host = serve(SERVICE, "--admin_port", str(free), "--port", str(free), wait=False)
    assert host.process.wait(10) == 2
    assert f"port and admin_port are both {free}" in host.printed()


def test_a_scrape_names_the_process_as_its_spans_do(serve, collector):  # noqa: F811
    host = serve(SERVICE, OTEL_EXPORTER_OTLP_ENDPOINT=collector.url, OTEL_BSP_SCHEDULE_DELAY="100",
                 OTEL_SERVICE_NAME="named")
    trace = "c4" * 16
    host.get("/x", headers={"traceparent": f"00-{trace}-{'d1' * 8}-01"})
    span = wait_until(lambda: collector.trace(trace), what="the span")[0]
    instance = span.resource["service.instance.id"]
    named = f'target_info{{service_name="named",service_instance_id="{instance}"}} 1'
    assert named in host.get("/metrics").text.splitlines()
    [line] = [line for line in serve(SERVICE).get("/metrics").text.splitlines() if line.startswith("target_info{")]
    assert 'service_name="sample"' in line and instance not in line
