# SPDX-License-Identifier: MIT
"""What a service's page lists is what its source has, in both directions.

The sources are read, not run: names stand in them as literals. Where a key is put together
("order." .. status) every key on the page that begins so is covered by it."""
import re

import pytest
from tree import ROOT, report, under

SERVICES = sorted(path.parent for path in under("scripts/oms", ".lua") if path.name == "service.lua")

NAME = r'"((?:[^"\\\n]|\\.)*)"'
ARGUMENT = r'((?:"[^"\n]*"|[^,(){}\n]|\([^()\n]*\))*?)'


def without_comments(source):
    """Lua without comments; the strings of the sources hold no two dashes that matter here."""
    return re.sub(r"--\[\[.*?\]\]|(?<![\"'%])--[^\n]*", "", source, flags=re.S)


class Code:
    """What the sources of a service say, and those of the library modules that it requires."""

    def __init__(self, folder, lib):
        self.own = {path: without_comments(path.read_text(encoding="utf-8"))
                    for path in sorted(folder.rglob("*.lua"))}
        self.schema = folder / "schema.sql"
        self.lib = lib
        self.all = dict(self.own)
        waiting = list(self.own.values())
        while waiting:
            for name in re.findall(r'\brequire\s*\(?\s*"([a-z_0-9]+)"', waiting.pop()):
                path = lib / f"{name}.lua"
                if path.exists() and path not in self.all:
                    self.all[path] = without_comments(path.read_text(encoding="utf-8"))
                    waiting.append(self.all[path])

    def find(self, pattern, sources=None):
        return [match for source in (sources or self.own).values()
                for match in re.finditer(pattern, source, re.S)]

    def routes(self):
        found = {f"{m[1].upper()} {m[2]}" for m in self.find(
            r'\b\w+:(get|post|put|patch|delete)\(\s*"(/[^"]*)"')}
        return found | {f"WS {m[1]}" for m in self.find(r'\b\w+:ws\(\s*"(/[^"]*)"')}

    def jobs(self):
        found = {m[1] for m in self.find(rf"\b(?:\w+:every\(|leader\.every\(\s*\w+\s*,)\s*{NAME}")}
        for module in ("outbox", "inbox"):  # each adds a job of its own name
            if self.find(rf"\b{module}\.start\("):
                found.add(module)
        return found

    def series(self):
        return {m[1] for m in self.find(
            rf"\bmetrics\.(?:counter|gauge|histogram|summary)\(\s*{NAME}", self.all)}

    def settings(self):
        """Names, each with its default as it is written; lists and calls are not compared."""
        return {m[1]: m[2].strip() for m in self.find(
            rf"\bconf\.option\(\s*{NAME}\s*(?:,\s*{ARGUMENT})?\)", self.all)}

    def tables(self):
        if not self.schema.exists():
            return set()
        schema = re.sub(r"--[^\n]*", "", self.schema.read_text(encoding="utf-8"))
        made = set(re.findall(r"\bcreate\s+table\s+(?:if\s+not\s+exists\s+)?(\w+)", schema, re.I))
        return made - set(re.findall(r"\bdrop\s+table\s+(?:if\s+exists\s+)?(\w+)", schema, re.I))

    def consumes(self):
        """queue -> its keys."""
        found = {}
        for path, source in self.own.items():
            for match in re.finditer(rf"(?:\b\w+:consume\(|\binbox\.consume\(\s*\w+\s*,)\s*{ARGUMENT}\s*,"
                                     r"\s*\{(?:[^{}]|\{[^{}]*\})*?\bbind\s*=\s*\{([^{}]*)\}", source, re.S):
                queue = value_of(match[1].strip(), source)
                found[queue] = set(re.findall(NAME, match[2]))
        return found

    def publishes(self):
        """(whole keys, beginnings of keys that are put together)."""
        whole, begun = set(), set()
        for source in self.own.values():
            for match in re.finditer(rf"\boutbox\.add\(\s*\w+\s*,\s*{ARGUMENT}\s*,", source):
                for key in self.keys(match[1].strip(), source, match.start()):
                    (whole if key[1] else begun).add(key[0])
        return whole, begun

    def keys(self, argument, source, at):
        literal = re.match(rf"^{NAME}\s*(\.\.)?", argument)
        if literal:
            return [(literal[1], not literal[2])]
        found = self.passed_keys(argument, source, at)
        assert found, f"nobody says which key outbox.add(_, {argument}, _) is"
        return found

    def passed_keys(self, parameter, source, at):
        """What callers give as the parameter of the function around the place."""
        around = list(re.finditer(r"\bfunction\s+(?:\w+\.)?(\w+)\(([^)]*)\)", source[:at]))
        names = [name.strip() for name in around[-1][2].split(",")] if around else []
        if parameter not in names:
            return []
        before = rf"\s*(?:{ARGUMENT},\s*)" * names.index(parameter)
        found = []
        for match in self.find(rf'(?<!function )\b{around[-1][1]}\({before}\s*("[^"]*"\s*(?:\.\.)?)'):
            literal = match[match.lastindex]
            found.append((literal.split('"')[1], ".." not in literal))
        return found


