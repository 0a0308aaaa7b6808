# SPDX-License-Identifier: MIT
"""The tools of a script's author: check, routes, explain. Each has --help and an exit status."""
import json
import os
import pathlib
import re
import subprocess
import time

import pytest

CHECKOUT = pathlib.Path(__file__).resolve().parents[2]
BINARY = os.environ.get("ORRERY_BUILD", str(CHECKOUT / "build" / "gcc" / "orrery"))
COMMANDS = ["check", "dead", "explain", "health", "migrate", "reload", "routes", "run", "serve", "test"]

SERVICE = """\
local app = require "app"
local s = app.service "sample"
s:get("/x", function() return 200 end)
return s
"""


def orrery(*words, root=CHECKOUT, cwd="/", **env):
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("ORRERY_", "OTEL_"))}
    if root:
        env["ORRERY_ROOT"] = str(root)
    return subprocess.run([BINARY, *map(str, words)], env={**clean, **env}, cwd=cwd, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60)


class Tree:
    """A root of its own, with the checkout's lib/."""

    def __init__(self, path):
        self.path = path
        (path / "lib").symlink_to(CHECKOUT / "lib")

    def write(self, name, text):
        file = self.path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    def service(self, text, name="sample"):
        return self.write(f"scripts/shop/{name}/service.lua", text)

    def check(self, *words, **env):
        done = orrery("check", *words, root=self.path, **env)
        assert done.returncode in (0, 1), done.stderr
        assert (done.returncode == 0) == ("nothing found" in done.stdout), done.stdout
        return done.stdout

    def findings(self, *words, **env):
        """The findings alone: file:line: message."""
        lines = self.check(*words, **env).splitlines()
        return [line for line in lines[:-1] if not line.startswith("    ")]


@pytest.fixture
def tree(tmp_path):
    return Tree(tmp_path.resolve())


# --- help and exit statuses --------------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_its_exit_statuses_and_an_example(command):
    for words in ([command, "--help"], ["help", command], [command, "x", "--help"]):
        done = orrery(*words)
        assert done.returncode == 0 and done.stderr == ""
        assert done.stdout.startswith(f"Usage: orrery {command}")
        assert "Exit status: 0 well; 1 " in done.stdout
        assert f"Example: orrery {command} " in done.stdout
        assert all(len(line) <= 90 for line in done.stdout.splitlines())


def test_usage_names_every_command_with_one_line():
    done = orrery("--help")
    assert done.returncode == 0
    assert re.findall(r"^  (\w+)  +\S.*\.$", done.stdout, re.M) == COMMANDS
    assert orrery("help").stdout == done.stdout
    assert orrery().returncode == 2


def test_wrong_use_is_status_2_and_says_how_it_is_meant():
    for words in (["chekc"], ["help", "chekc"]):
        done = orrery(*words)
        assert done.returncode == 2 and "did you mean 'check'?" in done.stderr
    for words in (["check", "oms/nothing"], ["check", "--fast"], ["check", "/missing.lua"],
                  ["check", "../oms"], ["routes"], ["routes", "oms/nothing"],
                  ["routes", "hello", "users"], ["explain", "a", "b"], ["explain", "--all"],
                  ["reload", "hello", "--process", "first"], ["reload", "hello", "--process"]):
        done = orrery(*words)
        assert done.returncode == 2, words
        assert f"see orrery {words[0]} --help" in done.stderr and done.stdout == ""


def test_the_root_may_be_given_as_an_option(tree):
    tree.service(SERVICE)
    for words in (["--root", tree.path], [f"--root={tree.path}"]):
        assert orrery("routes", "shop/sample", *words, root=None).returncode == 0
    done = orrery("check", "--root", "/nowhere", root=None)
    assert done.returncode == 2 and "/nowhere" in done.stderr


# --- check -------------------------------------------------------------------------------------


def test_nothing_is_found_in_the_checkout_and_that_within_two_seconds():
    began = time.monotonic()
    done = orrery("check")
    assert done.returncode == 0, done.stdout
    assert time.monotonic() - began < 2
    assert int(done.stdout.split()[0]) > 40


