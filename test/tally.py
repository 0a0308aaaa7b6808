# SPDX-License-Identifier: MIT
"""Counts what a part of the suite did: `tally.py meson LOG.json` or `tally.py junit FILE.xml`.

Prints `passed failed`, then one line per failure. A unit test program counts by the claims it
holds; one that ends without saying so (a crash, a sanitizer's word, a timeout) is one failure.
"""
import json
import re
import sys
import xml.etree.ElementTree as xml


def meson(path):
    passed, broken = 0, []
    with open(path, encoding="utf-8") as log:
        programs = [json.loads(line) for line in log if line.strip()]
    for program in programs:
        output = program.get("stdout", "") + program.get("stderr", "")
        well = sum(int(n) for n in re.findall(r"\[  PASSED  \] (\d+) test", output))
        if program["result"] in ("OK", "EXPECTEDFAIL"):
            passed += max(well, 1)
            continue
        if program["result"] == "SKIP":
            continue
        passed += well
        claims = sorted(set(re.findall(r"\[  FAILED  \] ([^\d\s]\S*)", output)))
        broken += [f"{program['name']}: {claim}" for claim in claims or [program["result"]]]
    return passed, broken


def junit(path):
    passed, broken = 0, []
    for case in xml.parse(path).getroot().iter("testcase"):
        if case.find("failure") is not None or case.find("error") is not None:
            broken.append(f"{case.get('classname', '')}: {case.get('name', '').replace('_', ' ')}")
        elif case.find("skipped") is None:
            passed += 1
    return passed, broken


def main():
    count = {"meson": meson, "junit": junit}[sys.argv[1]]
    try:
        passed, broken = count(sys.argv[2])
    except (OSError, ValueError, xml.ParseError) as error:
        passed, broken = 0, [f"no result to count: {error}"]
    print(passed, len(broken))
    print("\n".join(broken))


main()
