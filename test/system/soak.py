# SPDX-License-Identifier: MIT
"""Hours of requests in little time: one worker under good and bad callers, failing handlers,
spent budgets and edits of its source, with what it uses watched all the while."""
import http.client
import http.server
import json
import os
import pathlib
import re
import socket
import statistics
import struct
import subprocess
import tempfile
import threading
import time

import ws_client
from lab import CHECKOUT, free_port, wait_until

SAMPLE_S = 0.25

# VERSION is replaced at each edit.
SOURCE = """
-- A small shop: what it takes is counted, checked, priced, announced and kept for a while.
local app, shape, metrics = require "app", require "shape", require "metrics"
local log, task, trace, ws = require "log", require "task", require "trace", require "ws"

local shop = app.service "soak"
local taken = metrics.counter("soak_orders_total", "Orders, by outcome.", { "outcome" })
local sizes = metrics.histogram("soak_order_lines", "Lines of an order.", {}, { 1, 2, 5, 10 })
local kept = metrics.gauge("soak_orders_kept", "Orders that are kept.")
local line = shape.object { sku = shape.text(1, 32), quantity = shape.integer(1, 99) }
local order = shape.object { customer = shape.text(1, 64), lines = shape.list(line, 1, 20) }
local orders, count = {}, 0

shop:get("/version", function() return 200, "VERSION" end)

shop:get("/orders/:id", function(req)
  local found = orders[tonumber(req.path.id) or 0]
  return 200, found or { id = req.path.id, lines = {} }
end)

shop:post("/orders", { body = order }, function(req)
  count = count + 1
  local units = trace.span("orders.price", { lines = #req.body.lines }, function()
    local sum = 0
    for _, item in ipairs(req.body.lines) do
      sum = sum + item.quantity
    end
    return sum
  end)
  orders[count % 500 + 1] = { id = count, units = units, customer = req.body.customer }
  taken:inc("taken")
  sizes:observe(#req.body.lines)
  if count % 100 == 0 then
    log.info("a hundred orders", { units = units })
    ws.push("orders", { count = count })
  end
  return 201, { id = count, units = units, lines = req.body.lines }
end)

shop:get("/parts", function()
  local function part() task.sleep(0.001) return 1 end
  local a, b = task.all { part, part }
  return 200, { sum = a + b }
end)

shop:get("/slow", function() task.sleep(0.2) return 200, "slow" end)
shop:get("/late", function() while true do pcall(task.sleep, 0.05) end end)
shop:get("/bug", function() local nothing = nil return nothing.at_all end)
shop:get("/refused", function() return nil, { kind = "refused", detail = "not today" } end)

shop:get("/spin", function()
  while true do pcall(function() while true do end end) end
end)

shop:get("/bomb", function()
  local all = {}
  while true do pcall(function() all[#all + 1] = ("x"):rep(100000) .. #all end) end
end)

-- Fills what log lines wait in.
shop:get("/chatter", function() while true do log.info("again", { and_again = true }) end end)

shop:every("tidy", 0.2, function()
  kept:set(#orders)
  task.sleep(0.01)
end)

shop:ws("/live", {
  accept = function() return { channels = { "orders" }, state = { heard = 0 } } end,
  message = function(conn, text)
    conn.state.heard = conn.state.heard + 1
    conn:send(text .. " " .. conn.state.heard)
  end,
})

return shop
"""

BROKEN = ("\nthis is no Lua\n", "\nerror('no')\n", "\nwhile true do end\n", "\nlocal s = require 'nothing'\n")

# The statuses that an endpoint may answer with; 499 is a caller that left.
EXPECTED = {
    "/version": {200}, "/orders/:id": {200}, "/orders": {201, 400, 422}, "/parts": {200}, "/slow": {200},
    "/late": {503}, "/bug": {500}, "/refused": {409}, "/spin": {503}, "/bomb": {503}, "/chatter": {503}, "/live": {101, 426},
    "unmatched": {400, 404, 408, 413}, "/health": {200}, "/ready": {200}, "/metrics": {200},
}

WRK = """
local good = '{"customer":"Ada","lines":[{"sku":"A-1","quantity":2},{"sku":"B-2","quantity":1}]}'
local bad = '{"customer":7,"lines":[{"sku":"","quantity":0}],"more":true}'
local json = { ["Content-Type"] = "application/json" }
local requests, at = {}, 0
function init()
  local mix = {}
  local function add(share, ...)
    for _ = 1, share do mix[#mix + 1] = wrk.format(...) end
  end
  add(30, "POST", "/orders", json, good)
  add(40, "GET", "/orders/7")
  add(10, "GET", "/version")
  add(5, "GET", "/parts")
  add(4, "POST", "/orders", json, bad)
  add(3, "POST", "/orders", json, '{"customer":')
  add(2, "GET", "/nowhere")
  add(3, "GET", "/bug")
  add(3, "GET", "/refused")
  local step = 37 -- has no factor in common with the number of requests
  for i = 0, #mix - 1 do requests[i + 1] = mix[i * step % #mix + 1] end
end
function request()
  at = at % #requests + 1
  return requests[at]
end
"""


