"""Serve an application with waitress in a thread of this process, and end it safely."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

from waitress.server import create_server

__all__ = ["exchange", "serving"]


@contextmanager
def serving(app: Any, threads: int = 2, **options: Any) -> Iterator[tuple[str, int]]:
    """Serve `app` on a free port, yield its address, and then end all threads and connections of the server.

    waitress has no function that ends its loop from another thread. The loop ends once its map of sockets is empty, so
    a function that runs inside the loop empties it; the sockets are closed only after the loop has ended. If the loop
    itself closed the descriptor of its trigger, another thread could write to it after the number was reused.
    """
    watched: dict[int, Any] = {}
    server = create_server(app, map=watched, host="127.0.0.1", port=0, threads=threads, **options)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        yield "127.0.0.1", server.effective_port
    finally:
        # Threads that have just sent a response still notify the loop.
        server.task_dispatcher.shutdown()
        left: list[Any] = []

        def end() -> None:
            left.extend(watched.values())
            watched.clear()

        server.trigger.pull_trigger(end)
        thread.join(60)
        for each in left:
            each.handle_close()
    assert not thread.is_alive()


def exchange(address: tuple[str, int], request: bytes) -> bytes:
    with closing(socket.create_connection(address, timeout=60)) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
    return answer
