# SPDX-License-Identifier: MIT
"""What the tests of the gateway share: an upstream that does as it is told, and a gateway before it."""
import contextlib
import socket
import struct
import threading
import time

import pytest
from prometheus_client.parser import text_string_to_metric_families as prometheus

from attacker import connect, read_all
from host_test import Host
from lab import CHECKOUT

MIB = 1 << 20


class Upstream:
    """A server of plain sockets: what it answers to a path is a function of (connection, request).
    Everything else gets 200 with the request's own target. All requests are kept. Those in
    early answer before they have read the body."""

    def __init__(self, paths=None, port=0, early=()):
        self.paths, self.early = paths or {}, early
        self.requests, self.connections, self.open = [], 0, set()
        self.listener = socket.create_server(("127.0.0.1", port), backlog=512)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                connection = self.listener.accept()[0]
                self.connections += 1
                self.open.add(connection)
                threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        with contextlib.suppress(OSError, ValueError), connection:
            file = connection.makefile("rb")
            while request := Request.read(file):
                answer = self.paths.get(request.path, echo)
                if answer not in self.early:
                    request.read_body(file)
                self.requests.append(request)
                if answer(connection, request) is False:
                    break
        self.open.discard(connection)

    def asked(self, path):
        return [request for request in self.requests if request.path == path]

    def close(self):
        self.listener.close()
        for connection in list(self.open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class Request:
    def __init__(self, line, headers, body):
        self.method, self.target, self.version = line.decode("latin-1").split(" ", 2)
        self.path = self.target.split("?")[0]
        self.headers, self.body = headers, body

    @staticmethod
    def read(file):
        line = file.readline(65536).rstrip(b"\r\n")
        if not line:
            return None
        headers = []
        while text := file.readline(65536).rstrip(b"\r\n").decode("latin-1"):
            name, value = text.split(":", 1)
            headers.append((name.lower(), value.strip()))
        return Request(line, headers, b"")

    def read_body(self, file):
        assert self.header("transfer-encoding") is None, "bodies come with their length"
        self.body = file.read(int(self.header("content-length") or 0))

    def header(self, name):
        found = [value for other, value in self.headers if other == name]
        assert len(found) < 2, f"{name} came {len(found)} times"
        return found[0] if found else None


def says(text, end=False):
    """An answer as it stands; end: and then the connection ends."""
    def answer(connection, _):
        connection.sendall(text)
        return not end
    return answer


def ok(body, *headers):
    lines = "".join(header + "\r\n" for header in headers)
    return f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n{lines}\r\n".encode() + body


def echo(connection, request):
    body = request.target.encode()
    head = f"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    connection.sendall(head + (b"" if request.method == "HEAD" else body))


def reset(connection, _=None):
    """The next thing that the other side sees is a reset."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
    return False


def without_end(text, part):
    """text, then part after part until nobody takes it."""
    def answer(connection, _):
        connection.sendall(text)
        for _ in range(100000):
            connection.sendall(part)
        return False
    return answer


def slowly(text, pause_s):
    def answer(connection, _):
        for byte in text:
            connection.sendall(bytes([byte]))
            time.sleep(pause_s)
        return False
    return answer


def until_closed(connection, seconds=30):
    """Until the other side closes."""
    connection.settimeout(seconds)
    while connection.recv(65536):
        pass
    return False


def large(size):
    def answer(connection, _):
        connection.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n".encode())
        part = bytes(range(256)) * 256
        for at in range(0, size, len(part)):
            connection.sendall(part[:min(len(part), size - at)])
    return answer


def declaration(upstream, upstream_options="", route_options="", more=""):
    """The source of a gateway that forwards everything to the upstream: a URL, or several."""
    watched = "" if "health" in upstream_options else "health = false, "
    return f"""
local app, gate = require "app", require "gate"
local s = app.service "edge"
local edge = gate.on(s)
local up = edge:upstream("up", {{ address = "{upstream}", {watched}{upstream_options} }})
{more}
edge:route("/", up, {{ {route_options} }})
return s
"""


def gateway(folder, source, *words, **env):
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "service.lua"
    file.write_text(source)
    return Host(file, *words, ORRERY_ROOT=str(CHECKOUT), **env)


@pytest.fixture
def upstream():
    made = []

    def make(paths=None, port=0):
        made.append(Upstream(paths, port))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def edge(tmp_path):
    """edge(upstream, ...) is a gateway before it; arguments are those of declaration()."""
    made = []

    def make(upstream, *words, env=None, **parts):
        address = upstream if isinstance(upstream, str) else upstream.url
        made.append(gateway(tmp_path / f"edge{len(made)}", declaration(address, **parts), *words, **(env or {})))
        return made[-1]

    yield make
    for host in made:
        host.end()


def exchange(host, data, seconds=15):
    """What a raw request brings until the connection ends."""
    with connect(host, data) as connection:
        connection.settimeout(seconds)
        return read_all(connection)


def labelled(text, name, **labels):
    """The sum of the series of this name that have these labels."""
    return sum(sample.value for family in prometheus(text) for sample in family.samples
               if sample.name == name and labels.items() <= sample.labels.items())
