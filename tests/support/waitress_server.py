"""An application behind waitress in a thread of this process, and the one safe way to end that."""

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
    """Serve `app` on a free port, yield its address, and end with every thread and connection of it.

    waitress has no call that ends its loop from another thread. The loop ends when it watches nothing any more, and
    is told so inside of it; only then is anything closed. A descriptor that the loop itself closed could be written to
    by the thread that wakes it, after the number has become that of another file.
    """
    watched: dict[int, Any] = {}
    server = create_server(app, map=watched, host="127.0.0.1", port=0, threads=threads, **options)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        yield "127.0.0.1", server.effective_port
    finally:
        # Threads that have just answered still tell the loop so.
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