def is_sanitized(binary):
    return b"__asan_init" in pathlib.Path(binary).read_bytes()


class Sink:
    """Takes what is exported, and keeps nothing but how often."""

    def __init__(self):
        sink = self
        self.exports = 0

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                self.rfile.read(int(self.headers["Content-Length"]))
                sink.exports += 1
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


class Target:
    """The host with the shop, from a folder of its own."""

    def __init__(self, binary):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="orrery-soak-"))
        self.file = self.folder / "shop" / "service.lua"
        self.file.parent.mkdir()
        self.write(1)
        self.version, self.edits, self.broken = 1, 0, 0
        self.stderr = open(self.folder / "stderr", "w+")
        self.port = free_port()
        self.sink = Sink()
        otel = {"OTEL_EXPORTER_OTLP_ENDPOINT": self.sink.url, "OTEL_LOGS_EXPORTER": "none",
                "OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.01",
                "OTEL_BSP_SCHEDULE_DELAY": "500", "OTEL_METRIC_EXPORT_INTERVAL": "2000"}
        env = {k: v for k, v in os.environ.items() if not k.startswith(("ORRERY_", "OTEL_"))}
        self.process = subprocess.Popen(
            [binary, "serve", str(self.file), "--port", str(self.port), "--memory_max_mb", "16", "--drain_ms", "2000"],
            env={**env, **otel, "ORRERY_ROOT": str(CHECKOUT), "LSAN_OPTIONS": self.leaks_allowed()},
            stdout=subprocess.DEVNULL, stderr=self.stderr, cwd="/")
        wait_until(self.answers, 20, "the host")

    def leaks_allowed(self):
        """What libh2o keeps for the life of a process."""
        file = self.folder / "leaks"
        file.write_text("leak:h2o_mem_alloc_recycle\nleak:h2o_multithread_create_queue\n")
        return f"suppressions={file}:print_suppressions=0"

    def answers(self):
        assert self.process.poll() is None, self.errors()
        try:
            return self.get("/health")[0] == 200
        except OSError:
            return False

    def get(self, path, **headers):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def write(self, version, more=""):
        new = self.file.with_suffix(".new")
        new.write_text(SOURCE.replace("VERSION", str(version)) + more)
        new.rename(self.file)

    def errors(self):
        self.stderr.flush()
        self.stderr.seek(0)
        return self.stderr.read()

    def metrics(self):
        return self.get("/metrics")[1].decode()

    def end(self):
        """The exit status after SIGTERM."""
        if self.process.poll() is None:
            self.process.terminate()
        try:
            return self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()
        finally:
            self.sink.close()


def value(text, name):
    found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.M)
    return float(found.group(1)) if found else 0.0


def answers_of(text):
    """(endpoint, status) -> count."""
    found = re.findall(r'^http_requests_total\{method="\w*",endpoint="([^"]*)",status="(\d+)"\} (\S+)$', text, re.M)
    counts = {}
    for endpoint, status, count in found:
        counts[endpoint, int(status)] = counts.get((endpoint, int(status)), 0) + int(float(count))
    return counts


def unexpected(counts):
    return {key: count for key, count in counts.items()
            if key[1] != 499 and key[1] not in EXPECTED.get(key[0], {404})}


def sample(target):
    """What it uses at this moment."""
    folder = pathlib.Path("/proc") / str(target.process.pid)
    status = (folder / "status").read_text()
    text = target.metrics()
    return {
        "requests": sum(answers_of(text).values()),
        "rss_kb": int(re.search(r"VmRSS:\s+(\d+)", status).group(1)),
        "dirty_kb": int(re.search(r"Private_Dirty:\s+(\d+)", (folder / "smaps_rollup").read_text()).group(1)),
        "fds": len(os.listdir(folder / "fd")),
        "threads": int(re.search(r"Threads:\s+(\d+)", status).group(1)),
        "tasks": value(text, "tasks"),
        "generations": value(text, "service_generations"),
        "vm_bytes": value(text, "lua_vm_memory_bytes"),
        "sockets": value(text, "websocket_open_connections"),
    }


