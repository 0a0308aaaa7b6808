# SPDX-License-Identifier: MIT
import os
import pathlib
import shutil
import sys
import tempfile

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))

import witness  # noqa: E402
from collector import Collector  # noqa: E402
from lab import Lab  # noqa: E402


@pytest.fixture(scope="session")
def collector():
    receiver = Collector()
    yield receiver
    receiver.close()


@pytest.fixture(scope="session")
def started_lab(collector):
    state = tempfile.mkdtemp(prefix="orrery-lab-", dir="/var/tmp")
    os.chmod(state, 0o755)
    lab = Lab(state, collector.url)
    try:
        lab.up()
        yield lab
        witness.write(lab, collector)
    finally:
        lab.command("down", check=False)
        shutil.rmtree(state, ignore_errors=True)


@pytest.fixture(scope="session")
def books_lab(collector):
    """Another lab, of which only the auditor of the books and the crash campaign know."""
    state = tempfile.mkdtemp(prefix="orrery-books-", dir="/var/tmp")
    os.chmod(state, 0o755)
    lab = Lab(state, collector.url)
    try:
        lab.up()
        yield lab
    finally:
        lab.command("down", check=False)
        shutil.rmtree(state, ignore_errors=True)


@pytest.fixture
def lab(started_lab):
    """The lab with one worker per service, everything ready."""
    return with_workers(started_lab, 1)


@pytest.fixture(params=[1, 2], ids=["workers=1", "workers=2"])
def any_lab(request, started_lab):
    return with_workers(started_lab, request.param)


def with_workers(lab, count):
    if getattr(lab, "workers", 1) != count or not all(
            lab.ready(name) for name in ("gateway_admin", "orders", "inventory", "payments", "users", "notifications")):
        lab.up(ORRERY_WORKERS=str(count))
        lab.workers = count
    return lab
