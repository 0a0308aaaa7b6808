# SPDX-License-Identifier: MIT
"""lib/native/*.lua, which editors complete from, says what core/api/lua_*.c does.

In C: the comment `/* db.query(sql, ...) -> {rows ...} | nil, why */` above a binding, and
the luaL_Reg arrays that name it. In a stub: `function db.query(sql, ...) end` below its
`---@param` and `---@return` lines.
"""
import re
from collections import namedtuple

from tree import report, text, under

Function = namedtuple("Function", "params optional results")

# Who owns an object that is not named like a module.
OBJECTS = {"tx": "db", "counter": "metrics", "gauge": "metrics", "histogram": "metrics",
           "summary": "metrics", "conn": "ws"}
BINDING = re.compile(r"/\*((?:[^*]|\*(?!/))*)\*/\s*static int (l_\w+)\(lua_State \*L\)\s*\{")
SIGNATURE = re.compile(r"(\w+)([.:])(\w+)(\(.*?\)|\{.*?\})\s*->(.*)", re.S)


def words(comment):
    """One line, without the stars at its left."""
    return " ".join(re.sub(r"^\s*\*", "", line).strip() for line in comment.splitlines()).strip()


def parameters(written):
    """(names, optional names) of '(key, [labels], label values...)'; None stands for a name
    that the comment does not give."""
    if written.startswith("{"):
        return [None], set()
    names, optional = [], set()
    flat = re.sub(r"\{.*?\}", "table", written[1:-1])
    for part in filter(None, (part.strip() for part in flat.split(","))):
        name = part.strip("[]").strip()
        if name.endswith("..."):
            names.append("...")
            continue
        known = re.match(r"[a-z_]+\b", name)
        names.append(known[0] if known and name != "table" and len(name.split()) == 1
                     or known and " or " in name else None)
        if part.startswith("[") or name.endswith("|nil"):
            names[-1] = names[-1].removesuffix("|nil") if names[-1] else None
            optional.add(len(names) - 1)
    return names, optional


def results(written):
    """The least number of results that a stub must tell of."""
    value = written.split(": ")[0].split(";")[0].strip().rstrip(":").strip()
    if not value:
        return 0
    return 2 if re.search(r"nil, \w+", value) else 1


def bindings():
    """({'db.query' or 'tx:query': Function} of what is registered, places that are wrong)."""
    found, broken = {}, []
    for path in under("core/api", ".c"):
        if not re.match(r"lua_|socket_object", path.name):
            continue
        source, commented = text(path), {}
        for comment, function in BINDING.findall(source):
            match = SIGNATURE.match(words(comment))
            if match:
                commented[function] = match.groups()
        for name, function in re.findall(r'\{ "(\w+)", (l_\w+) \}', source):
            owner, dot, told, params, rest = commented.get(function, (None,) * 5)
            if told != name:
                broken.append(f"{path}: {function} is registered as '{name}', and the comment"
                              f" above it says '{told}'")
            else:
                names, optional = parameters(params)
                found[owner + dot + name] = Function(names, optional, results(rest))
    return found, broken


def other_members():
    """'db.null': what a module gets beside its luaL_Reg arrays; a function's parameters
    where they can be known, else None."""
    found = {}
    for path in under("core/api", ".c"):
        source = text(path)
        for module, body in re.findall(r"\nvoid api_open_(\w+)\(.*?\)\n\{(.*?)\n\}", source, re.S):
            for name in re.findall(r'lua_setfield\(L, -\d, "([a-z]\w*)"\)', body):
                inside = re.search(rf"local function {name}\((.*?)\)", source)
                found[f"{module}.{name}"] = inside and [p.strip() for p in inside[1].split(",")]
    return found


def stubs():
    """(functions, fields, modules) of lib/native/*.lua."""
    functions, fields, modules = {}, set(), set()
    for path in under("lib/native", ".lua"):
        modules.add(path.stem)
        about = []
        for line in text(path).splitlines():
            function = re.fullmatch(r"function (\w+[.:]\w+)\((.*)\) end", line)
            field = re.fullmatch(r"(\w+\.\w+) = nil", line)
            if function:
                params = [p.strip() for p in function[2].split(",") if p.strip()]
                told = [m.groups() for m in (re.match(r"---@param ([\w.]+)(\??) \S", a)
                                             for a in about) if m]
                assert [name for name, _ in told] == params, f"{path}: {line}: told of {told}"
                functions[function[1]] = Function(
                    params, {i for i, (_, mark) in enumerate(told) if mark},
                    sum(a.startswith("---@return ") for a in about))
            elif field:
                fields.add(field[1])
            about = about + [line] if line.startswith("---") else []
    return functions, fields, modules


def differences(name, real, stub):
    if len(real.params) != len(stub.params):
        yield f"{name}: C takes {real.params}, the stub {stub.params}"
        return
    for i, (known, told) in enumerate(zip(real.params, stub.params)):
        if known is not None and known != told:
            yield f"{name}: C calls parameter {i + 1} {known}, the stub {told}"
    if real.optional != stub.optional:
        yield f"{name}: optional are {real.optional} in C, {stub.optional} in the stub"
    if (stub.results == 0) != (real.results == 0) or stub.results < real.results:
        yield f"{name}: {stub.results} @return for {real.results} results"


def test_every_native_module_has_a_stub_and_every_stub_a_module():
    modules = set(re.findall(r'"native\.(\w+)"', text("core/api/api.c")))
    _, _, told = stubs()
    assert told == modules


def test_a_stub_is_named_like_its_file_and_returns_its_module():
    report([path for path in under("lib/native", ".lua")
            if not text(path).startswith(f"---@meta native.{path.stem}\n")
            or not text(path).endswith(f"\nreturn {path.stem}\n")])


def test_the_functions_of_a_stub_are_those_that_c_registers():
    real, broken = bindings()
    told, fields, _ = stubs()
    others = other_members()
    broken += [f"{name}: in C, and in no stub" for name in sorted(real) if name not in told]
    broken += [f"{name}: in C, and in no stub" for name in sorted(others)
               if name not in told and name not in fields]
    broken += [f"{name}: in a stub, and not in C" for name in sorted({*told, *fields})
               if name not in real and name not in others]
    report(broken)


def test_parameters_and_results_are_those_above_the_binding():
    real, _ = bindings()
    told, _, _ = stubs()
    broken = [line for name in sorted(real) if name in told
              for line in differences(name, real[name], told[name])]
    broken += [f"{name}: C takes {params}, the stub {told[name].params}"
               for name, params in other_members().items()
               if params and name in told and told[name].params != params]
    report(broken)


def test_objects_are_in_the_stub_of_their_module():
    report([f"{path}: {name}" for path in under("lib/native", ".lua")
            for name in re.findall(r"^function (\w+):", text(path), re.M)
            if OBJECTS.get(name) != path.stem])
