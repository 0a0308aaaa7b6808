# SPDX-License-Identifier: MIT
"""CPU time per request of a Lua JSON handler against bare libh2o and nginx with Lua.

All contenders live at once, one core for the server, the other for wrk; rounds alternate over
them and the medians are compared. CPU time is utime + stime of the server's process tree from
/proc, divided by the requests that wrk counted.
"""
import argparse
import contextlib
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

BENCH = pathlib.Path(__file__).resolve().parent
CHECKOUT = BENCH.parents[1]
PACKAGES = ["nginx", "libnginx-mod-http-lua", "libnginx-mod-http-ndk", "lua-resty-core",
            "lua-resty-lrucache", "libluajit2-5.1-2"]
TICK = os.sysconf("SC_CLK_TCK")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def cpu_seconds(pid):
    """Of a process and its children, from /proc/PID/stat."""
    total = 0
    for entry in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            stat = (entry / "stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(entry.name) == pid or int(stat[1]) == pid:
            total += int(stat[11]) + int(stat[12])
    return total / TICK


def private_dirty_kb(pid):
    rollup = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(re.search(r"Private_Dirty:\s+(\d+)", rollup).group(1))


def wait_for(port, process):
    end = time.monotonic() + 15
    while True:
        try:
            return urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=2).read()
        except OSError:
            if process.poll() is not None or time.monotonic() > end:
                raise
            time.sleep(0.02)


class Contender:
    def __init__(self, name, command, port, log, core=0, **env):
        self.name, self.port, self.samples, self.requests = name, port, [], 0
        self.process = subprocess.Popen(["taskset", "-c", str(core), *map(str, command)], stdout=log, stderr=log,
                                        env={**os.environ, **env})
        self.body = wait_for(port, self.process)

    def round(self, seconds):
        before = cpu_seconds(self.process.pid)
        out = subprocess.run(["taskset", "-c", "1", "wrk", "-t1", "-c64", f"-d{seconds}s",
                              f"http://127.0.0.1:{self.port}/"], text=True, stdout=subprocess.PIPE,
                             check=True).stdout
        requests = int(re.search(r"(\d+) requests in", out).group(1))
        assert "Non-2xx" not in out, out
        self.requests += requests
        self.samples.append((cpu_seconds(self.process.pid) - before) / requests * 1e6)

    @property
    def median(self):
        return statistics.median(self.samples)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()


def nginx_folder(work):
    """The packages unpacked beside the system; nothing is installed."""
    folder = work.resolve() / "nginx"
    if not (folder / "ready").exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        subprocess.run(["apt-get", "download", *PACKAGES], cwd=folder, check=True,
                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        for package in folder.glob("*.deb"):
            subprocess.run(["dpkg", "-x", package, folder], check=True)
            package.unlink()
        (folder / "ready").touch()
    return folder


def nginx(work, log):
    folder, port = nginx_folder(work), free_port()
    text = (BENCH / "nginx.conf").read_text()
    conf = folder / "nginx.conf"
    conf.write_text(text.replace("@folder@", str(folder)).replace("@port@", str(port)))
    (folder / "logs").mkdir(exist_ok=True)
    return Contender("nginx with Lua", [folder / "usr/sbin/nginx", "-p", folder, "-c", conf], port, log,
                     LD_LIBRARY_PATH=str(folder / "usr/lib/x86_64-linux-gnu"))


def orrery(name, binary, log, **env):
    port = free_port()
    return Contender(name, [binary, "serve", BENCH / "http.lua", "--port", port], port, log,
                     ORRERY_ROOT=str(CHECKOUT), **env)


def build_bare(work):
    binary = work / "bare_h2o"
    subprocess.run(["gcc", "-O2", "-std=gnu11", "-D_GNU_SOURCE", "-DH2O_USE_LIBUV=0", "-o", binary,
                    BENCH / "bare_h2o.c", "-lh2o-evloop", "-lwslay", "-lssl", "-lcrypto", "-lm", "-lpthread"],
                   check=True)
    return binary


def arguments():
    """What both benches are told; the folder they work in is there."""
    parser = argparse.ArgumentParser()
    parser.add_argument("binary", type=pathlib.Path)
    parser.add_argument("work", type=pathlib.Path)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=int, default=3)
    words = parser.parse_args()
    words.work.mkdir(parents=True, exist_ok=True)
    return words


def main():
    words = arguments()
    bare = build_bare(words.work)
    with contextlib.ExitStack() as stack, tempfile.TemporaryFile() as log, open("/dev/null", "w") as null:
        def begin(contender):
            stack.callback(contender.stop)
            return contender

        port, sink_port = free_port(), free_port()
        anchor = begin(Contender("bare libh2o", [bare, port], port, log))
        sink = begin(Contender("collector", [bare, sink_port], sink_port, log))
        contenders = [anchor]
        try:
            contenders.append(begin(nginx(words.work, log)))
        except (subprocess.CalledProcessError, OSError) as e:
            print(f"nginx with Lua: not measured, its packages could not be had ({e})")
        all_on = begin(orrery("orrery, all telemetry on", words.binary, null,
                              OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{sink.port}"))
        contenders += [
            all_on, begin(orrery("orrery, no export", words.binary, null)),
            begin(orrery("no export, budgets off", words.binary, null, ORRERY_CPU_MS="0", ORRERY_RELOAD="signal"))]
        assert all(json.loads(c.body) == json.loads(anchor.body) for c in contenders)
        for _ in range(words.rounds):
            for contender in contenders:
                contender.round(words.seconds)
        text = urllib.request.urlopen(f"http://127.0.0.1:{all_on.port}/metrics").read().decode()
        dropped = [line for line in text.splitlines() if "dropped_total" in line and line[0] != "#"]
        print(f"{'':28}{'CPU us/request':>15}{'/ bare':>9}   samples")
        for c in contenders:
            samples = " ".join(f"{s:.2f}" for s in c.samples)
            print(f"{c.name:28}{c.median:15.2f}{c.median / anchor.median:9.2f}   {samples}")
        for c in contenders[1:2]:
            if c is not all_on:
                print(f"all telemetry on / nginx with Lua: {all_on.median / c.median:.2f}")
        print(f"private dirty of the host after the run: {private_dirty_kb(all_on.process.pid) / 1024:.1f} MB")
        print(f"all telemetry on served {all_on.requests} requests; dropped: {'; '.join(dropped)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