def value_of(argument, source):
    """A literal, or the local that it was given to."""
    if argument.startswith('"'):
        return argument.strip('"')
    given = re.search(rf"\blocal\s+{re.escape(argument)}\s*=\s*{NAME}", source)
    return given[1] if given else argument


class Page:
    def __init__(self, path):
        self.path = path
        parts = re.split(r"^## +(.+?) *$", path.read_text(encoding="utf-8"), flags=re.M)
        self.sections = dict(zip(parts[1::2], parts[2::2]))

    def rows(self, section):
        """First cell in backticks -> the other cells, of the section's table."""
        found = {}
        for line in self.sections.get(section, "").splitlines():
            match = re.match(r"\|\s*`([^`]+)`[^|]*\|(.*)", line)
            if match:
                found[match[1]] = match[2]
        return found


def differences(what, coded, told):
    return ([f"{what}: `{name}` is in the code, and not on the page" for name in sorted(coded - told)]
            + [f"{what}: `{name}` is on the page, and not in the code" for name in sorted(told - coded)])


def number(written):
    """The value of a sum or product of numbers, as text; else the text."""
    if re.fullmatch(r"[\d\s.*/+()-]+", written):
        return f"{eval(written, {'__builtins__': {}}):g}"  # digits and operators only
    return written.strip('"')


def check_settings(code, page):
    coded, told = code.settings(), page.rows("Settings")
    broken = differences("Settings", set(coded), set(told))
    for name in set(coded) & set(told):
        default, cell = coded[name], told[name].split("|")[0].strip().strip("`").strip('"')
        if default and re.fullmatch(r'[\w\s.*/+()"@-]+', default) and not default[0].isalpha():
            if number(cell.replace(",", "")) != number(default):
                broken.append(f"Settings: `{name}` is {default} in the code, {cell} on the page")
    return broken


def check_consumes(code, page):
    coded, told = code.consumes(), page.rows("Consumes")
    broken = differences("Consumes", set(coded), set(told))
    for queue in set(coded) & set(told):
        keys = set(re.findall(r"`([^`]+)`", told[queue].split("|")[0]))
        broken += differences(f"Consumes: {queue}", coded[queue], keys)
    return broken


def check_publishes(code, page):
    (whole, begun), told = code.publishes(), set(page.rows("Publishes"))
    broken = differences("Publishes", whole, told)
    for start in begun:
        covered = {key for key in told - whole if key.startswith(start)}
        broken = [line for line in broken if not any(f"`{key}`" in line for key in covered)]
        if not covered:
            broken.append(f"Publishes: keys that begin with `{start}` are not on the page")
    return broken


def check(folder, lib):
    """Everything in which the page and the code of a service differ."""
    if not (folder / "README.md").exists():
        return ["it has no README.md"]
    code, page = Code(folder, lib), Page(folder / "README.md")
    routes = {re.sub(r"^GET (?=/ws\b)", "WS ", row) for row in page.rows("Routes")}
    broken = differences("Routes", code.routes(), routes)
    for section, coded in (("Jobs", code.jobs()), ("Series", code.series()), ("Tables", code.tables())):
        broken += differences(section, coded, set(page.rows(section)))
    broken += check_publishes(code, page) + check_consumes(code, page) + check_settings(code, page)
    return broken


@pytest.mark.parametrize("service", SERVICES, ids=lambda path: path.name)
def test_a_page_lists_what_its_service_has(service):
    report([f"{service}/README.md: {line}" for line in check(ROOT / service, ROOT / "lib")])


# --- the check itself -------------------------------------------------------------------------