@pytest.mark.parametrize("file", sorted(
    str(path.relative_to(CHECKOUT)) for folder in ("lib", "conf", "scripts", "test")
    for path in (CHECKOUT / folder).rglob("*.lua")
    # stubs are no scripts; the isolation test tries what does not exist
    if not {"native", "corpus"} & set(path.parts) and path.name != "isolation_test.lua"))
def test_nothing_is_found_in_any_file_of_the_checkout(file):
    done = orrery("check", CHECKOUT / file)
    assert done.returncode == 0, done.stdout


def test_a_finding_is_shown_as_a_compiler_does_and_counted(tree):
    tree.service(SERVICE.replace("return 200", "return 200, conut"))
    assert tree.check() == (
        "scripts/shop/sample/service.lua:3: unknown global 'conut'\n"
        '    s:get("/x", function() return 200, conut end)\n'
        f"1 finding in {1 + len(list((CHECKOUT / 'lib').glob('*.lua')))} files\n")


def test_syntax_errors_are_found_also_in_modules_that_nothing_requires(tree):
    tree.service(SERVICE)
    tree.write("scripts/shop/sample/later.lua", "local x = 1\nreturn x +\n")
    tree.write("scripts/shop/sample/deep/down.lua", "local = 2\n")
    assert tree.findings() == [
        "scripts/shop/sample/deep/down.lua:1: '<name>' expected near '='",
        "scripts/shop/sample/later.lua:3: unexpected symbol near '<eof>'",
    ]


def test_globals_that_are_not_there_are_found(tree):
    tree.service("""\
local app = require "app"
local s = app.service "sample"
function later() return tostirng(1) end
local function f(json) count = json.x end
s:get("/", function() print(string.foramt("x")) return os.time(), f end)
return s
""")
    assert tree.findings() == [
        "scripts/shop/sample/service.lua:3: assignment to the global 'later': use local",
        "scripts/shop/sample/service.lua:3: unknown global 'tostirng', did you mean 'tostring'?",
        "scripts/shop/sample/service.lua:4: assignment to the global 'count': use local",
        "scripts/shop/sample/service.lua:5: scripts have no global 'os': require \"clock\" has the time",
        "scripts/shop/sample/service.lua:5: scripts have no global 'print': require \"log\"",
        "scripts/shop/sample/service.lua:5: unknown member 'foramt' in string, did you mean 'format'?",
    ]


def test_members_of_modules_that_are_not_there_are_found(tree):
    tree.service("""\
local app, json = require "app", require "json"
local native, own = require "native.clock", require "own"
local s = app.service "sample"
s:get("/", function()
  local text = json.encoed({})
  return 200, native.nwo(), own.count, own.cuont, text
end)
s:get("/shadow", function(json) return json.encoed end)
return s
""")
    tree.write("scripts/shop/sample/own.lua", "return { count = 1 }\n")
    assert tree.findings() == [
        "scripts/shop/sample/service.lua:5: unknown member 'encoed' in module 'json', "
        "did you mean 'encode'?",
        "scripts/shop/sample/service.lua:6: unknown member 'cuont' in module 'own', "
        "did you mean 'count'?",
        "scripts/shop/sample/service.lua:6: unknown member 'nwo' in module 'native.clock', "
        "did you mean 'now'?",
    ]


def test_what_a_service_sets_in_its_own_module_is_there(tree):
    tree.service("""\
local app, own, made = require "app", require "own", require "made"
local s = app.service "sample"
s:get("/", function() own.seen = 1 return 200, own.seen, made.anything end)
return s
""")
    tree.write("scripts/shop/sample/own.lua", "return {}\n")
    tree.write("scripts/shop/sample/made.lua",
               "return setmetatable({}, { __index = function(_, name) return name end })\n")
    assert tree.findings() == []


def test_modules_that_are_not_there_are_found(tree):
    tree.service("""\
local app, jsn = require "app", require "jsno"
local native, flow = require "native.clok", require "folw"
return app.service "sample"
""")
    tree.write("scripts/shop/sample/flow.lua", "return {}\n")
    assert tree.findings() == [
        "scripts/shop/sample/service.lua:1: unknown module 'jsno', did you mean 'json'?",
        "scripts/shop/sample/service.lua:2: unknown module 'folw', did you mean 'flow'?",
        "scripts/shop/sample/service.lua:2: unknown module 'native.clok', "
        "did you mean 'native.clock'?",
    ]


