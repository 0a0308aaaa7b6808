# SPDX-License-Identifier: MIT
"""core/ is made of rooms: each includes only rooms before it, and third-party headers
stand only in the .c files that need them."""
import re
from fnmatch import fnmatch

from tree import lines, report, text, under, without_comments

# room: the rooms it may include beside itself
MAY_INCLUDE = {
    "base": "",
    "watch": "base",
    "loop": "base watch",
    "http": "base watch loop",
    "store": "base watch loop",
    "stock": "base watch loop store",
    "script": "base watch loop",
    "gate": "base watch loop http store",
    "api": "base watch loop http store stock script gate",
    "host": "base watch loop http store stock script gate api",
}

# third party: its headers, and the files of core/ that may include them
THIRD_PARTY = {
    "h2o": (r"h2o(\.h|/.*)", "loop/*.c http/*.c gate/*.c"),
    "wslay": (r"wslay/.*", "http/*.c"),
    "OpenSSL": (r"openssl/.*", "loop/*.c http/*.c gate/limit.c"),
    "libpq": (r"libpq-fe\.h|postgresql/.*|libpq/.*", "store/pg_*.c"),
    "hiredis": (r"hiredis/.*", "store/redis_*.c"),
    "rabbitmq-c": (r"amqp\w*\.h|rabbitmq-c/.*", "store/amqp*.c"),
    "LuaJIT": (r"(luajit-2\.1/)?(lua|lauxlib|lualib|luajit)\.h", "script/*.c api/*.c"),
    "lua-cjson": (r"lua_cjson\.h", "api/lua_json.c"),
    "libsodium": (r"sodium\.h", "api/lua_password.c api/lua_crypto.c"),
    "zlib": (r"zlib\.h", "watch/otlp*.c"),
    "threads": (r"pthread\.h|threads\.h", "watch/*.[ch] loop/*.[ch]"),
}

# Broken on purpose; each says why.
ALLOWED = {
}

# What C11 and Linux bring along. Anything else in angle brackets has to be in THIRD_PARTY.
SYSTEM = re.compile(
    r"(arpa|linux|net|netinet|sys)/\w+\.h|"
    r"(assert|ctype|dirent|dlfcn|errno|fcntl|fenv|float|getopt|inttypes|limits|locale|malloc|"
    r"math|netdb|poll|pwd|grp|sched|semaphore|setjmp|signal|spawn|stdalign|stdarg|stdatomic|"
    r"stdbool|stddef|stdint|stdio|stdlib|stdnoreturn|string|strings|syscall|time|ucontext|"
    r"unistd|wchar|glob|fnmatch|ftw|regex|libgen|execinfo|byteswap|endian)\.h")

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')


def includes():
    for path in under("core", ".c", ".h", ".def"):
        for number, line in lines(path):
            match = INCLUDE.match(line)
            if match:
                yield path, number, match[1], match[2]


def allowed(path, header):
    return header in ALLOWED.get(str(path.relative_to("core")), {})


def test_every_source_of_core_is_in_a_room():
    report([path for path in under("core", ".c", ".h", ".def")
            if len(path.parts) != 3 or path.parts[1] not in MAY_INCLUDE])


def test_a_room_includes_only_rooms_before_it():
    broken = []
    for path, number, mark, header in includes():
        room, other = path.parts[1], header.split("/")[0]
        if mark == '"' and other not in (room, *MAY_INCLUDE[room].split()):
            if not allowed(path, header):
                broken.append(f"{path}:{number}: {room} may not include {header}")
    report(broken)


def test_includes_of_our_own_are_written_from_core():
    report([f"{path}:{number}: {header}" for path, number, mark, header in includes()
            if mark == '"' and header.count("/") != 1])


def test_third_party_headers_stand_only_where_the_table_says():
    broken = []
    for path, number, mark, header in includes():
        if mark != "<" or SYSTEM.fullmatch(header) or allowed(path, header):
            continue
        users = [where for pattern, where in THIRD_PARTY.values()
                 if re.fullmatch(pattern, header)]
        inside = str(path.relative_to("core"))
        if not users:
            broken.append(f"{path}:{number}: <{header}> is in no table")
        elif not any(fnmatch(inside, glob) for glob in users[0].split()):
            broken.append(f"{path}:{number}: <{header}> belongs to {users[0]}")
    report(broken)


def test_http_does_not_know_lua_and_script_does_not_know_http():
    broken = []
    for room, word in (("http", r"\blua_\w+|\bluaL_\w+"), ("script", r"\bhttp_\w+\s*\(")):
        for path in under(f"core/{room}", ".c", ".h"):
            found = re.search(word, without_comments(text(path)))
            if found:
                broken.append(f"{path}: {found[0]}")
    report(broken)


def test_the_only_x_macro_tables_are_the_four():
    known = {"core/base/fault.def", "core/base/chaos.def", "core/watch/metrics.def",
             "core/host/conf.def"}
    report([path for path in under("core", ".def") if str(path) not in known])


def test_the_tables_are_sorted():
    broken = []
    for path in under("core", ".def"):
        names = re.findall(r"^[A-Z_]+\((\w+)", text(path), re.M)
        broken += [f"{path}: {later} stands after {earlier}"
                   for earlier, later in zip(names, names[1:]) if earlier >= later]
    report(broken)


def test_every_series_of_the_table_is_recorded_somewhere():
    used = {name for path in under("core", ".c", ".h")
            for name in re.findall(r"\bMETRIC_(\w+)", without_comments(text(path)))}
    table = re.findall(r"^SERIES\((\w+)", text("core/watch/metrics.def"), re.M)
    report([f"core/watch/metrics.def: nobody records {name}" for name in table if name not in used])


def test_lists_of_lua_functions_are_sorted():
    broken = []
    for path in under("core/api", ".c"):
        for table in re.findall(r"luaL_Reg \w+\[\] = \{(.*?)\bNULL\b", text(path), re.S):
            names = re.findall(r'\{\s*"([^"]+)"', table)
            broken += [f"{path}: {later} stands after {earlier}"
                       for earlier, later in zip(names, names[1:]) if earlier >= later]
    report(broken)
