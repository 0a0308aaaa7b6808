# SPDX-License-Identifier: MIT
"""The lab itself: twice up is once up, down leaves nothing, a taken port is said."""
import pathlib
import socket
import tempfile
import time

from lab import SPAN_OF_PORTS, Lab, free_port_base, port_is_free


def processes_of(state):
    """Ids of processes that name the state folder on their command line or run in it."""
    found = []
    for entry in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            command = (entry / "cmdline").read_bytes()
            folder = (entry / "cwd").resolve()
        except OSError:
            continue
        if str(state).encode() in command or folder.is_relative_to(state):
            found.append((entry.name, command))
    return found


def test_a_second_up_is_quick_and_changes_nothing(lab):
    before = lab.pids()
    began = time.monotonic()
    lab.up()
    assert time.monotonic() - began < 15
    assert lab.pids() == before


def test_down_leaves_no_process_and_no_port(lab):
    lab.down()
    try:
        assert processes_of(lab.state) == []
        assert [p for p in range(lab.base, lab.base + SPAN_OF_PORTS) if not port_is_free(p)] == []
    finally:
        lab.up()
    assert lab.order().status_code == 201, "what was there is there again"


def test_a_taken_port_is_a_clear_error(lab):
    with tempfile.TemporaryDirectory(dir="/var/tmp") as state, socket.socket() as taken:
        other = Lab(state, lab.collector)
        other.base = free_port_base()
        taken.bind(("127.0.0.1", other.base + 3))
        taken.listen()
        done = other.command("up", check=False)
        other.command("down", check=False)
    assert done.returncode != 0
    assert str(other.base + 3) in done.stdout and "ORRERY_PORT_BASE" in done.stdout


def test_restart_is_another_process(lab):
    pid = lab.pids()["acquirer"]
    lab.command("restart", "acquirer")
    assert lab.pids()["acquirer"] != pid
    assert lab.order().status_code == 201


def test_reload_loads_the_scripts_and_says_so(lab):
    pid = lab.pids()["acquirer"]
    done = lab.command("reload", "acquirer")
    assert f"process {pid}: generation" in done.stdout
    assert lab.pids()["acquirer"] == pid
    assert lab.order().status_code == 201
