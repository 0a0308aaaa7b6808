# SPDX-License-Identifier: MIT
"""The files of the checkout, as the house checks see them."""
import os
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NOT_OURS = {".git", "build", "__pycache__", ".pytest_cache", ".cache", "corpus"}


def files():
    """Every file of the tree, as a path relative to its top, sorted."""
    found = []
    for folder, folders, names in os.walk(ROOT):
        folders[:] = sorted(name for name in folders if name not in NOT_OURS)
        found += [(Path(folder) / name).relative_to(ROOT) for name in names]
    return sorted(found)


def under(folder, *suffixes):
    return [path for path in files()
            if path.is_relative_to(folder) and path.suffix in suffixes]


def text(path):
    return (ROOT / path).read_text(encoding="utf-8")


def lines(path):
    """(number, line) pairs, from 1."""
    return enumerate(text(path).splitlines(), 1)


def columns(line):
    return len(line.expandtabs(8))


def without_comments(source):
    """C source with comments blanked, line numbers kept; strings stay."""
    pattern = re.compile(r'"(?:\\.|[^"\\\n])*"|/\*.*?\*/|//[^\n]*', re.S)
    return pattern.sub(
        lambda m: m[0] if m[0][0] == '"' else re.sub(r"[^\n]", " ", m[0]), source)


def report(broken):
    """Fails with one line per broken place."""
    assert not broken, "\n" + "\n".join(str(place) for place in broken)
