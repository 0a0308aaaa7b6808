# SPDX-License-Identifier: MIT
"""The websockets library for tests that are not asynchronous."""
import asyncio
import contextlib
import threading

import websockets


@contextlib.contextmanager
def connect(url):
    """An open connection with recv(timeout) and send(text)."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    def run(work, timeout=20):
        return asyncio.run_coroutine_threadsafe(work, loop).result(timeout)

    class Connection:
        def __init__(self, socket):
            self.socket = socket

        def recv(self, timeout):
            return run(asyncio.wait_for(self.socket.recv(), timeout), timeout + 5)

        def send(self, text):
            run(self.socket.send(text))

    async def begin():
        return await websockets.connect(url)

    try:
        socket = run(begin())
        try:
            yield Connection(socket)
        finally:
            run(socket.close())
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
