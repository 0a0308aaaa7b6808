# SPDX-License-Identifier: MIT
"""Memory of each service of a running lab: private dirty and resident, from smaps_rollup.

usage: memory_bench.py [ORDERS]   places so many orders first (default 200). The lab is the one
of ORRERY_STATE, as for compose/lab.
"""
import pathlib
import re
import subprocess
import sys
import uuid

import requests

CHECKOUT = pathlib.Path(__file__).resolve().parents[2]
SERVICES = ["orders", "inventory", "payments", "users", "notifications", "acquirer"]
ORDER = {"items": [{"sku": "SKU-0001", "quantity": 1}], "currency": "USD", "payment": {"method": "card", "card": {
    "number": "4242424242424242", "exp_month": 12, "exp_year": 2035, "cvc": "123"}}}


def status():
    """NAME -> (process id, port) of what runs."""
    lines = subprocess.run([CHECKOUT / "compose" / "lab", "status"], text=True,
                           stdout=subprocess.PIPE).stdout.splitlines()[1:]
    return {f[0]: (f[2], f[3]) for f in map(str.split, lines) if len(f) == 5 and f[1] == "up"}


def place(processes, count):
    def url(name, path):
        return f"http://127.0.0.1:{processes[name][1]}{path}"

    login = requests.post(url("users", "/api/v1/users/login"), timeout=10,
                          json={"email": "demo@orrery.test", "password": "demo-password"})
    token = login.json()["access_token"]
    with requests.Session() as session:
        for _ in range(count):
            session.post(url("orders", "/api/v1/orders"), json=ORDER, timeout=30, headers={
                "Authorization": "Bearer " + token, "Idempotency-Key": str(uuid.uuid4())}).raise_for_status()


def kilobytes(pid, name):
    text = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(re.search(name + r":\s+(\d+)", text).group(1))


def main():
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    processes = status()
    if not set(SERVICES) <= set(processes):
        print("memory: not measured, no lab is up")
        return
    place(processes, count)
    print(f"{'after ' + str(count) + ' orders':16}{'private dirty':>15}{'resident':>12}")
    for name in SERVICES:
        pid = processes[name][0]
        print(f"{name:16}{kilobytes(pid, 'Private_Dirty') / 1024:12.1f} MB{kilobytes(pid, 'Rss') / 1024:9.1f} MB")


if __name__ == "__main__":
    main()
