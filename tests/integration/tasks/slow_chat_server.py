"""A chat server that never answers, and notices when nobody waits any more."""

from __future__ import annotations

import queue
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class SlowChatServer:
    url: str = ""
    asked: queue.Queue[str] = field(default_factory=queue.Queue)
    """Requests for a reply, as they arrive."""
    abandoned: queue.Queue[str] = field(default_factory=queue.Queue)
    """Those whose sender hung up."""


@contextmanager
def slow_chat_server() -> Iterator[SlowChatServer]:
    seen = SlowChatServer()

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            while data := self.request.recv(65_536):
                if data.startswith(b"GET"):
                    self.request.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
                    continue
                while not data.endswith(b"}"):
                    data += self.request.recv(65_536)
                text = data.decode()
                seen.asked.put(text)
                while self.request.recv(65_536):
                    pass
                seen.abandoned.put(text)

    class Server(socketserver.ThreadingTCPServer):
        allow_reuse_address = True
        daemon_threads = True
        block_on_close = False

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True)
        thread.start()
        seen.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
        try:
            yield seen
        finally:
            server.shutdown()
            thread.join(5)
