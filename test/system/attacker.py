# SPDX-License-Identifier: MIT
"""What the tests of hostile and slow clients share: raw connections, HTTP/2 frames by hand, and a
well-behaved client beside them, in a process of its own."""
import contextlib
import http.client
import json
import re
import resource
import socket
import struct
import subprocess
import sys
import threading
import time

from lab import wait_until

PACE_S = 0.005
REQUESTS_LEAST = 50
P99_MS_MAX = 250


# --- the well-behaved client ---------------------------------------------------------------------

def behave(port):
    """GET /quick until stdin ends, each tenth time on a new connection: "ready", then a report."""
    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    connection, took, failures = None, [], []
    while not ended.is_set() or len(took) + len(failures) < REQUESTS_LEAST:
        try:
            if connection is None or len(took) % 10 == 0:
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            began = time.monotonic()
            connection.request("GET", "/quick")
            answer = connection.getresponse()
            answer.read()
            took.append((time.monotonic() - began) * 1000)
            if len(took) == 1:
                print("ready", flush=True)
            if answer.status != 200:
                failures.append(answer.status)
        except (OSError, http.client.HTTPException) as error:
            connection = None
            failures.append(repr(error))
        time.sleep(PACE_S)
    took.sort()
    print(json.dumps({"answered": len(took), "failures": failures[:5], "failed": len(failures),
                      "p99_ms": took[int(len(took) * 0.99)] if took else None}))


@contextlib.contextmanager
def others_are_served(host):
    """While the block runs somebody else's requests are all answered, soon, by the same process."""
    pid = host.process.pid
    other = subprocess.Popen([sys.executable, __file__, str(host.port)], text=True,
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert other.stdout.readline() == "ready\n"
        yield
        report = json.loads(other.communicate(timeout=20)[0])
    finally:
        other.kill()
        other.wait()
    assert host.process.poll() is None and host.process.pid == pid, host.printed()[-2000:]
    assert report["failed"] == 0, report
    assert report["answered"] >= REQUESTS_LEAST and report["p99_ms"] < P99_MS_MAX, report


class Watch:
    """The most that was seen of resident memory (KiB) and of tasks while it ran."""

    def __init__(self, host):
        self.host = host
        self.memory_before = memory_kib(host)
        self.memory = self.tasks = 0
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.run)

    def run(self):
        while not self.ended.is_set():
            self.look()
            time.sleep(0.02)

    def look(self):
        self.memory = max(self.memory, memory_kib(self.host))
        self.tasks = max(self.tasks, series(self.host, "tasks"))

    def grown_mib(self):
        return (self.memory - self.memory_before) / 1024

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.thread.join()
        self.look()


def memory_kib(host):
    with open(f"/proc/{host.process.pid}/status", encoding="ascii") as file:
        return int(re.search(r"VmRSS:\s+(\d+)", file.read()).group(1))


def series(host, name):
    """The value of a series without labels; 0 before it was first set."""
    found = re.search(rf"^{name} (\S+)$", host.get("/metrics").text, re.M)
    return float(found.group(1)) if found else 0


def allow_files(count):
    """Lets this process, and hosts that it starts, open so many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count if hard == resource.RLIM_INFINITY else min(count, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    return max(soft, wanted)


# --- raw connections -----------------------------------------------------------------------------

def connect(host, data=b""):
    connection = socket.create_connection(("127.0.0.1", host.port), timeout=15)
    connection.sendall(data)
    return connection


def read_all(connection):
    """What comes until the other side closes; a reset ends it too."""
    got = b""
    with contextlib.suppress(ConnectionError):
        while True:
            part = connection.recv(65536)
            if not part:
                break
            got += part
    return got


def is_closed(connection):
    connection.setblocking(False)
    try:
        while connection.recv(65536):
            pass
        return True
    except BlockingIOError:
        return False
    except OSError:
        return True


def send_until_refused(connection, data, bytes_max):
    """How many bytes the other side took before it closed."""
    sent = 0
    with contextlib.suppress(OSError):
        while sent < bytes_max:
            connection.sendall(data)
            sent += len(data)
    return sent


def connections(host):
    """What the kernel says: the series is measured once a second."""
    port = f":{host.port:04X}"
    with open("/proc/net/tcp", encoding="ascii") as file:
        return sum(fields[1].endswith(port) and fields[3] == "01" and fields[9] != "0"
                   for fields in map(str.split, file))


def connections_end(host, seconds):
    """All but those of the well-behaved client are gone."""
    wait_until(lambda: connections(host) <= 2, seconds, "connections to end")


# --- HTTP/2 --------------------------------------------------------------------------------------

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PING, GOAWAY, CONTINUATION = 0, 1, 2, 3, 4, 6, 7, 9
END_STREAM, END_HEADERS = 1, 4


def frame(kind, flags=0, stream=0, payload=b""):
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(SETTINGS)


def head_block(path):
    """GET, http, from HPACK's static table; path and authority literal."""
    return b"\x82\x86\x04" + bytes([len(path)]) + path.encode() + b"\x01\x01a"


def get(stream, path):
    return frame(HEADERS, END_STREAM | END_HEADERS, stream, head_block(path))


def reset(stream):
    return frame(RST_STREAM, 0, stream, b"\0\0\0\x08")


def frames_of(data):
    """(kind, flags, stream, payload) of each whole frame."""
    at = 0
    while at + 9 <= len(data):
        size = int.from_bytes(data[at:at + 3], "big")
        kind, flags, stream = struct.unpack(">BBI", data[at + 3:at + 9])
        yield kind, flags, stream, data[at + 9:at + 9 + size]
        at += 9 + size


def discard(connection):
    """Reads and forgets, so that the other side can always write."""
    def run():
        with contextlib.suppress(OSError):
            while connection.recv(65536):
                pass
    threading.Thread(target=run, daemon=True).start()


if __name__ == "__main__":
    behave(int(sys.argv[1]))
