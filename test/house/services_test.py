# SPDX-License-Identifier: MIT
"""A service owns its tables, and each folder explains itself."""
import re
from pathlib import Path

from tree import ROOT, files, lines, report, text, under

SERVICES = sorted(path.parent for path in under("scripts", ".lua") if path.name == "service.lua")
LAB_SERVICES = [path for path in SERVICES if len(path.parts) == 3]

TABLE_MADE = re.compile(r"create\s+table\s+(?:if\s+not\s+exists\s+)?(\w+)", re.I)
TABLE_USED = re.compile(r"\b(?:from|join|into|update|table|references)\s+(?:only\s+)?([a-z_]+)\b",
                        re.I)


def tables_of(service):
    schema = ROOT / service / "schema.sql"
    return set(TABLE_MADE.findall(schema.read_text())) if schema.exists() else set()


def sql_of(path):
    """The text that may hold SQL: a schema, or the string literals of a script."""
    source = text(path)
    if path.suffix == ".sql":
        return re.sub(r"--[^\n]*", "", source)
    source = re.sub(r"--\[\[.*?\]\]|--[^\n]*", "", source, flags=re.S)
    return "\n".join(m[0] for m in re.finditer(
        r'\[\[.*?\]\]|"(?:\\.|[^"\\\n])*"', source, re.S) if re.search(
        r"\b(select|insert|update|delete|create|alter|grant)\b", m[0], re.I))


def test_there_are_services():
    assert LAB_SERVICES


def test_no_service_names_the_tables_of_another():
    broken = []
    for service in LAB_SERVICES:
        own = tables_of(service)
        foreign = {table: other.name for other in LAB_SERVICES if other != service
                   for table in tables_of(other) - own}
        schemas = {other.name for other in LAB_SERVICES if other != service}
        for path in under(service, ".lua", ".sql"):
            sql = sql_of(path)
            broken += [f"{path}: {table} belongs to {foreign[table]}"
                       for table in TABLE_USED.findall(sql) if table in foreign]
            broken += [f"{path}: names the schema {name}"
                       for name in schemas if re.search(rf"\b{name}\.[a-z_]+\b", sql)]
    report(broken)


def test_statements_are_literals_with_numbered_parameters():
    """A statement put together with .. could carry what a caller wrote; a list of columns may not."""
    glued = re.compile(r'[.:](?:query|one|all|exec)\s*\(\s*(?:"[^"]*"|\[\[.*?\]\])\s*'
                       r"\.\.(?!\s*columns\b)", re.S)
    report([path for path in under("scripts", ".lua") if glued.search(text(path))])


def test_migration_sections_are_numbered_without_gaps():
    broken = []
    for service in LAB_SERVICES:
        schema = service / "schema.sql"
        if (ROOT / schema).exists():
            numbers = [int(n) for n in re.findall(r"^-- migration (\d+):", text(schema), re.M)]
            if not numbers or numbers != list(range(1, len(numbers) + 1)):
                broken.append(f"{schema}: {numbers}")
    report(broken)


def test_every_service_folder_has_a_page():
    report([service for service in LAB_SERVICES if not (ROOT / service / "README.md").exists()])


def test_every_library_module_has_a_test():
    report([path for path in under("lib", ".lua")
            if path.parent.name != "native" and not (ROOT / "test/lua" / f"{path.stem}_test.lua").exists()])


def test_library_modules_are_annotated():
    broken = []
    for path in under("lib", ".lua"):
        before = ""
        for number, line in lines(path):
            match = re.match(r"function (\w+)[.:](\w+)\(([^)]*)\)", line)
            if match and match[3].strip() and not before.startswith("---"):
                broken.append(f"{path}:{number}: {match[1]}.{match[2]} has no annotation")
            before = line
    report(broken)


def test_every_service_of_the_lab_is_in_its_settings():
    conf = text(Path("conf/oms.lua"))
    report([service.name for service in LAB_SERVICES
            if service.parts[1] == "oms" and not re.search(rf"^    {service.name} = ", conf, re.M)])


def test_every_service_of_the_lab_with_tables_has_a_database_role():
    roles = text(Path("conf/postgres/roles.sql"))
    report([service.name for service in LAB_SERVICES
            if service.parts[1] == "oms" and tables_of(service)
            and f"oms_{service.name}" not in roles])


def test_the_broker_of_the_lab_outwaits_what_the_host_keeps():
    """Else it closes the channel, and every message there has one attempt less."""
    def number(path, pattern):
        return int(re.search(pattern, text(Path(path)), re.M)[1])

    waits = number("conf/rabbitmq.conf", r"^consumer_timeout = (\d+)$")
    kept = number("core/store/amqp.h", r"^#define AMQP_AGAIN_MS (\d+)")
    handled = number("core/api/consumer.h", r"^#define CONSUMER_TIMEOUT_MS (\d+)")
    assert waits >= kept + 2 * handled


def test_what_tables_of_a_readme_name_exists():
    """Paths in the first column of a README's tables, seen from its folder or the top."""
    broken = []
    for path in files():
        if path.name != "README.md":
            continue
        for number, line in lines(path):
            match = re.match(r"\|\s*`([\w.*-]+(?:/[\w.*-]*)+)`", line)
            if not match:
                continue
            if not any(list(base.glob(match[1].rstrip("/"))) for base in
                       (ROOT, (ROOT / path).parent)):
                broken.append(f"{path}:{number}: {match[1]} does not exist")
    report(broken)


def test_the_readme_is_under_200_lines():
    readme = ROOT / "README.md"
    assert readme.exists()
    assert readme.read_text().count("\n") < 200