def test_what_loading_a_service_complains_of_is_found(tree):
    tree.service(SERVICE + "\n", "well")
    tree.service(SERVICE.replace("return s", """\
s:get("/x", function()
end)
return s"""), "twice")
    tree.service(SERVICE.replace("local s =", """\
local shape = require "shape"
local bad = shape.integer("one", 2)
local s ="""), "misshapen")
    tree.service("return 7\n", "none")
    tree.service('local app = require "app"\nerror("not today")\n', "raises")
    found = tree.findings()
    assert [line.split(": ")[0] for line in found] == [
        "scripts/shop/misshapen/service.lua:3", "scripts/shop/none/service.lua:2",
        "scripts/shop/raises/service.lua:2", "scripts/shop/twice/service.lua:4"], found
    assert "must return the service" in found[1]
    assert found[2].endswith(": not today")
    assert "/x" in found[3]


def test_a_module_that_fails_when_it_runs_is_found_where_it_fails(tree):
    tree.service(SERVICE)
    tree.write("scripts/shop/sample/broken.lua", 'local t = nil\nreturn t.x\n')
    tree.write("scripts/shop/sample/user.lua", 'return { require "broken" }\n')
    found = tree.findings()
    assert len(found) == 1, found
    assert found[0].startswith("scripts/shop/sample/broken.lua:2: attempt to index")


def test_a_service_that_never_ends_loading_is_found_too(tree):
    tree.service("local app = require 'app'\nwhile true do end\n")
    found = tree.findings(ORRERY_CPU_MS="20")
    assert len(found) == 1 and "scripts/shop/sample/service.lua:2: " in found[0]
    assert "CPU" in found[0]


CONF = """\
-- A lab.
return {
  defaults = {
    port = 8080, -- { not = this }
    tasks_maxx = 1,
    [ "workers" ] = 0,
  },
  services = {
    sample = {
      task_timeout_ms = 5,
      amqp_url = "x",
      options = { port = "anything" },
    },
    smaple = { port = 1 },
  },
  serivces = {},
}
"""


def test_settings_that_nobody_reads_or_that_are_out_of_range_are_found(tree):
    tree.service(SERVICE)
    tree.write("conf/shop.lua", CONF)
    assert tree.findings("shop/sample") == [
        "conf/shop.lua:5: unknown setting 'tasks_maxx', did you mean 'tasks_max'?",
        "conf/shop.lua:6: workers must be a whole number from 1 to 64, not 0",
        "conf/shop.lua:10: task_timeout_ms must be a whole number from 10 to 600000, not 5",
        "conf/shop.lua:11: amqp_url is a secret: it comes from the environment only",
        "conf/shop.lua:14: unknown service 'smaple', did you mean 'sample'?",
        "conf/shop.lua:16: unknown key 'serivces', did you mean 'services'?",
    ]


def test_a_word_that_a_setting_cannot_be_is_found(tree):
    tree.service(SERVICE)
    tree.write("conf/shop.lua", 'return {\n  services = {\n    sample = {\n'
               '      mode = "prodcution",\n    },\n  },\n}\n')
    found = tree.findings()
    assert len(found) == 1 and found[0].startswith("conf/shop.lua:4: mode"), found


def test_settings_that_do_not_load_are_found(tree):
    tree.service(SERVICE.replace("200", "200, nothing"))
    for text, line in (("return {\n  services = {\n    sample = { port = }\n", 3),
                       ("return {\n  services = missing,\n}\n", 2),
                       ('local x\nreturn { services = { x.y } }\n', 2)):
        tree.write("conf/shop.lua", text)
        found = tree.findings()
        assert any(each.startswith(f"conf/shop.lua:{line}: ") for each in found), found
        assert any(each.startswith("scripts/shop/sample/service.lua:3: unknown global") for each in found)


def test_the_environment_is_told_of_when_it_is_wrong(tree):
    tree.service(SERVICE)
    found = tree.findings(ORRERY_PORT="much")
    assert found and all(each.startswith("settings: ORRERY_PORT") for each in found)


def test_stores_are_not_needed_and_not_touched(tree):
    tree.service(SERVICE)
    assert tree.findings(ORRERY_POSTGRES_URL="postgresql://127.0.0.1:1/none",
                         ORRERY_REDIS_URL="redis://127.0.0.1:1",
                         ORRERY_AMQP_URL="amqp://127.0.0.1:1") == []


