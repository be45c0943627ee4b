"""A web server that answers, byte for byte, what a test tells it to."""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Answer = Callable[[str, socket.socket], None]
"""Sees a request's head, and writes what it likes."""


class RudeWeb(socketserver.ThreadingTCPServer):
    """One answer for all requests; keeps their heads."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, answer: Answer) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answer = answer
        self.heads: list[str] = []

    @property
    def host(self) -> str:
        """Its host and port."""
        return f"127.0.0.1:{self.server_address[1]}"

    @property
    def url(self) -> str:
        """A file on it."""
        return f"http://{self.host}/a.jpg"


class _Handler(socketserver.BaseRequestHandler):
    server: RudeWeb

    def handle(self) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            piece = self.request.recv(4096)
            if not piece:
                return
            head += piece
        self.server.heads.append(head.decode())
        try:
            self.server.answer(head.decode(), self.request)
        except (BrokenPipeError, ConnectionResetError):  # nobody listens any more
            return


def saying(head: str, body: bytes = b"") -> Answer:
    """An answer that is always the same; its head is a line of status and lines of headers."""
    lines = "\r\n".join([f"HTTP/1.1 {head.splitlines()[0]}", *head.splitlines()[1:], "", ""])
    return lambda _request, connection: connection.sendall(lines.encode() + body)


@contextmanager
def rude_web(answer: Answer) -> Iterator[RudeWeb]:
    """A server for as long as the block lasts."""
    with RudeWeb(answer) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
