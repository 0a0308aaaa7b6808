# SPDX-License-Identifier: MIT
"""`orrery run` and `orrery test`: scripts and tests as a person starts them."""
import os
import pty
import select
import signal
import subprocess
import time

import pytest

from lab import CHECKOUT, wait_until

BINARY = os.environ.get("ORRERY_BUILD", str(CHECKOUT / "build" / "gcc" / "orrery"))
CLEAN = {k: v for k, v in os.environ.items() if not k.startswith(("ORRERY_", "OTEL_"))}


def orrery(*words, text=None, cwd="/", **env):
    return subprocess.run([BINARY, *map(str, words)], input=text, text=True, timeout=60, cwd=cwd,
                          env={**CLEAN, "ORRERY_ROOT": str(CHECKOUT), **env},
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def begin(*words, **how):
    return subprocess.Popen([BINARY, *map(str, words)], text=True, cwd="/", stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE,
                            env={**CLEAN, "ORRERY_ROOT": str(CHECKOUT)}, **how)


@pytest.fixture
def script(tmp_path):
    def write(source, name="script.lua"):
        file = tmp_path / name
        file.write_text(source)
        return file
    return write


# --- one script -------------------------------------------------------------------------------


def test_a_script_gets_its_arguments_and_prints(script):
    done = orrery("run", script('print("got", ..., select("#", ...), nil, true)'), "a", "--b", "3")
    assert (done.stdout, done.stderr, done.returncode) == ("got\ta\t3\tnil\ttrue\n", "", 0)


def test_the_number_it_returns_is_the_status(script):
    assert orrery("run", script("return 7")).returncode == 7
    assert orrery("run", script('return "7"')).returncode == 0
    done = orrery("run", script("return 256"))
    assert done.returncode == 1 and "0 to 255" in done.stderr


def test_an_error_shows_message_source_and_traceback(script):
    done = orrery("run", script("local function f(t)\n  return t.a.b\nend\nf({})\n"))
    assert done.returncode == 1 and done.stdout == ""
    assert "script.lua:2: attempt to index field 'a'" in done.stderr
    assert "> 2 |   return t.a.b" in done.stderr
    assert "script.lua:4: in main chunk" in done.stderr


def test_a_fault_shows_its_kind_and_where_it_was_raised(script):
    done = orrery("run", script('local fault = require "fault"\n\nfault.raise("denied", "no")\n'))
    assert done.returncode == 1
    assert done.stderr.startswith("denied: no\n") and "script.lua:3: in main chunk" in done.stderr


def test_a_file_that_does_not_compile_says_where(script):
    done = orrery("run", script("local x = = 1\n"))
    assert done.returncode == 1 and "script.lua:1: unexpected symbol" in done.stderr


def test_waits_go_on_side_by_side_at_top_level(script):
    began = time.monotonic()
    done = orrery("run", script("""
        local task = require "task"
        local function nap() task.sleep(0.5) return 1 end
        print(task.all { nap, nap, nap })
    """))
    assert done.stdout == "1\t1\t1\n" and time.monotonic() - began < 1.4


def test_require_finds_modules_beside_the_script(script):
    script("return { word = 'beside' }", "words.lua")
    assert orrery("run", script('print(require("words").word)')).stdout == "beside\n"


def test_modules_of_tests_only_and_stubs_are_not_found(script):
    for name in ("native.test", "native.nothing"):
        done = orrery("run", script(f'print(pcall(require, "{name}"))'))
        assert done.stdout.startswith("false\t") and name in done.stdout


def test_what_is_logged_goes_to_standard_error(script):
    done = orrery("run", script('require("log").info("hello", { n = 1 })'))
    assert done.stdout == "" and '"message":"hello","n":1' in done.stderr


def test_without_a_store_it_says_which_setting_is_missing(script):
    done = orrery("run", script('require("db").query("select 1")'))
    assert done.returncode == 1 and "postgres_url" in done.stderr


def test_by_default_nothing_limits_it_and_options_do(script):
    busy = script("local n = 0 for i = 1, 2e7 do n = n + 1 end print(n)")
    assert orrery("run", busy).stdout == "20000000\n"
    done = orrery("run", "--cpu_ms", "50", busy)
    assert done.returncode == 1 and "50 ms of CPU" in done.stderr
    done = orrery("run", "--timeout", "0.2", script('require("task").sleep(30)'))
    assert done.returncode == 1 and "deadline" in done.stderr


@pytest.mark.parametrize("what", [
    'require("task").sleep(30)',
    "while true do pcall(function() while true do end end) end",
    'require("task").all { function() require("task").sleep(30) end }',
])
def test_ctrl_c_ends_it_with_130(script, what):
    process = begin("run", script(f'print("on") {what}'))
    assert process.stdout.readline() == "on\n"
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 130


def test_wrong_use_is_2(script):
    for words in (["nothing.lua"], ["--port", "x", script("")], ["--nonsense", "1", script("")],
                  [script("", "script.txt")], ["-i", script("")], ["--timeout", "-1", script("")]):
        done = orrery("run", *words)
        assert done.returncode == 2 and done.stderr.startswith("orrery run: "), words


# --- a session --------------------------------------------------------------------------------


def session(text):
    done = orrery("run", text=text)
    assert done.returncode == 0
    return done.stdout, done.stderr


def test_expressions_print_their_values():
    assert session('1 + 1\n"a", nil, true\n{ 1, name = "x" }\n') == (
        '2\n"a"\nnil\ntrue\n{1, name = "x"}\n', "")


def test_globals_persist_and_locals_do_not():
    out, err = session("x = 1\nlocal y = 2\nx\ny\nfunction f() return x end\nf()\n")
    assert out == "1\n1\n" and "unknown global 'y'" in err


def test_an_incomplete_input_goes_on_when_the_end_of_all_input_was_read_already():
    out, err = session('error("boo")\nfor i = 3, 4 do\nprint(i)\nend\n')
    assert out == "3\n4\n" and "input:1: boo" in err and "expected" not in err


def test_an_incomplete_input_goes_on_on_the_next_line():
    assert session("for i = 1, 2 do\n  print(i)\nend\n1 +\n2\n") == ("1\n2\n3\n", "")


def test_an_input_that_is_never_complete_says_so():
    out, err = session("function f(")
    assert out == "" and "near '<eof>'" in err


def test_an_error_ends_nothing():
    out, err = session('error("boom")\nx = = 1\n1\n')
    assert out == "1\n"
    assert "input:1: boom" in err and "input:1: unexpected symbol" in err


def test_inputs_may_wait_and_come_one_after_the_other():
    assert session('require("task").sleep(0.2) x = 1\nx\n')[0] == "1\n"


def test_a_file_is_read_like_a_pipe(tmp_path):
    file = tmp_path / "input"
    file.write_text("x = 20\nx + 1")
    with open(file) as source:
        done = subprocess.run([BINARY, "run", "-i"], stdin=source, text=True, timeout=30, env=CLEAN,
                              cwd=CHECKOUT, stdout=subprocess.PIPE)
    assert done.stdout == "21\n"


class Terminal:
    """`orrery run` as somebody at a terminal sees it."""

    def __init__(self, *words):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.chdir(CHECKOUT)
            os.execve(BINARY, [BINARY, "run", *words], CLEAN)
        self.seen = ""

    def until(self, text):
        end = time.monotonic() + 10
        while text not in self.seen:
            assert time.monotonic() < end, f"no {text!r} in {self.seen!r}"
            if select.select([self.fd], [], [], 0.1)[0]:
                self.seen += os.read(self.fd, 4096).decode()
        before, _, self.seen = self.seen.partition(text)
        return before

    def type(self, text):
        os.write(self.fd, text.encode())

    def status(self):
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


@pytest.fixture
def terminal():
    try:
        at = Terminal()
    except OSError as e:
        pytest.skip(f"no terminal can be had here: {e}")
    yield at
    os.close(at.fd)
    try:
        os.kill(at.pid, signal.SIGKILL)
        os.waitpid(at.pid, 0)
    except (ProcessLookupError, ChildProcessError):
        pass


def test_a_terminal_gets_prompts_and_the_end_of_input_ends_it(terminal):
    assert "locals end with" in terminal.until("> ").replace("\r\n", " ")
    terminal.type("function f()\n")
    terminal.until("... ")
    terminal.type("return 6 * 7 end\n")
    terminal.until("> ")
    terminal.type("f()\n")
    terminal.until("42\r\n> ")
    terminal.type("help\n")
    terminal.until("An expression prints its values")
    terminal.type("\x04")
    assert terminal.status() == 0


@pytest.mark.parametrize("what", ['require("task").sleep(30)', "while true do pcall(error) end"])
def test_ctrl_c_ends_an_input_and_not_the_session(terminal, what):
    terminal.until("> ")
    terminal.type(f'print("under" .. " way") {what}\n')
    terminal.until("under way\r\n")
    terminal.type("\x03")
    terminal.until("interrupted")
    terminal.until("> ")
    terminal.type("1 + 1\n")
    terminal.until("2\r\n> ")


def test_ctrl_c_forgets_what_is_half_typed(terminal):
    terminal.until("> ")
    terminal.type("function half(\n")
    terminal.until("... ")
    terminal.type("\x03")
    terminal.until("> ")
    terminal.type("1 + 1\n")
    terminal.until("2\r\n> ")


# --- tests ------------------------------------------------------------------------------------

PASSING = 'local test = require "test"\ntest.case("holds", function() end)\nreturn test.suite()\n'
FAILING = """local test = require "test"
local log = require "log"

local function price(item)
  return item.price.amount
end

test.case("breaks", function()
  log.info("looking", { n = 1 })
  price {}
end)
test.case("waits in vain", function()
  require("fault").raise("timeout", "nobody answers")
end)
return test.suite()
"""


def test_the_services_own_tests_take_less_than_two_seconds():
    began = time.monotonic()
    done = orrery("test", CHECKOUT / "test" / "services")
    assert done.returncode == 0, done.stdout
    assert time.monotonic() - began < 2


def test_a_failing_test_shows_source_traceback_and_its_logs(script):
    done = orrery("test", script(FAILING, "x_test.lua"))
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert lines[1] == "not ok 1 - breaks" and "1..2" in lines
    assert all(line.startswith(("#", "not ok", "1..")) for line in lines)
    assert "x_test.lua:5: attempt to index field 'price'" in done.stdout
    assert "> 5 |   return item.price.amount" in done.stdout.replace(">  5", "> 5")
    assert "in function 'price'" in done.stdout and '"message":"looking"' in done.stdout
    assert "# timeout: nobody answers" in lines and "x_test.lua:13: in function" in done.stdout


def test_a_file_that_does_not_load_is_one_failed_test(script):
    done = orrery("test", script("local x = = 1", "x_test.lua"), script(PASSING, "y_test.lua"))
    assert done.returncode == 1
    assert "not ok 1 - " in done.stdout and "x_test.lua loads" in done.stdout
    assert "ok 2 - holds" in done.stdout and "# 1 passed, 1 failed" in done.stdout


def test_a_test_or_file_that_never_ends_is_ended(script):
    done = orrery("test", script(PASSING.replace("end)", "while true do end end)"), "x_test.lua"),
                   ORRERY_CPU_MS="200")
    assert done.returncode == 1 and "200 ms of CPU" in done.stdout
    done = orrery("test", script("while true do end", "x_test.lua"), ORRERY_CPU_MS="20")
    assert done.returncode == 1 and "ms of CPU" in done.stdout and " loads" in done.stdout


def test_filter_runs_those_whose_name_has_the_text(script):
    file = script(FAILING.replace("return test", PASSING.split("\n")[1] + "\nreturn test"),
                  "x_test.lua")
    assert "ok 1 - holds\n1..1\n" in orrery("test", "--filter", "old", file).stdout
    assert orrery("test", "--filter=none of them", file).returncode == 1


@pytest.fixture
def root(tmp_path):
    """A checkout of our own: the real lib/, one service and its tests."""
    folder = tmp_path / "root"
    for path in ("scripts/shop/stall", "test/services"):
        (folder / path).mkdir(parents=True)
    subprocess.run(["cp", "-r", CHECKOUT / "lib", folder], check=True)
    stall = folder / "scripts" / "shop" / "stall"
    (stall / "service.lua").write_text(
        'local app = require "app"\nlocal s = app.service "stall"\n'
        's:get("/", function() return 200, { n = require("number") } end)\nreturn s\n')
    (stall / "number.lua").write_text("return 1\n")
    (stall / "own_test.lua").write_text(PASSING.replace("holds", "its own"))
    (folder / "test" / "services" / "stall_test.lua").write_text(
        'local test = require "test"\nlocal stall = test.service "shop/stall"\n'
        'test.case("n is 1", function()\n'
        '  test.equal(test.call(stall, "GET /").body.n, 1)\nend)\nreturn test.suite()\n')
    return folder


def test_a_service_stands_for_its_tests_and_a_folder_for_those_in_it(root):
    both = orrery("test", "shop/stall", ORRERY_ROOT=str(root))
    assert "ok 1 - n is 1" in both.stdout and "ok 2 - its own" in both.stdout
    folder = orrery("test", "scripts/shop/stall", cwd=root, ORRERY_ROOT="")
    assert folder.stdout == both.stdout
    assert "ok 1 - n is 1\n1..1\n" in orrery("test", root / "test", ORRERY_ROOT=str(root)).stdout
    nothing = orrery("test", "shop/nothing", ORRERY_ROOT=str(root))
    assert nothing.returncode == 2 and "shop/nothing" in nothing.stderr


class Watch:
    """`orrery test --watch`, a run at a time."""

    def __init__(self, root, *what):
        self.process = subprocess.Popen(
            [BINARY, "test", "--watch", *what], stdout=subprocess.PIPE,
            env={**CLEAN, "ORRERY_ROOT": str(root)})
        self.seen = ""

    def run(self):
        def waits():
            if select.select([self.process.stdout], [], [], 0)[0]:
                self.seen += os.read(self.process.stdout.fileno(), 65536).decode()
            return "# waiting" in self.seen
        wait_until(waits, 10, "a run")
        run, _, self.seen = self.seen.partition("# waiting")
        self.seen = self.seen.partition("\n")[2]
        return run


@pytest.fixture
def watch(root):
    process = Watch(root, "shop/stall")
    yield process
    process.process.kill()
    process.process.wait()


def test_watching_runs_again_what_a_change_affects(root, watch):
    stall = root / "scripts" / "shop" / "stall"
    first = watch.run()
    assert "ok 1 - n is 1" in first and "ok 2 - its own" in first
    (stall / "number.lua").write_text("return 2\n")
    broken = watch.run()
    assert "not ok 1 - n is 1" in broken and "its own" not in broken
    (stall / "own_test.lua").write_text(PASSING.replace("holds", "its other"))
    again = watch.run()  # what had failed as well
    assert "not ok 1 - n is 1" in again and "ok 2 - its other" in again
    (stall / "number.lua").write_text("return 1\n")
    assert watch.run().count("ok ") == 1
    (root / "lib" / "test.lua").write_text((root / "lib" / "test.lua").read_text() + "--\n")
    assert watch.run().count("ok ") == 2
    (stall / "new_test.lua").write_text(PASSING.replace("holds", "appears"))
    assert "ok 1 - appears\n1..1" in watch.run()


def test_ctrl_c_ends_watching_with_the_status_of_the_last_run(root, watch):
    watch.run()
    (root / "scripts" / "shop" / "stall" / "number.lua").write_text("return 2\n")
    watch.run()
    watch.process.send_signal(signal.SIGINT)
    assert watch.process.wait(10) == 1
