# SPDX-License-Identifier: MIT
"""Edit and see: a service is loaded anew while it serves, whole or not at all."""
import os
import pathlib
import re
import shutil
import signal
import socket
import statistics
import subprocess
import threading
import time
import uuid

import pytest
import requests

import ws_client
from host_test import BINARY, serve  # noqa: F401 (a fixture)
from lab import CHECKOUT, wait_until

WRK = """
other = 0
function response(status, headers, body)
  local number = tonumber(body:match("^v(%d+)$"))
  if status ~= 200 or not number or number % 5 == 0 then other = other + 1 end
end
local threads = {}
function setup(thread) threads[#threads + 1] = thread end
function done()
  local sum = 0
  for _, thread in ipairs(threads) do sum = sum + thread:get("other") end
  print("OTHER " .. sum)
end
"""


def source(number, *lines):
    return "\n".join([
        'local app = require "app"', 'local metrics = require "metrics"', 'local s = app.service "sample"',
        'local seen = metrics.counter("seen_total", "Requests seen.")', *lines,
        f's:get("/v", function() seen:inc() return 200, "v{number}" end)',
        's:every("tick", 1, function() end)', 's:ws("/ws", { message = function(conn, text) conn:send(text) end })',
        "return s", ""])


def folder_of(host):
    return pathlib.Path(host.process.args[2]).parent


def write(host, text):
    """As editors do: a new file takes the place of the old one."""
    file = folder_of(host) / "service.lua"
    new = file.with_suffix(".new")
    new.write_text(text)
    new.rename(file)


def value(host, name):
    found = re.search(rf"^{re.escape(name)} (\S+)$", host.get("/metrics").text, re.M)
    return float(found.group(1)) if found else None


def generation(host):
    return host.get("/ready").json()["generation"]


def comes_to(host, path, text, seconds=10):
    wait_until(lambda: host.get(path).text == text, seconds, f"{path} to answer {text}")


def counts(host):
    process = pathlib.Path("/proc") / str(host.process.pid)
    status = (process / "status").read_text()
    return {
        "descriptors": len(os.listdir(process / "fd")),
        "threads": int(re.search(r"Threads:\s+(\d+)", status).group(1)),
        "generations": value(host, "service_generations"),
        "tasks": value(host, "tasks"),
    }


