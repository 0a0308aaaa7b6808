# SPDX-License-Identifier: MIT
"""WebSockets end with the token that opened them, on every worker and over reloads."""
import contextlib
import re
import time

import pytest
import requests
import websockets

import ws_client
from access_test import secret_of, token
from lab import wait_until

MANY = 12  # so that both of two workers have some


def connect(lab, expires_at):
    mine = token(secret_of(lab), exp=expires_at, role="customer")
    return ws_client.connect(lab.url("notifications", "/ws").replace("http", "ws") + "?access_token=" + mine)


def generation(lab):
    return requests.get(lab.url("notifications", "/ready"), timeout=5).json()["generation"]["number"]


def connected(lab):
    return float(re.search(r"^websocket_connections_current (\S+)$", lab.metrics("notifications"), re.M)[1])


def test_silent_connections_end_at_their_time_on_every_worker_and_over_reloads(any_lab):
    lab, before = any_lab, connected(any_lab)
    loaded, at = generation(lab), int(time.time()) + 10
    with contextlib.ExitStack() as stack:
        silent = [stack.enter_context(connect(lab, at)) for _ in range(MANY)]
        later = stack.enter_context(connect(lab, at + 600))
        assert all('"hello"' in client.recv(10) for client in [*silent, later])
        assert connected(lab) == before + MANY + 1
        lab.command("reload", "notifications")
        wait_until(lambda: generation(lab) > loaded, 10, "the next generation")
        assert time.time() < at - 1, "that took so long that nothing is proven"
        assert {client.socket.close_code for client in silent} == {None}
        for client in silent:
            with pytest.raises(websockets.ConnectionClosed) as closed:
                client.recv(20)
            assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4001, "expired")
            assert at <= time.time() < at + 5
        wait_until(lambda: connected(lab) == before + 1, 10, "that they are gone")
        later.send('{"type":"ping"}')
        assert "pong" in later.recv(10)


def test_who_is_told_to_close_and_talks_on_is_not_listened_to(lab):
    at = int(time.time()) + 2
    with connect(lab, at) as client:
        assert '"hello"' in client.recv(10)
        with pytest.raises(websockets.ConnectionClosed) as closed:
            while True:
                client.send('{"type":"ping"}')
                assert "pong" in client.recv(10)
                assert time.time() < at + 5
        assert closed.value.rcvd.code == 4001
        assert time.time() >= at
