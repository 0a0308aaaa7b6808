# SPDX-License-Identifier: MIT
"""Sizes, names and words that hold in the whole tree."""
import re
from collections import defaultdict

from tree import ROOT, columns, files, lines, report, text, under, without_comments

SOURCES = (".c", ".h", ".def", ".lua", ".py", ".sh", ".sql", ".md", ".build", ".conf", "")

# Longer than the house allows; each says why.
LONG_FUNCTIONS = {
}
LONG_LINES = {
    "core/watch/metrics.def": "a row of the table is a line",
}


def is_text(path):
    return path.suffix in SOURCES


def test_a_c_file_is_at_most_800_lines_and_says_why_above_500():
    broken = []
    for path in under("core", ".c"):
        source = text(path)
        count = source.count("\n")
        head = re.sub(r"[\s*]+", " ", source[:source.find("#include")])
        if count > 800 or count > 500 and not re.search("one (thing|file|piece)", head):
            broken.append(f"{path}: {count} lines")
    report(broken)


def test_a_library_module_is_under_200_lines():
    report([f"{path}: {text(path).count(chr(10))} lines" for path in under("lib", ".lua")
            if text(path).count("\n") >= 200])


def test_a_function_is_under_60_lines():
    broken = []
    for path in under("core", ".c"):
        start = name = None
        for number, line in lines(path):
            if line == "{":
                start, name = number, before
            elif line == "}" and start:
                if number - start >= 60 and str(path) not in LONG_FUNCTIONS:
                    broken.append(f"{path}:{start}: {number - start} lines: {name}")
                start = None
            before = line
    report(broken)


def test_lines_of_code_fit_90_columns():
    report([f"{path}:{number}: {columns(line)} columns"
            for folder, kinds in (("core", (".c", ".h", ".def")), ("lib", (".lua",)),
                                  ("scripts", (".lua",)), ("test", (".c", ".h", ".lua")))
            for path in under(folder, *kinds) if str(path) not in LONG_LINES
            for number, line in lines(path) if columns(line) > 90])


def test_nothing_is_called_util_common_misc_or_helper():
    bad = re.compile(r"(^|[_.-])(utils?|common|misc|helpers?)([_.-]|$)")
    report([path for path in files() if any(bad.search(part) for part in path.parts)])


def test_base_names_are_unique():
    owners = defaultdict(list)
    for path in under("core", ".c", ".h", ".def"):
        owners[path.name].append(str(path))
    report([names for names in owners.values() if len(names) > 1])


def test_c_files_carry_the_licence_line():
    report([path for folder in ("core", "test") for path in under(folder, ".c", ".h", ".def")
            if not text(path).startswith("/* SPDX-License-Identifier: MIT */")])


def test_no_forbidden_c():
    patterns = {
        r"\balloca\s*\(": "alloca",
        r"\btypedef\s+(struct|union|enum)\b": "typedef of a struct",
        r"\b(strcpy|strcat|sprintf|gets|strtok)\s*\(": "an unbounded string function",
    }
    broken = []
    for path in under("core", ".c", ".h"):
        source = without_comments(text(path))
        broken += [f"{path}: {why}" for pattern, why in patterns.items()
                   if re.search(pattern, source)]
    report(broken)


def test_no_unfinished_marks():
    # Put together, so that this file does not hold what it looks for.
    marks = re.compile(r"\b(" + "|".join(("TO" + "DO", "FIX" + "ME", "HA" + "CK")) + r")\b")
    report([f"{path}:{number}: {line.strip()}" for path in files() if is_text(path)
            for number, line in lines(path) if marks.search(line)])


def test_nothing_of_the_place_it_was_written_in():
    """No file names a folder, a host or a person outside the project."""
    words = re.compile("|".join((
        "/" + "work/", "/" + "tmp/design", "/" + "home/", "/" + r"root/(?!orrery)",
        r"\bissue\s*#?\d", r"\bsee\s+#\d", r"\b10\.\d+\.\d+\.\d+\b", r"\b192\.168\.",
        "hou" + r"se\.md", "feasi" + r"bility\.md", "requi" + r"rements\.md",
    )), re.I)
    mail = re.compile(r"[\w.+-]+@([\w-]+\.)+[a-z]{2,}", re.I)
    ours = re.compile(r"@(\w\.\w\w|example\.(com|org|net)|([\w-]+\.)+(test|example|invalid))$", re.I)
    broken = []
    for path in files():
        if not is_text(path):
            continue
        for number, line in lines(path):
            found = [m[0] for m in words.finditer(line)]
            found += [m[0] for m in mail.finditer(line) if not ours.search(m[0])]
            broken += [f"{path}:{number}: {what}" for what in found]
    report(broken)


def test_text_files_end_with_a_newline_and_hold_no_trailing_blanks():
    broken = []
    for path in files():
        if not is_text(path) or not (source := text(path)):
            continue
        if not source.endswith("\n"):
            broken.append(f"{path}: no newline at the end")
        broken += [f"{path}:{number}: trailing blanks" for number, line in lines(path)
                   if line != line.rstrip() and path.suffix != ".md"]
    report(broken)


def test_scripts_are_executable_and_only_they():
    broken = []
    for path in files():
        first = (ROOT / path).read_bytes()[:2]
        if (first == b"#!") != bool((ROOT / path).stat().st_mode & 0o100):
            broken.append(path)
    report(broken)