def test_one_service_one_lab_or_one_file_can_be_checked(tree):
    tree.service(SERVICE)
    tree.service(SERVICE.replace("200", "bad"), "other")
    tree.write("scripts/alone/service.lua", SERVICE.replace("200", "worse"))
    assert tree.findings("shop/sample") == []
    assert len(tree.findings("shop")) == 1
    assert len(tree.findings("alone")) == 1
    assert len(tree.findings("shop", "alone", "shop/other")) == 2
    assert len(tree.findings(tree.path / "scripts/shop/other/service.lua")) == 1
    assert len(tree.findings()) == 2


def test_a_script_for_run_may_print_and_is_not_run(tree):
    tree.write("scripts/shop/load.lua", 'print("x", ...)\nerror("it ran")\n')
    assert tree.findings("shop") == []
    tree.write("scripts/shop/load.lua", 'prnit("x")\nerror("it ran")\n')
    assert tree.findings("shop") == [
        "scripts/shop/load.lua:1: unknown global 'prnit', did you mean 'print'?"]


def test_a_file_outside_the_tree_is_a_service_when_it_requires_app(tree, tmp_path_factory):
    folder = tmp_path_factory.mktemp("outside").resolve()
    (folder / "mine.lua").write_text(SERVICE.replace("return s", "s:get('/x', s.none)\nreturn s"))
    (folder / "tool.lua").write_text('print(require("json").encode {})\n')
    found = tree.findings(folder / "mine.lua")
    assert len(found) == 1 and found[0].startswith(f"{folder}/mine.lua:4: "), found
    assert tree.findings(folder / "tool.lua") == []


# --- routes ------------------------------------------------------------------------------------

OFFERS = """\
local app, shape = require "app", require "shape"
local s = app.service("sample", { auth = "bearer" })
local line = shape.object { sku = shape.text(1, 32), qty = shape.integer(1, 99) }
s:post("/orders", { body = shape.list(line, 1, 50), once_by = "idempotency-key" }, function() end)
s:get("/orders/:id", { path = shape.object { id = shape.uuid }, auth = false }, function() end)
s:ws("/ws", { message = function() end })
s:consume("sample.paid", { bind = { "payment.*" }, prefetch = 4 }, function() end)
s:every("sweep", 60, function() end)
return s
"""


def test_routes_are_shown_with_what_they_take(tree):
    tree.service(OFFERS)
    done = orrery("routes", "shop/sample", root=tree.path)
    assert done.returncode == 0
    assert done.stdout == """\
sample
routes
  POST   /orders  (auth bearer, once by idempotency-key)
         body  [{qty: integer 1..99, sku: text 1..32}] 1..50
  GET    /orders/:id
         path  {id: uuid}
sockets
  WS     /ws
consumers
  sample.paid  of payment.*, prefetch 4
jobs
  sweep  every 60 s
"""


def test_routes_are_shown_to_machines_as_json(tree):
    file = tree.service(OFFERS)
    done = orrery("routes", "--json", file, root=tree.path)
    assert done.returncode == 0
    said = json.loads(done.stdout)
    assert said["routes"][0] == {
        "method": "POST", "path": "/orders", "auth": "bearer", "once_by": "idempotency-key",
        "shapes": {"body": "[{qty: integer 1..99, sku: text 1..32}] 1..50"}}
    assert "auth" not in said["routes"][1]
    assert said["sockets"] == [{"path": "/ws"}]
    assert said["consumers"] == [{"queue": "sample.paid", "bind": ["payment.*"], "prefetch": 4}]
    assert said["jobs"] == [{"name": "sweep", "every_s": 60}]


def test_routes_of_a_service_that_does_not_load_are_a_failure(tree):
    tree.service("error('not today')\n")
    done = orrery("routes", "shop/sample", root=tree.path)
    assert done.returncode == 1 and done.stdout == ""
    assert "scripts/shop/sample/service.lua:1: not today" in done.stderr


@pytest.mark.parametrize("service", sorted(
    path.parent.name for path in CHECKOUT.glob("scripts/oms/*/service.lua")))
