"""A web server that serves nobody without a signature or a password, and talks too much."""

from __future__ import annotations

import threading
from base64 import b64encode
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

PASSWORD = "HUSH-password/1"


class SignedWeb(ThreadingHTTPServer):
    """Files, for whoever asks with `valid` as X-Amz-Signature, or as me with the password."""

    daemon_threads = True

    def __init__(self, files: Mapping[str, bytes], valid: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files, self.valid = dict(files), valid
        self.statuses: dict[str, int] = {}  # answered instead of the file
        self.locations: dict[str, str] = {}  # where it is sent on to, instead
        self.requests: Counter[str] = Counter()

    @property
    def host(self) -> str:
        """Its host and port."""
        return f"127.0.0.1:{self.server_address[1]}"

    def signed(self, name: str, signature: str, more: str = "") -> str:
        """The address of a file with a signature in it."""
        return (
            f"http://{self.host}/{name}?{more}X-Amz-Credential={signature}%2Fs3&X-Amz-Date="
            f"20260102T030405Z&X-Amz-Expires=60&X-Amz-Signature={signature}"
        )

    def of_user(self, name: str) -> str:
        """The address of a file with a password in it."""
        return f"http://me:{PASSWORD.replace('/', '%2F')}@{self.host}/{name}"


class _Handler(BaseHTTPRequestHandler):
    server: SignedWeb

    def do_GET(self) -> None:
        name = urlsplit(self.path).path.lstrip("/")
        self.server.requests[name] += 1
        status = self.server.statuses.get(name, 200)
        if not self._is_known():
            status = 403
        if status == 200 and name in self.server.locations:
            self.send_response(302)
            self.send_header("Location", self.server.locations[name])
            self.end_headers()
            return
        body = self.server.files.get(name, b"")
        if status != 200:  # what asked for it is said again, as stores do
            again = f"{self.path} {self.headers.get('Authorization')}"
            body = f"<Error><Code>Denied</Code><Message>{again}</Message></Error>".encode()
        self.send_response(status, f"said of {self.path}" if status != 200 else None)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _is_known(self) -> bool:
        query = parse_qs(urlsplit(self.path).query)
        password = f"Basic {b64encode(f'me:{PASSWORD}'.encode()).decode()}"
        is_signed = query.get("X-Amz-Signature") == [self.server.valid]
        return is_signed or self.headers.get("Authorization") == password

    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def signed_web(files: Mapping[str, bytes], valid: str) -> Iterator[SignedWeb]:
    """A server for as long as the block lasts."""
    server = SignedWeb(files, valid)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
