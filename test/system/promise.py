# SPDX-License-Identifier: MIT
"""Measures what the other callers of a service notice while something else happens."""
import http.client
import pathlib
import threading
import time


def percentile(values, part):
    return sorted(values)[min(len(values) - 1, int(len(values) * part))]


def thread_of(pid, name):
    """The folder in /proc of the process's first thread of this name."""
    return next(task for task in sorted(pathlib.Path(f"/proc/{pid}/task").iterdir())
                if (task / "comm").read_text().strip() == name)


class Bystander:
    """Asks one worker's service for a path at a steady rate on one kept connection, from
    `with` to its end.

    The time in which the worker was ready to run and the machine ran something else is not
    counted. A failure is any answer but 200, and none at all.
    """

    def __init__(self, port, pid, path="/fine", rate=200):
        self.port, self.path, self.period = port, path, 1 / rate
        self.delays = thread_of(pid, "worker-0") / "schedstat"
        self.times_ms, self.failures = [], []
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        self.thread.join(30)

    def delayed_ms(self):
        return int(self.delays.read_text().split()[1]) / 1e6

    def run(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        due = time.monotonic()
        while not self.stopping.is_set():
            time.sleep(max(0, due - time.monotonic()))
            delayed, began = self.delayed_ms(), time.monotonic()
            try:
                connection.request("GET", self.path)
                answer = connection.getresponse()
                answer.read()
                if answer.status != 200:
                    self.failures.append(answer.status)
            except (OSError, http.client.HTTPException) as why:
                self.failures.append(repr(why))
                connection.close()
            took = (time.monotonic() - began) * 1000
            self.times_ms.append(max(0, took - self.delayed_ms() + delayed))
            due = max(due + self.period, began)

    @property
    def p99_ms(self):
        return percentile(self.times_ms, 0.99)

    @property
    def worst_ms(self):
        return max(self.times_ms)
