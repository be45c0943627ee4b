"""A proxy in front of a store that answers as bad stores do, when and as often as a test says.

It runs in threads of the test's own process. What happens to a request follows from a seed, from
what is asked and from how often it was asked before, whatever else goes on at the time. What was
done is counted, so that a test can show that there was something to survive.
"""

from __future__ import annotations

import http.client
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import cast
from urllib.parse import urlsplit

_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "expect"}
_PIECES = 8  # of a body that dribbles
_LONGEST_HANG_S = 120.0
_FATES = (
    "slow_down",
    "internal_error",
    "reset",
    "lost_answer",
    "truncated",
    "hang",
    "unanswered",
)


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked."""

    method: str
    path: str  # with its query

    def is_in(self, prefix: str) -> bool:
        """Whether it is about objects under a prefix: bucket/folder."""
        return self.path.startswith(f"/{prefix}")


def every(_: Request) -> bool:
    """All requests."""
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """Shares of requests that go wrong; all of them together are at most 1."""

    slow_down: float = 0.0  # 503 SlowDown
    internal_error: float = 0.0  # 500 InternalError
    reset: float = 0.0  # the connection, before anything was done
    lost_answer: float = 0.0  # it was done, and then the connection was reset
    truncated: float = 0.0  # of answers with a body: half of it comes
    hang: float = 0.0  # no answer, and no end
    unanswered: float = 0.0  # it was done, and then there is no answer and no end
    expired_after: int | None = None  # so many requests; then 403 ExpiredToken
    silent_after: int | None = None  # so many requests; then each hangs
    pause_s: float = 0.0  # between the pieces of every body
    where: Callable[[Request], bool] = every  # other requests are left alone
    ignores_conditions: bool = False  # as some servers do

    def later_fate(self, met: int) -> str:
        """What becomes of a request because of how many came before; "" if nothing does."""
        if self.expired_after is not None and met > self.expired_after:
            return "expired"
        if self.silent_after is not None and met > self.silent_after:
            return "hang"
        return ""

    def fate(self, number: float) -> str:
        """What becomes of a request, by a number from 0 to 1; "" if nothing does."""
        for name in _FATES:
            number -= getattr(self, name)
            if number < 0:
                return name
        return ""


class FaultyStore:
    """What a test holds: faults to be set at any time, and what they did so far."""

    def __init__(self, upstream: str, seed: int) -> None:
        self.upstream = urlsplit(upstream)
        self.url = ""
        self.injected: Counter[str] = Counter()
        self.released = threading.Event()
        self._seed = seed
        self._faults = Faults()
        self._asked: Counter[Request] = Counter()
        self._met = 0
        self._lock = threading.Lock()

    @property
    def met(self) -> int:
        """How many requests the faults of now applied to, whether anything went wrong or not."""
        return self._met

    @property
    def faults(self) -> Faults:
        """What goes wrong from now on."""
        return self._faults

    @faults.setter
    def faults(self, faults: Faults) -> None:
        with self._lock:
            self._faults, self._met = faults, 0

    def fate_of(self, request: Request) -> str:
        """Decide what becomes of a request, and count it."""
        with self._lock:
            faults = self._faults
            self._asked[request] += 1
            if not faults.where(request):
                return ""
            self._met += 1
            fate = faults.later_fate(self._met) or faults.fate(self._number(request))
            if fate:
                self.injected[fate] += 1
            return fate

    def _number(self, request: Request) -> float:
        text = f"{self._seed} {request.method} {request.path} {self._asked[request]}"
        digest = blake2b(text.encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big") / 2**64


@contextmanager
def faulty_store(upstream: str, seed: int = 0) -> Iterator[FaultyStore]:
    """A proxy that is up, and does nothing bad until it is told to."""
    store = FaultyStore(upstream, seed)
    server = _Server(("127.0.0.1", 0), _Handler)
    server.store = store
    store.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield store
    finally:
        store.released.set()
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128
    store: FaultyStore

    def shutdown_request(self, request: object) -> None:
        """Close at once: a polite end would be no reset."""
        self.close_request(cast("socket.socket", request))

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that go away are what this is about."""


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    headers: list[tuple[str, str]]
    body: bytes
    length: str | None  # as it was said, for answers without a body


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def _serve(self) -> None:
        store = self.server.store
        body = self._body()
        fate = store.fate_of(Request(self.command, self.path))
        if fate == "slow_down":
            self._refuse(503, "SlowDown", "Please reduce your request rate.")
        elif fate == "internal_error":
            self._refuse(500, "InternalError", "We encountered an internal error.")
        elif fate == "expired":
            self._refuse(403, "ExpiredToken", "The provided token has expired.")
        elif fate == "reset":
            self._reset()
        elif fate == "hang":
            store.released.wait(_LONGEST_HANG_S)
            self._reset()
        else:
            answer = self._ask_upstream(body)
            if fate == "unanswered":
                store.released.wait(_LONGEST_HANG_S)
            if fate in ("lost_answer", "unanswered"):
                self._reset()
            else:
                self._send(answer, is_cut=fate == "truncated")

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _serve

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            return b"".join(self._chunks())
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _chunks(self) -> Iterator[bytes]:
        while size := int(self.rfile.readline().partition(b";")[0], 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()

    def _ask_upstream(self, body: bytes) -> _Answer:
        store = self.server.store
        there = http.client.HTTPConnection(str(store.upstream.hostname), store.upstream.port)
        left_out = {"if-none-match"} if store.faults.ignores_conditions else set()
        try:
            there.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in _HOP_BY_HOP | left_out:
                    there.putheader(name, value)
            if body or self.command in ("PUT", "POST"):
                there.putheader("Content-Length", str(len(body)))
            there.endheaders(body)
            answer = there.getresponse()
            headers = [(n, v) for n, v in answer.getheaders() if n.lower() not in _HOP_BY_HOP]
            length = answer.getheader("Content-Length")
            return _Answer(answer.status, headers, answer.read(), length)
        finally:
            there.close()

    def _refuse(self, status: int, code: str, message: str) -> None:
        text = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>"
        body = b"" if self.command == "HEAD" else text.encode()
        self._send(_Answer(status, [("Content-Type", "application/xml")], body, None))

    def _send(self, answer: _Answer, *, is_cut: bool = False) -> None:
        self.send_response_only(answer.status)
        for name, value in answer.headers:
            self.send_header(name, value)
        length = answer.length if self.command == "HEAD" else str(len(answer.body))
        if answer.status != 204:
            self.send_header("Content-Length", length or "0")
        self.end_headers()
        if is_cut and answer.body:
            self.wfile.write(answer.body[: len(answer.body) // 2])
            self.close_connection = True
        else:
            self._send_body(answer.body)

    def _send_body(self, body: bytes) -> None:
        pause_s = self.server.store.faults.pause_s
        if not pause_s or not body:
            self.wfile.write(body)
            return
        step = -(-len(body) // _PIECES)
        for start in range(0, len(body), step):
            self.wfile.write(body[start : start + step])
            self.wfile.flush()
            time.sleep(pause_s)

    def _reset(self) -> None:
        linger = struct.pack("ii", 1, 0)  # closed without a farewell
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 as its base has it
        """Nobody reads it."""