def test_routes_of_every_service_of_the_lab_are_shown(service):
    said = json.loads(orrery("routes", f"oms/{service}", "--json").stdout)
    assert said["service"] == service and said["routes"]


# --- explain -----------------------------------------------------------------------------------


def explain(*words):
    done = orrery("explain", *words)
    assert done.returncode == 0, done.stderr
    return done.stdout


def names_of(table, macro):
    return re.findall(rf"^{macro}\((\w+)", (CHECKOUT / table).read_text(), re.M)


def test_every_name_of_the_tables_is_in_the_overview_and_is_explained():
    overview = explain()
    listed = set(re.findall(r"^  ([\w.]+) ", overview, re.M))
    wanted = set(names_of("core/host/conf.def", "(?:TEXT|NUMBER|SECRET)"))
    wanted |= set(names_of("core/base/fault.def", "FAULT"))
    wanted |= set(names_of("core/base/chaos.def", "POINT"))
    series = re.findall(r'^SERIES\(\w+, \w+, "(\w+)"', (CHECKOUT / "core/watch/metrics.def").read_text(), re.M)
    wanted |= set(series) - {"http_server_request"}
    wanted |= {path.stem for path in (CHECKOUT / "lib").glob("*.lua")}
    wanted |= {"native." + path.stem for path in (CHECKOUT / "lib/native").glob("*.lua")}
    wanted |= set(COMMANDS)
    assert wanted - listed == set()
    for name in sorted(listed):
        assert explain(name).strip(), name


def test_a_setting_is_explained_with_its_range_and_how_to_set_it():
    for name in ("task_timeout_ms", "ORRERY_TASK_TIMEOUT_MS"):
        said = explain(name)
        assert "a whole number from 10 to 600000; default 5000" in said
        for way in ("ORRERY_TASK_TIMEOUT_MS", "--task_timeout_ms", "services.NAME.task_timeout_ms"):
            assert way in said
    said = explain("jwt_secret")
    assert "secret" in said and "environment only" in said and "--jwt_secret" not in said


def test_a_module_and_its_functions_are_explained_from_their_source():
    said = explain("json")
    for word in ("lib/json.lua", "JSON in and out.", "json.encode(value: any): string",
                 "Raises when the value cannot be written"):
        assert word in said
    assert explain("lib/json") == explain("lib/json.lua") == said
    assert explain("json.encode").startswith("json.encode(value: any): string\n    The text of")
    said = explain("shape.integer")
    assert said.startswith("shape.integer(min, max)\n") and "      min integer\n" in said
    assert "tx:query(sql, ...)" in explain("tx.query")


def test_a_native_module_is_explained_with_who_uses_it():
    said = explain("native.db")
    assert "used by lib/db.lua" in said and "db.query(sql, ...)" in said
    said = explain("native.db.query")
    assert said.startswith("native.db.query(sql, ...)") and "for services: db.query, in lib/db.lua" in said


def test_a_fault_a_series_and_a_point_are_explained():
    said = explain("bad_input")
    assert "status 422" in said and "shape rejects" in said
    said = explain("db_client_operation_duration_seconds")
    assert "histogram" in said and "labels: system, operation, kind" in said
    assert "db.client.operation.duration" in said
    assert explain("db_client_operation_duration_seconds_bucket") == said
    assert explain("db.client.operation.duration") == said
    assert explain("db_pool_timeouts") == explain("db_pool_timeouts_total")
    assert "dialect" in explain("http_requests")
    assert "PostgreSQL statement" in explain("pg_query")


def test_a_name_of_two_sorts_is_explained_twice():
    said = explain("test")
    assert "test  (command)" in said and "test  (module: lib/test.lua)" in said


def test_an_unknown_name_is_status_1_with_names_like_it():
    for wrong, right in (("json.encoed", "json.encode"), ("task_timeout", "task_timeout_ms"),
                         ("bad_inptu", "bad_input"), ("routs", "routes")):
        done = orrery("explain", wrong)
        assert done.returncode == 1 and done.stdout == ""
        assert f"nothing is called '{wrong}'" in done.stderr and right in done.stderr
    done = orrery("explain", "zzzzzzzz")
    assert done.returncode == 1 and done.stderr == "orrery explain: nothing is called 'zzzzzzzz'\n"
