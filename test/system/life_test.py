# SPDX-License-Identifier: MIT
"""Lives and deaths of services: what was accepted survives SIGKILL; SIGTERM is orderly; a dead
dependency does not keep a service from starting."""
import os
import signal
import socket
import threading
import uuid

import requests

from host_test import Host, script, serve  # noqa: F401 (a fixture)
from lab import wait_until
from outage_test import notified


def kill_service(lab, name):
    """SIGKILL; its supervisor starts it again at once."""
    pid = int(lab.pids()[name])
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: lab.pids()[name] not in ("-", str(pid)) and lab.ready(name), 30, f"{name} again")


def test_nothing_accepted_is_lost_when_services_are_killed(lab):
    lab.token()
    lab.set_stock("SKU-0061", 100000)
    stop, accepted, lock = threading.Event(), [], threading.Lock()

    def place():
        session = requests.Session()
        while not stop.is_set():
            try:
                answer = lab.order([{"sku": "SKU-0061", "quantity": 1}], session=session, key=str(uuid.uuid4()))
            except requests.RequestException:
                continue
            if answer.status_code == 201:
                with lock:
                    accepted.append(answer.json()["id"])

    threads = [threading.Thread(target=place) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        for name in ("notifications", "orders", "inventory", "payments", "orders"):
            seen = len(accepted)
            wait_until(lambda: len(accepted) >= seen + 10, 60, "orders")
            kill_service(lab, name)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    orders = set(accepted)
    assert len(orders) == len(accepted) > 50
    wait_until(lambda: len(notified(lab, orders)) == len(orders), 90, "a notification for each order")
    assert set(notified(lab, orders).values()) == {1}, "once in effect"
    paid = dict(lab.sql("select order_id::text, count(*) from payments.payments where status = 'captured'"
                        " and order_id::text = any(%s) group by 1", list(orders)))
    assert set(paid) == orders and set(paid.values()) == {1}
    wait_until(lambda: lab.one("select count(*) from inventory.holds where order_id = any(%s)"
                               " and state = 'held'", list(orders)) == 0, 60, "the sales")


def test_sigterm_is_orderly(serve, collector):  # noqa: F811
    host = serve(script('s:get("/slow", function() require("task").sleep(1) return 200, "done" end)'),
                 OTEL_EXPORTER_OTLP_ENDPOINT=collector.url, OTEL_BSP_SCHEDULE_DELAY="60000")
    trace = uuid.uuid4().hex
    with socket.create_connection(("127.0.0.1", host.port)) as slow, \
            socket.create_connection(("127.0.0.1", host.port)) as asks:
        slow.sendall(f"GET /slow HTTP/1.1\r\nHost: x\r\ntraceparent: 00-{trace}-{'f6' * 8}-01\r\n\r\n".encode())
        asks.sendall(b"GET /ready HTTP/1.1\r\nHost: x\r\n")  # its end comes after the signal
        wait_until(lambda: "\ntasks 1" in host.get("/metrics").text, what="the task")
        host.process.send_signal(signal.SIGTERM)
        wait_until(lambda: any(line["message"] == "draining" for line in host.lines()), what="the drain")
        asks.sendall(b"\r\n")
        asks.settimeout(10)
        answer = asks.recv(2000)
        assert b" 503 " in answer.splitlines()[0] and b'"draining"' in answer
        wait_until(lambda: socket.socket().connect_ex(("127.0.0.1", host.port)) != 0, what="the closed port")
        slow.settimeout(10)
        assert b"done" in slow.recv(2000)
    assert host.process.wait(10) == 0
    assert [span.name for span in collector.trace(trace)] == ["GET /slow"], "flushed, long before its time"
    assert any(line.get("trace_id") == trace for line in host.lines())


def test_a_dead_dependency_does_not_keep_a_service_from_starting(lab):
    """Users with its database down: it starts, says why it is not ready, and recovers."""
    env = lab.state / "service" / "users" / "env"
    settings = {file.name: file.read_text().strip() for file in env.iterdir()}
    lab.command("kill", "postgres")
    host = None
    try:
        wanted = {k: v for k, v in settings.items() if k.startswith("ORRERY_") and k != "ORRERY_PORT"}
        host = Host(lab.root / "scripts/oms/users/service.lua", **wanted)
        answer = host.get("/ready")
        assert answer.status_code == 503
        down = [d for d in answer.json()["dependencies"] if d["status"] == "down"]
        assert [d["name"] for d in down] == ["postgres"] and down[0]["kind"] and down[0]["detail"]
        lab.command("start", "postgres")
        wait_until(lambda: host.get("/ready").status_code == 200, 30, "recovery")
        login = requests.post(f"http://127.0.0.1:{host.port}/api/v1/users/login", timeout=10,
                              json={"email": "demo@orrery.test", "password": "demo-password"})
        assert login.status_code == 200
    finally:
        lab.command("start", "postgres")
        if host:
            host.end()
    wait_until(lambda: lab.order().status_code == 201, 30, "the lab again")