SERVICE = '''
local app, conf, metrics = require "app", require "conf", require "metrics"
local kept = require "kept" -- metrics.counter("no_series_total")
local inbox, outbox, leader = require "inbox", require "outbox", require "leader"
local s = app.service "sample"
local queue_name = "sample.things"
local made = metrics.counter("made_total",
  "Made.")
local life_s = conf.option("life_s", 2 * 60)
local word = conf.option("word", "yes")
local function announce(tx, key, row)
  outbox.add(tx, key, row)
end
s:get("/things/:id", function(req)
  announce(req.tx, "thing.seen", {})
  announce(req.tx, "thing." .. req.state, {})
end)
s:post(
  "/things", {}, function() outbox.add(tx, "thing.made", {}) end)
s:ws("/ws", {})
s:every("sweep", 5, function() end)
leader.every(s, "lead", 5, function() end)
outbox.start(s)
s:consume(queue_name, { prefetch = 4, bind = { "a.b", "a.c" } }, function() end)
inbox.consume(s, "sample.more", { event = x, bind = { "d.e" } }, function() end)
return s
'''
LIB = 'local metrics = require "metrics"\nlocal g = metrics.gauge("kept_things", "Kept.")\n'
SCHEMA = "-- migration 1: things\ncreate table things (id uuid);\ncreate table old (id int);\ndrop table old;\n"
PAGE = '''# sample

## Routes

| route | who |
| --- | --- |
| `GET /things/:id` | all |
| `POST /things` | all |
| `WS /ws` | all |

## Publishes

| key | when |
| --- | --- |
| `thing.seen` | x |
| `thing.made` | x |
| `thing.sold` | x |

## Consumes

| queue | keys |
| --- | --- |
| `sample.things` | `a.b`, `a.c` |
| `sample.more` | `d.e` |

## Jobs

| job | what |
| --- | --- |
| `sweep` | x |
| `lead` | x |
| `outbox` | x |

## Series

| series | labels |
| --- | --- |
| `made_total` | |
| `kept_things` | |

## Settings

| setting | default |
| --- | --- |
| `life_s` | 120 |
| `word` | `yes` |

## Tables

| table | what |
| --- | --- |
| `things` | x |
'''


@pytest.fixture
def sample(tmp_path):
    """check() of a small service whose page, source or schema may be changed first."""
    def run(page=PAGE, service=SERVICE, schema=SCHEMA):
        folder, lib = tmp_path / "sample", tmp_path / "lib"
        folder.mkdir(exist_ok=True)
        lib.mkdir(exist_ok=True)
        (folder / "README.md").write_text(page)
        (folder / "service.lua").write_text(service)
        (folder / "schema.sql").write_text(schema)
        (lib / "kept.lua").write_text(LIB)
        return check(folder, lib)
    return run


def test_a_page_that_tells_everything_passes(sample):
    assert sample() == []


@pytest.mark.parametrize("row", [line for line in PAGE.splitlines() if line.startswith("| `")])
def test_every_row_that_is_missing_is_named(sample, row):
    name = re.match(r"\| `([^`]+)`", row)[1]
    broken = sample(page=PAGE.replace(row + "\n", ""))
    assert len(broken) == 1
    assert name in broken[0] or name == "thing.sold" and "`thing.`" in broken[0]


@pytest.mark.parametrize("old, new, told", [
    ("## Jobs\n\n| job | what |\n| --- | --- |\n", "## Jobs\n\n| job | what |\n| --- | --- |\n| `gone` | x |\n",
     "Jobs: `gone` is on the page, and not in the code"),
    ("| `life_s` | 120 |", "| `life_s` | 60 |", "Settings: `life_s` is 2 * 60 in the code, 60 on the page"),
    ("`a.b`, `a.c`", "`a.b`", "Consumes: sample.things: `a.c` is in the code, and not on the page"),
    ("| `things` | x |", "| `things` | x |\n| `old` | x |", "Tables: `old` is on the page, and not in the code"),
])
def test_what_the_page_says_wrongly_is_named(sample, old, new, told):
    assert old in PAGE
    assert sample(page=PAGE.replace(old, new)) == [told]


def test_a_key_that_nobody_can_read_is_an_error(sample):
    with pytest.raises(AssertionError, match="nobody says which key"):
        sample(service=SERVICE + "\noutbox.add(tx, unknown, {})\n")
