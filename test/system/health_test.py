# SPDX-License-Identifier: MIT
"""`orrery health`: an exit status for supervisors and container engines, which have no HTTP client."""
import os
import socket
import subprocess
import time

import pytest

from host_test import BINARY, CHECKOUT, Host, script
from lab import free_port, wait_until


def health(*words, **env):
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("ORRERY_", "OTEL_"))}
    return subprocess.run([BINARY, "health", *map(str, words)], env={**clean, "ORRERY_ROOT": str(CHECKOUT), **env},
                          cwd="/", text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=20)


@pytest.fixture
def serve(tmp_path):
    hosts = []

    def start(source, *words, **how):
        file = tmp_path / "service.lua"
        file.write_text(source)
        hosts.append(Host(file, *words, ORRERY_ROOT=str(CHECKOUT), **how))
        return file, hosts[-1]
    yield start
    for host in hosts:
        host.process.kill()
        host.process.wait()


def test_a_process_that_is_ready_is_status_0_and_its_answer_is_shown(serve):
    file, host = serve(script())
    for done in (health(file, ORRERY_PORT=str(host.port)), health(ORRERY_PORT=str(host.port)),
                 health(f"http://127.0.0.1:{host.port}/ready"), health(f"http://localhost:{host.port}/health")):
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith("200 {")


def test_it_asks_at_the_port_for_operators_where_there_is_one(serve):
    admin = free_port()
    file, host = serve(script(), "--admin_port", str(admin), wait=False)
    wait_until(lambda: health(f"http://127.0.0.1:{admin}/ready").returncode == 0, what="the host")
    assert health(file, ORRERY_PORT=str(host.port), ORRERY_ADMIN_PORT=str(admin)).returncode == 0
    done = health(file, ORRERY_PORT=str(host.port))
    assert done.returncode == 1 and done.stderr.startswith("404 ")


def test_a_process_that_is_not_ready_is_status_1_and_says_why(serve):
    file, host = serve(script(), ORRERY_REDIS_URL=f"redis://127.0.0.1:{free_port()}/0")
    done = health(file, ORRERY_PORT=str(host.port))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("503 {") and "redis" in done.stderr


def test_nobody_there_is_status_1_at_once():
    began = time.monotonic()
    done = health("oms/orders", ORRERY_PORT=str(free_port()))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.endswith("Connection refused\n")
    assert time.monotonic() - began < 2


@pytest.mark.parametrize("says", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"])
def test_one_that_does_not_end_its_answer_is_given_up_after_three_seconds(says):
    with socket.create_server(("127.0.0.1", 0)) as peer:
        began = time.monotonic()
        asking = subprocess.Popen([BINARY, "health", f"http://127.0.0.1:{peer.getsockname()[1]}/ready"],
                                  env={**os.environ, "ORRERY_ROOT": str(CHECKOUT)}, text=True, stderr=subprocess.PIPE)
        with peer.accept()[0] as connection:
            connection.sendall(says)
            said = asking.communicate(timeout=10)[1]
        assert asking.returncode == 1 and "no answer in 3000 ms" in said
        assert 2.9 < time.monotonic() - began < 6


@pytest.mark.parametrize("says", [b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 abc OK\r\n\r\n", b"HTTP/1.1 \r\n\r\n", b"\r\n\r\n"])
def test_what_is_not_http_is_status_1(says):
    with socket.create_server(("127.0.0.1", 0)) as peer:
        asking = subprocess.Popen([BINARY, "health", f"http://127.0.0.1:{peer.getsockname()[1]}/ready"],
                                  env={**os.environ, "ORRERY_ROOT": str(CHECKOUT)}, text=True, stderr=subprocess.PIPE)
        with peer.accept()[0] as connection:
            connection.recv(4096)
            connection.sendall(says)
        said = asking.communicate(timeout=10)[1]
        assert asking.returncode == 1 and "that is not HTTP" in said


def test_wrong_use_is_status_2():
    for words in (["a", "b"], ["https://127.0.0.1/ready"], ["oms/nothing"], ["--fast"]):
        done = health(*words)
        assert done.returncode == 2 and "see orrery health --help" in done.stderr and done.stdout == ""


def test_a_service_that_speaks_tls_needs_a_port_for_operators():
    done = health("oms/orders", ORRERY_TLS_CERTIFICATE="/c.pem", ORRERY_TLS_KEY="/k.pem")
    assert done.returncode == 2 and "no admin_port" in done.stderr