class Soak:
    """At first, for a twentieth of the requests and so many edits one after the other, what it
    uses is not judged: memory comes to its level.
    """

    def __init__(self, binary, requests, edit_s=3.0, trouble_s=1.0, edits_warm=20, say=lambda text: None):
        self.requests, self.edit_s, self.trouble_s, self.edits_warm = requests, edit_s, trouble_s, edits_warm
        self.warm_at = None  # of samples
        self.sanitized = is_sanitized(binary)
        self.say = say
        self.target = Target(binary)
        self.stopping = threading.Event()
        self.complaints, self.samples = [], []
        self.made = {"edits": 0, "broken edits": 0, "budget ends": 0, "deadlines": 0, "callers that left": 0,
                     "WebSocket messages": 0}
        self.lock = threading.Lock()

    def complain(self, text):
        with self.lock:
            self.complaints.append(text)

    # --- those who make it hard ------------------------------------------------------------

    def every(self, seconds, step):
        """A thread that does the step again and again; what it raises is a complaint."""
        def run():
            while not self.stopping.wait(seconds()):
                try:
                    step()
                except Exception as why:  # noqa: BLE001 (whatever it is, it is not as it should be)
                    if self.target.process.poll() is None:
                        self.complain(f"{step.__name__}: {why!r}")
        return threading.Thread(target=run, daemon=True)

    def edit(self):
        target, number = self.target, self.made["edits"] + 1
        self.made["edits"] = number
        if number % 5 == 0:
            self.made["broken edits"] += 1
            failed = value(target.metrics(), 'service_reloads_total{outcome="failed"}')
            target.write(number, BROKEN[number // 5 % len(BROKEN)])
            wait_until(lambda: value(target.metrics(), 'service_reloads_total{outcome="failed"}') > failed, 30,
                       "the broken edit to be refused")
        else:
            target.write(number)
            wait_until(lambda: target.get("/version") == (200, str(number).encode()), 30, f"edit {number} to serve")

    def spend(self):
        for path, why in (("/spin", "CPU time"), ("/bomb", "budget|CPU time"), ("/chatter", "CPU time")):
            status, body = self.target.get(path)
            detail = json.loads(body)["detail"]
            if status != 503 or not re.search(why, detail):
                self.complain(f"{path}: {status} {detail}")
            self.made["budget ends"] += 1

    def outstay(self):
        status, body = self.target.get("/late", **{"x-envoy-expected-rq-timeout-ms": "150"})
        if status != 503 or "deadline" not in json.loads(body)["detail"]:
            self.complain(f"/late: {status} {body[:200]}")
        self.made["deadlines"] += 1

    def leave(self):
        """Half a request, one not waited for, and one whose answer is thrown away."""
        slow = b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n"
        for text, reset in ((slow[:20], False), (slow, False), (slow, True), (slow * 3, True),
                            (b"POST /orders HTTP/1.1\r\nHost: x\r\nContent-Length: 90000\r\n\r\n{", True), (b"", False)):
            with socket.create_connection(("127.0.0.1", self.target.port), timeout=10) as caller:
                if reset:
                    caller.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                caller.sendall(text)
            self.made["callers that left"] += 1

    def talk(self):
        """One connection over a few messages, and over an edit now and then."""
        with ws_client.connect(f"ws://127.0.0.1:{self.target.port}/live") as live:
            for number in range(1, 6):
                live.send("x")
                while (heard := live.recv(20))[0] == "{":
                    pass
                if heard != f"x {number}":
                    self.complain(f"WebSocket: {heard!r}, not 'x {number}'")
                self.made["WebSocket messages"] += 1
                self.stopping.wait(self.trouble_s / 5)

    # --- the run ---------------------------------------------------------------------------

    def load(self, seconds):
        """Ends with the lines of wrk that tell of errors."""
        script = self.target.folder / "mix.lua"
        script.write_text(WRK)
        done = subprocess.run(
            ["wrk", "-t1", "-c32", f"-d{seconds}s", "--timeout", "20s", "-s", str(script),
             f"http://127.0.0.1:{self.target.port}"], text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if "Socket errors" in done.stdout or "Requests/sec" not in done.stdout:
            self.complain("wrk: " + done.stdout.strip().splitlines()[-1] + " " +
                          " ".join(line.strip() for line in done.stdout.splitlines() if "Socket errors" in line))

    def watch(self):
        self.samples.append(sample(self.target))

    def settled(self, start):
        now = sample(self.target)
        return now if all(now[key] <= start[key] for key in ("fds", "threads", "tasks", "generations")) else None

    def run(self):
        """Gives a list of what is wrong; empty: all is well."""
        target = self.target
        self.load(1)  # what is made once is made now
        self.talk()
        self.spend()
        start = self.start = self.quiet()
        self.watch()
        threads = [self.every(lambda: self.edit_s if self.warm_at else 0.1, self.edit),
                   self.every(lambda: self.trouble_s, self.spend), self.every(lambda: self.trouble_s, self.outstay),
                   self.every(lambda: self.trouble_s / 2, self.leave), self.every(lambda: self.trouble_s, self.talk),
                   self.every(lambda: SAMPLE_S, self.watch)]
        for thread in threads:
            thread.start()
        began = told = time.monotonic()
        done = 0
        while (done < self.requests or self.judged_s() < 3) and target.process.poll() is None:
            self.load(1 if not self.warm_at else self.chunk_s(done, time.monotonic() - began))
            done = self.samples[-1]["requests"] - start["requests"]
            if not self.warm_at and done > self.requests / 20 and self.made["edits"] >= self.edits_warm:
                self.warm_at = len(self.samples)
            if time.monotonic() - told > 9:
                told = time.monotonic()
                self.progress(done, told - began)
        self.stopping.set()
        for thread in threads:
            thread.join(60)
        self.took_s = time.monotonic() - began
        return self.complaints + self.judge(start)

    def judged_s(self):
        return 0 if not self.warm_at else (len(self.samples) - self.warm_at) * SAMPLE_S

    def chunk_s(self, done, seconds):
        """Half of what is left to do at this rate, within bounds."""
        return max(1, min(10, int((self.requests - done) / (done / seconds) / 2)))

    def quiet(self):
        """What it uses when nobody asks for anything."""
        wait_until(lambda: value(self.target.metrics(), "tasks") == 0, 20, "the tasks to end")
        seen = []

        def same():
            seen.append({k: v for k, v in sample(self.target).items() if k in ("fds", "threads", "generations")})
            return len(seen) > 3 and seen[-1] == seen[-4]
        wait_until(same, 20, "the host to be quiet")
        return sample(self.target)

    def progress(self, done, seconds):
        now = self.samples[-1]
        self.say(f"{done:9d} requests, {done / seconds:6.0f}/s; RSS {now['rss_kb'] / 1024:6.1f} MB, private dirty"
                 f" {now['dirty_kb'] / 1024:6.1f} MB, VM {now['vm_bytes'] / 1e6:5.1f} MB; fds {now['fds']},"
                 f" generations {now['generations']:.0f}, edits {self.made['edits']}; complaints {len(self.complaints)}")

    def judge(self, start):
        target, wrong = self.target, []
        if target.process.poll() is not None:
            return [f"the process ended: {target.process.returncode}", target.errors()[-4000:]]
        try:
            self.last = wait_until(lambda: self.settled(start), 30,
                                   "descriptors, threads, tasks and generations to be as before")
        except AssertionError as why:
            wrong.append(f"{why}: {start} -> {sample(target)}")
            self.last = sample(target)
        self.counts = answers_of(target.metrics())
        wrong += [f"{count} answers {status} of {endpoint}" for (endpoint, status), count in unexpected(self.counts).items()]
        status = target.end()
        errors = target.errors()
        self.made["exports"] = target.sink.exports
        if status != 0:
            wrong.append(f"exit status {status}")
        if re.search(r"Sanitizer|runtime error:|FATAL|check failed|Assertion", errors):
            wrong.append("on standard error: " + errors[:6000])
        return wrong

    def tenth(self, key, first):
        """The mean of a figure in the first or last tenth of what is judged."""
        judged = self.samples[self.warm_at or 0:] or self.samples[-1:]
        begin, end = judged[0]["requests"], judged[-1]["requests"]
        tenth = (end - begin) / 10
        return statistics.mean(s[key] for s in judged if (
            s["requests"] <= begin + tenth if first else s["requests"] >= end - tenth))

    def growth(self, key="rss_kb"):
        return self.tenth(key, False) / self.tenth(key, True) - 1

    def table(self):
        lines = [f"{'':22}{'first tenth':>14}{'last tenth':>14}{'at the end':>14}"]
        for key in ("rss_kb", "dirty_kb", "vm_bytes", "fds", "threads", "tasks", "generations"):
            lines.append(f"{key:22}{self.tenth(key, True):14.1f}{self.tenth(key, False):14.1f}{self.last[key]:14.0f}")
        lines.append(f"resident memory: {self.growth() * 100:+.1f} % from the first tenth to the last")
        lines.append(", ".join(f"{count} {name}" for name, count in self.made.items()))
        for (endpoint, status), count in sorted(self.counts.items()):
            lines.append(f"  {status} {endpoint:16} {count:10d}")
        total = sum(self.counts.values())
        lines.append(f"{total} answers in {self.took_s:.0f} s; {sum(unexpected(self.counts).values())} unexpected")
        return "\n".join(lines)