def resident_kb(host):
    status = (pathlib.Path("/proc") / str(host.process.pid) / "status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status).group(1))


def memory(host):
    """Of the Lua machines, when it has been measured anew."""
    time.sleep(1.1)
    return value(host, "lua_vm_memory_bytes")


def settled(host):
    return value(host, "service_generations") == 1


def test_fifty_edits_under_load_lose_nothing_and_leak_nothing(serve, tmp_path):  # noqa: F811
    host = serve(source(1))
    (tmp_path / "load.lua").write_text(WRK)
    url = f"http://127.0.0.1:{host.port}/v"
    subprocess.run(["wrk", "-t1", "-c64", "-d1s", "-s", tmp_path / "load.lua", url], stdout=subprocess.PIPE)
    wait_until(lambda: counts(host)["descriptors"] < 64, 10, "the end of the first load")
    before, memory_before, resident_before = counts(host), memory(host), resident_kb(host)
    timers_before = value(host, "eventloop_timers")
    load = subprocess.Popen(["wrk", "-t1", "-c64", "-d25s", "-s", tmp_path / "load.lua", url], text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    live, failed = [], 0
    session = requests.Session()
    for number in range(2, 52):
        if number % 5 == 0:
            failures = value(host, 'service_reloads_total{outcome="failed"}') or 0
            write(host, source(number) + "\nthis is no Lua\n")
            wait_until(lambda: value(host, 'service_reloads_total{outcome="failed"}') == failures + 1, 10, "the failure")
            assert "generation" in host.get("/ready").json()
            failed += 1
            continue
        write(host, source(number))
        began = time.monotonic()
        while session.get(url, timeout=10).text != f"v{number}":
            assert time.monotonic() - began < 10, f"edit {number} is not live"
        live.append((time.monotonic() - began) * 1000)
    session.close()
    printed = load.communicate(timeout=60)[0]
    assert "OTHER 0" in printed and "Socket errors" not in printed and "Non-2xx" not in printed, printed
    print(f"live after {statistics.median(live):.0f} ms (median), {max(live):.0f} ms (worst); {failed} broken edits")
    assert failed == 10 and statistics.median(live) < 300
    wait_until(lambda: settled(host), 10, "old generations to end")
    wait_until(lambda: counts(host) == before, 10, lambda: f"{counts(host)}, before it was {before}")
    # The collector lets garbage grow to as much as lives; one machine left behind each edit would be forty.
    # Between two collections it grows to twice what is alive: requests drive the collector.
    wait_until(lambda: [host.get("/v") for _ in range(300)] and memory(host) < memory_before * 1.3, 20,
               lambda: f"{memory(host)} bytes of Lua memory, before it was {memory_before}")
    assert abs(value(host, "eventloop_timers") - timers_before) <= 2
    assert resident_kb(host) < resident_before * 1.3 + 4096
    assert value(host, "service_generation") == 41
    assert value(host, "service_last_reload_successful") == 1


def test_a_script_that_does_not_load_changes_nothing_and_is_told_everywhere(serve):  # noqa: F811
    host = serve(source(1))
    write(host, source(2).replace('s:every("tick"', "\nlocal x = nil + 1\ns:every(\"tick\""))
    error = wait_until(lambda: generation(host).get("error"), 10, "the error")
    assert host.get("/v").text == "v1" and host.get("/ready").status_code == 200
    assert "service.lua:7" in error["detail"] and error["line"] == 7
    assert any(line["text"] == "local x = nil + 1" for line in error["excerpt"])
    assert error["traceback"]
    assert value(host, "service_last_reload_successful") == 0
    line = wait_until(lambda: [li for li in host.lines() if li["message"] == "the service does not load"], 5)[0]
    assert line["level"] == "ERROR" and line["code.line.number"] == 7 and "> 7" in line["excerpt"].replace("  ", " ")
    write(host, source(3))
    comes_to(host, "/v", "v3")
    assert "error" not in generation(host) and value(host, "service_last_reload_successful") == 1


def test_a_task_finishes_on_the_generation_it_began_on(serve):  # noqa: F811
    slow = 's:get("/slow", function() require("task").sleep(1.5) return 200, "{}" end)'
    host = serve(source(1, slow.format("old")))
    answers = []
    thread = threading.Thread(target=lambda: answers.append(host.get("/slow").text))
    thread.start()
    wait_until(lambda: value(host, "tasks") >= 1, 5, "the task")
    write(host, source(2, slow.format("new")))
    comes_to(host, "/v", "v2")
    assert generation(host)["number"] == 2 and value(host, "service_generations") == 2
    thread.join()
    assert answers == ["old"] and host.get("/slow").text == "new"
    wait_until(lambda: settled(host), 10, "the old generation to end")


def test_several_files_change_as_one(serve):  # noqa: F811
    use = 'local part = require "part"\ns:get("/pair", function() return 200, "{}" .. part end)'
    host = serve(source(0, 's:get("/pair", function() return 200, "00" end)'))
    seen, stop = set(), threading.Event()

    def watch():
        session = requests.Session()
        while not stop.is_set():
            seen.add(session.get(f"http://127.0.0.1:{host.port}/pair", timeout=10).text)

    thread = threading.Thread(target=watch)
    thread.start()
    for number in range(1, 6):
        (folder_of(host) / "part.lua").write_text(f'return "{number}"\n')
        write(host, source(number, use.format(number)))
        comes_to(host, "/v", f"v{number}")
    stop.set()
    thread.join()
    assert all(pair[0] == pair[1] for pair in seen), seen


def test_a_module_required_late_is_of_the_same_generation(serve):  # noqa: F811
    late = 's:get("/late", function() return 200, require("part") end)'
    host = serve(source(0))
    (folder_of(host) / "part.lua").write_text('return "old"\n')
    write(host, source(1, late))
    comes_to(host, "/v", "v1")
    (folder_of(host) / "part.lua").write_text('return "new"\n')
    assert wait_until(lambda: host.get("/late").text, 5) in ("old", "new")
    comes_to(host, "/late", "new")


def test_sighup_reload_and_the_command_work_without_watching(serve):  # noqa: F811
    host = serve(source(1), "--reload", "signal")
    file = folder_of(host) / "service.lua"
    write(host, source(2))
    host.process.send_signal(signal.SIGHUP)
    comes_to(host, "/v", "v2")

    def reload():
        return subprocess.run([BINARY, "reload", str(file)], text=True, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, env={**os.environ, "ORRERY_ROOT": str(CHECKOUT)})

    write(host, source(3))
    done = reload()
    assert done.returncode == 0 and re.search(r"process \d+: generation 3 after [\d.]+ ms", done.stdout), done.stdout
    assert host.get("/v").text == "v3"
    write(host, source(4) + "end end")
    done = reload()
    assert done.returncode == 1 and "not reloaded" in done.stdout and "service.lua:" in done.stdout
    assert host.get("/v").text == "v3"
    host.end()
    assert reload().returncode == 1


def test_the_command_is_answered_for_the_source_it_came_with(serve):  # noqa: F811
    spin = """local log = require "log"
      s:get("/spin", function()
        log.info("spins")
        for _ = 1, 3e8 do end
        return 200, "spun"
      end)"""
    host = serve(source(1, spin), "--reload", "signal", "--cpu_ms", "20000", "--task_timeout_ms", "30000")

    def says(message):
        wait_until(lambda: [li for li in host.lines() if li["message"] == message], 10, message)

    busy = threading.Thread(target=host.get, args=("/spin",))
    busy.start()
    says("spins")
    write(host, source(2, spin, 'log.info("loads two")'))
    host.process.send_signal(signal.SIGHUP)
    says("loads two")  # and waits for the worker
    write(host, source(3) + "end end")
    done = subprocess.run([BINARY, "reload", str(folder_of(host) / "service.lua")], text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, env={**os.environ, "ORRERY_ROOT": str(CHECKOUT)})
    assert done.returncode == 1 and "not reloaded" in done.stdout, done.stdout
    busy.join()
    assert host.get("/v").text == "v2"


def test_generations_end_however_fast_they_follow_one_another(serve):  # noqa: F811
    host = serve(source(1), "--reload", "signal")
    end = time.monotonic() + 1.5
    most = 0
    while time.monotonic() < end:
        for _ in range(20):
            host.process.send_signal(signal.SIGHUP)
            time.sleep(0.001)
        most = max(most, value(host, "service_generations"))
    assert value(host, "service_generation") > 20
    assert most <= 9
    wait_until(lambda: settled(host), 10, "old generations to end")


def test_websocket_connections_live_on_with_their_state(serve):  # noqa: F811
    def socket_of(word):
        return f'''s:ws("/chat", {{
          accept = function() return {{ state = {{ count = 0 }} }} end,
          message = function(conn, text)
            conn.state.count = conn.state.count + 1
            conn:send("{word} " .. conn.state.count)
          end }})'''

    host = serve(source(1, socket_of("one")))
    with ws_client.connect(f"ws://127.0.0.1:{host.port}/chat") as chat:
        chat.send("x")
        assert chat.recv(5) == "one 1"
        write(host, source(2, socket_of("two")))
        comes_to(host, "/v", "v2")
        wait_until(lambda: settled(host), 10, "the old generation to end while its connection lives")
        chat.send("x")
        assert chat.recv(5) == "two 2"


def test_a_job_never_runs_twice_at_once(serve):  # noqa: F811
    job = '''local task = require "task"
      local running = metrics.gauge("running", "Runs under way.")
      local runs = metrics.counter("runs_total", "Runs begun.")
      s:every("long", 0.05, function() runs:inc() running:add(1) task.sleep(1) running:add(-1) end)'''
    host = serve(source(1, job))
    wait_until(lambda: value(host, "runs_total") >= 1, 5, "the job")
    for number in range(2, 8):
        write(host, source(number, job))
        comes_to(host, "/v", f"v{number}")
        assert value(host, "running") <= 1
    begun = value(host, "runs_total")
    wait_until(lambda: value(host, "runs_total") > begun, 10, "the next run, by the newest generation")
    assert value(host, "running") <= 1
    wait_until(lambda: settled(host), 10, "old generations to end")


def test_a_series_with_other_labels_starts_anew_and_says_so(serve):  # noqa: F811
    host = serve(source(1, 'local c = metrics.counter("c_total", "C.", { "a" }) c:inc("x")'))
    assert value(host, 'c_total{a="x"}') == 1
    host.get("/v")
    write(host, source(2, 'local c = metrics.counter("c_total", "C.", { "a", "b" }) c:inc("x", "y")'))
    wait_until(lambda: value(host, 'c_total{a="x",b="y"}') == 1, 10, "the new family")
    assert value(host, 'c_total{a="x"}') is None and value(host, "seen_total") == 1
    assert any(li.get("series") == "c_total" for li in host.lines())


def test_a_file_that_runs_for_ever_does_not_replace_what_serves(serve):  # noqa: F811
    host = serve(source(1))
    write(host, source(2, "while true do end"))
    error = wait_until(lambda: generation(host).get("error"), 10, "the error")
    assert "CPU" in error["detail"] and error["line"] == 5
    assert host.get("/v").text == "v1"


def test_a_change_of_lib_reaches_the_service(tmp_path):
    from host_test import Host
    for folder in ("lib", "scripts/hello"):
        shutil.copytree(CHECKOUT / folder, tmp_path / folder)
    (tmp_path / "lib" / "word.lua").write_text('return { word = function() return "one" end }\n')
    file = tmp_path / "scripts" / "hello" / "service.lua"
    file.write_text(source(1, 'local word = require "word"', 's:get("/word", function() return 200, word.word() end)'))
    host = Host(file, ORRERY_ROOT=str(tmp_path))
    try:
        assert host.get("/word").text == "one"
        (tmp_path / "lib" / "word.lua").write_text('return { word = function() return "two" end }\n')
        comes_to(host, "/word", "two")
    finally:
        host.end(signal.SIGKILL)


@pytest.mark.parametrize("workers", [2])
def test_all_workers_swap(serve, workers):  # noqa: F811
    host = serve(source(1), "--workers", str(workers))
    write(host, source(2))
    comes_to(host, "/v", "v2")
    wait_until(lambda: value(host, "service_generation") == 2, 5)
    for _ in range(40):  # a new connection each: the kernel spreads them
        assert host.get("/v").text == "v2"


def test_spans_and_lines_carry_the_generation(serve, collector):  # noqa: F811
    host = serve(source(1), OTEL_EXPORTER_OTLP_ENDPOINT=collector.url, OTEL_BSP_SCHEDULE_DELAY="100")
    write(host, source(2))
    comes_to(host, "/v", "v2")
    trace = uuid.uuid4().hex
    host.get("/v", headers={"traceparent": f"00-{trace}-{'d4' * 8}-01"})
    span = wait_until(lambda: collector.trace(trace), 10, "the span")[0]
    assert span.attributes["orrery.generation"] == 2
    line = wait_until(lambda: [li for li in host.lines() if li.get("trace_id") == trace], 5, "the line")[0]
    assert line["generation"] == 2


def test_a_service_that_cannot_start_says_where(tmp_path):
    file = tmp_path / "broken.lua"
    file.write_text("local x = 1\nlocal y = = 2\n")
    done = subprocess.run([BINARY, "serve", str(file), "--port", "0"], text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=20, env={**os.environ, "ORRERY_ROOT": str(CHECKOUT)})
    assert done.returncode == 1 and "broken.lua:2" in done.stdout


def test_it_serves_soon_after_it_is_started():
    took = []
    for _ in range(7):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        began = time.monotonic()
        process = subprocess.Popen(
            [BINARY, "serve", str(CHECKOUT / "scripts/hello/service.lua"), "--port", str(port)],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            while True:
                with socket.socket() as client:
                    if client.connect_ex(("127.0.0.1", port)) == 0:
                        client.sendall(b"GET /hello/x HTTP/1.0\r\nHost: x\r\n\r\n")
                        if b"200" in client.recv(100):
                            break
                assert time.monotonic() - began < 10
                time.sleep(0.001)
            took.append((time.monotonic() - began) * 1000)
        finally:
            process.terminate()
            process.wait(10)
    print(f"start to the first answer: {statistics.median(took):.0f} ms (median of {len(took)})")
    assert statistics.median(took) < 1000  # under 100 ms where the machine is idle; the figure is printed
