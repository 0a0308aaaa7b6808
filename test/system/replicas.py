# SPDX-License-Identifier: MIT
"""A second process of every service of a lab: on ports of its own, with the same stores. One that
ends is started again, as a supervisor would."""
import os
import signal
import subprocess
import threading

import requests

from lab import CHECKOUT, port_is_free, wait_until

SERVICES = ("acquirer", "inventory", "payments", "users", "notifications", "orders")


class Replica:
    def __init__(self, lab, name, env, port):
        self.name, self.port, self.env = name, port, env
        self.binary = os.environ.get("ORRERY_BUILD", str(CHECKOUT / "build/gcc/orrery"))
        self.root = lab.root
        self.ending = threading.Event()
        self.process = None
        self.output = open(lab.state / "log" / f"{name}-2.log", "ab")
        self.thread = threading.Thread(target=self.supervise, daemon=True)
        self.thread.start()

    def supervise(self):
        while not self.ending.is_set():
            self.process = subprocess.Popen([self.binary, "serve", f"oms/{self.name}"], cwd=self.root, env=self.env,
                                            stdout=self.output, stderr=subprocess.STDOUT)
            self.process.wait()
            self.ending.wait(0.2)

    def url(self, path=""):
        return f"http://127.0.0.1:{self.port}{path}"

    def ready(self):
        try:
            return requests.get(self.url("/ready"), timeout=3).status_code == 200
        except requests.RequestException:
            return False

    def kill(self):
        process = self.process
        if process and process.poll() is None:
            process.send_signal(signal.SIGKILL)

    def ask_to_end(self):
        self.ending.set()
        process = self.process
        if process and process.poll() is None:
            process.terminate()

    def end(self):
        self.ask_to_end()
        while self.thread.is_alive():
            process = self.process
            if process and process.poll() is None:
                process.terminate()
            self.thread.join(0.2)
        self.output.close()


def free_ports(lab):
    """Of the lab's own hundred, those that its stores and services leave free. An outgoing connection
    never has one of them, so a replica that starts again finds its port free."""
    return (port for port in range(lab.base + 40, lab.base + 70) if port_is_free(port))


class Replicas:
    """One more of each service. They call one another, not the first ones."""

    def __init__(self, lab, names=SERVICES):
        self.ports = dict(zip(names, free_ports(lab)))
        self.all = {}
        for name in names:
            self.all[name] = Replica(lab, name, self.environment(lab, name), self.ports[name])
        try:
            wait_until(lambda: all(replica.ready() for replica in self.all.values()), 30, "replicas")
        except AssertionError:
            self.end()
            raise

    def environment(self, lab, name):
        folder = lab.state / "service" / name / "env"
        env = {file.name: file.read_text().rstrip("\n") for file in folder.iterdir()}
        env["ORRERY_PORT"] = str(self.ports[name])
        for other, port in self.ports.items():
            if f"ORRERY_UPSTREAM_{other.upper()}" in env:
                env[f"ORRERY_UPSTREAM_{other.upper()}"] = f"http://127.0.0.1:{port}"
        return {**env, "PATH": os.environ["PATH"]}

    def url(self, name, path=""):
        return self.all[name].url(path)

    def end(self):
        for replica in self.all.values():
            replica.ask_to_end()
        for replica in self.all.values():
            replica.end()
