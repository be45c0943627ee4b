"""An address on the web -> its bytes, a range of them, or what a server says of them; one attempt.

Servers are not trusted: not in how much they send, how fast, or where they send one next. What is
said of an error never has the address in it, which may be signed.
"""

from __future__ import annotations

import re
import time
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from http.client import HTTPException, HTTPResponse, InvalidURL
from typing import IO, Any, cast
from urllib.error import HTTPError
from urllib.parse import quote, urlsplit
from urllib.request import (
    HTTPDefaultErrorHandler,
    HTTPErrorProcessor,
    HTTPHandler,
    HTTPRedirectHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
    UnknownHandler,
)

from .addresses import Address, ends_at, take_apart, user_of, without_user
from .errors import BadAddress
from .file_systems import Options, version_of, web_timeout_s
from .web_origins import ORDINARY_PORTS, headers_for, origin

_PIECE_BYTES = 1 << 16
_LEAST_BYTES = 1 << 14  # in the time for which a server may be silent: less is silence, too
_OF_AN_ERROR_BYTES = 4096
_MAY_STAND = "%/:=&?~#+!$,;'@()*[]|"  # in an address; whatever else is there is quoted
_CODE = re.compile(rb"<Code>([A-Za-z]{3,60})</Code>")  # of a store's answer; the rest may quote us
_DATED = re.compile(r"(\d+)-(|.* .*)")  # a size and a date as a version: tags have no spaces
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")
_REFUSED = (401, 403)
_GONE = (404, 410)
_BUSY = (429, 503)
_FIRM_AFTER_S = 60  # as HTTP itself has it (RFC 9110, 8.8.2.2)


class WebError(OSError):
    """A server's answer that is not the file."""

    def __init__(self, text: str, status: int = 0, retry_after_s: float | None = None) -> None:
        super().__init__(text)
        self.status = status
        self.retry_after_s = retry_after_s


class WebForbidden(WebError, PermissionError):
    """A server that wants other credentials."""


class WebNotFound(WebError, FileNotFoundError):
    """A server that has no such file."""


@dataclass(frozen=True, slots=True)
class WebFacts:
    """What a server says of a file."""

    size: int
    etag: str = ""
    changed: str = ""  # when, in the server's words

    @property
    def version(self) -> str:
        """Another one means other content."""
        return version_of({"ETag": self.etag, "LastModified": self.changed, "size": self.size})


@dataclass(frozen=True, slots=True)
class Told:
    """What an answer says of the file that it brings, as far as it does."""

    size: int | None
    etag: str
    changed: str

    def version_like(self, version: str) -> str:
        """An earlier version, unless this answer is of another one.

        Some servers tag what they send and not what they are asked about: a tag is compared with a
        tag, and a size and a date with these.
        """
        dated = _DATED.fullmatch(version)
        if dated is None or self.etag == version:
            return self.etag or version
        size, changed = dated.groups()
        if self.size is not None and size != "0":  # asked without sending it, some measure nothing
            size = str(self.size)
        return f"{size}-{self.changed or changed if changed else ''}"


Judge = Callable[[Told], None]
"""Sees what is said of a file before any of it is read; raises to refuse it."""


def read_web(
    uri: str, options: Options, limit_bytes: int | None = None, judge: Judge = lambda _: None
) -> bytes:
    """A whole file, or one byte more than the limit of it."""
    most = None if limit_bytes is None else limit_bytes + 1
    with _answer(uri, options) as answer:
        if answer.status != 200:
            raise WebError(f"HTTP {answer.status}: this is not the whole file", answer.status)
        judge(Told(_length_of(answer), _etag_of(answer), _firm_date_of(answer)))
        content = _body(answer, most, web_timeout_s(options))
        if answer.length and len(content) != most:  # http.client takes a part for no error
            raise WebError(f"cut off: {answer.length} bytes of it did not come")
    return content


def read_web_range(
    uri: str, options: Options, start: int, length: int, known: WebFacts | None = None
) -> bytes:
    """Part of a file, which must still be the `known` one; shorter where the file ends."""
    if not length:
        return b""
    wanted = {"Range": f"bytes={start}-{start + length - 1}"}
    try:
        with _answer(uri, options, headers=wanted) as answer:
            due = _length_of_part(answer, start, length)
            if known is not None and _is_another(answer, known):
                raise WebError("it changed while it was read")
            content = _body(answer, due, web_timeout_s(options))
    except WebError as error:
        if error.status == 416:  # it starts behind the end
            return b""
        raise
    if len(content) != due:
        raise WebError(f"cut off: {len(content)} of {due} bytes came")
    return content


def look_at_web(uri: str, options: Options) -> WebFacts:
    """Size and version of a file that is to be read by ranges."""
    with suppress(WebForbidden, WebError), _answer(uri, options, method="HEAD") as answer:
        if answer.status == 200 and (facts := _facts_of(answer, _length_of(answer))) is not None:
            return facts
    # Some servers answer GET alone; signatures are for one method.
    with _answer(uri, options, headers={"Range": "bytes=0-0"}) as answer:
        part = _CONTENT_RANGE.fullmatch(answer.headers.get("Content-Range", ""))
        total = part[3] if part and answer.status == 206 else ""
        size = int(total) if total.isdecimal() else None
        facts = _facts_of(answer, _length_of(answer) if answer.status == 200 else size)
    if facts is None:
        raise BadAddress(
            f"{take_apart(uri).public}: the server does not say how large it is, so that it cannot "
            "be read in parts. Copy it to a disk or a bucket, and name that."
        )
    return facts


def _facts_of(answer: HTTPResponse, size: int | None) -> WebFacts | None:
    if size is None or answer.headers.get("Content-Encoding", "identity") != "identity":
        return None
    return WebFacts(size, _etag_of(answer), _date_of(answer))


def _is_another(answer: HTTPResponse, known: WebFacts) -> bool:
    """Whether an answer is of another content, by what both say: HEAD and GET may say different."""
    now = _facts_of(answer, known.size)
    if now is None:
        return True
    total = answer.headers.get("Content-Range", "").rpartition("/")[2]
    told = [(now.etag, known.etag), (now.changed, known.changed), (total, str(known.size))]
    return any(a and b and "*" not in (a, b) and a != b for a, b in told)


def _etag_of(answer: HTTPResponse) -> str:
    return (answer.headers.get("ETag") or "").strip('"')


def _date_of(answer: HTTPResponse) -> str:
    return answer.headers.get("Last-Modified") or ""


def _firm_date_of(answer: HTTPResponse) -> str:
    """The date if it tells versions apart: some servers say of all they make that it is new."""
    changed = _date_of(answer)
    with suppress(ValueError, TypeError):
        now = parsedate_to_datetime(answer.headers.get("Date") or "")
        is_firm = (now - parsedate_to_datetime(changed)).total_seconds() >= _FIRM_AFTER_S
        return changed if is_firm else ""
    return changed


def _length_of(answer: HTTPResponse) -> int | None:
    said = answer.headers.get("Content-Length", "")
    return int(said) if said.isdecimal() else None


def _length_of_part(answer: HTTPResponse, start: int, length: int) -> int:
    """How many bytes are to come of a range; BadAddress if the server knows no ranges."""
    part = _CONTENT_RANGE.fullmatch(answer.headers.get("Content-Range", ""))
    if answer.status == 206 and part is not None:
        first, last = int(part[1]), int(part[2])
        if first != start or last < first:
            raise WebError(f"bytes from {first} to {last} came, and not from {start}", 206)
        return min(length, last - first + 1)
    whole = _length_of(answer)
    if answer.status == 200 and start == 0 and whole is not None and whole <= length:
        return whole
    raise BadAddress(
        "The server sends no parts of files, and shards and tables are read in parts. Copy it to a "
        "disk or a bucket, and name that."
    )


def _body(answer: HTTPResponse, most: int | None, timeout_s: float) -> bytes:
    """So many bytes, or all; a server that sends next to nothing is silent."""
    content = bytearray()
    since, had = time.monotonic(), 0
    while most is None or len(content) < most:
        piece = answer.read1(
            _PIECE_BYTES if most is None else min(_PIECE_BYTES, most - len(content))
        )
        if not piece:
            break
        content += piece
        if time.monotonic() - since >= timeout_s:
            if len(content) - had < _LEAST_BYTES:
                raise WebError(f"too slow: {len(content) - had} bytes came in {timeout_s:g} s")
            since, had = time.monotonic(), len(content)
    return bytes(content)


# ---------------------------------------------------------------- asking


@contextmanager
def _answer(
    uri: str, options: Options, *, method: str = "GET", headers: Mapping[str, str] | None = None
) -> Iterator[HTTPResponse]:
    """A server's answer; what goes wrong, also while it is read, is an OSError in clean words."""
    address = take_apart(uri)
    try:
        request = _Request(uri, method, headers or {}, headers_for(uri, options))
        with _OPENER.open(request, timeout=web_timeout_s(options)) as answer:
            yield cast("HTTPResponse", answer)
    except HTTPError as error:
        with error:
            raise _refusal(address, error) from None
    except BadAddress:
        raise
    except (InvalidURL, ValueError):
        raise WebError("this, or where it leads, is no address") from None
    except HTTPException as error:
        said = address.hide(str(error)) or "the answer is broken"
        raise WebError(f"{type(error).__name__}: {said}") from None


class _Request(Request):
    """What a server is asked; what is private is told to its own host alone."""

    def __init__(
        self, uri: str, method: str, headers: Mapping[str, str], private: Mapping[str, str]
    ) -> None:
        try:
            super().__init__(
                quote(without_user(uri), safe=_MAY_STAND),
                headers={"User-Agent": "sam2ray", **headers},
                method=method,
            )
        except ValueError:
            raise WebError("this is no address") from None
        self.private = dict(private)
        if (user := user_of(uri)) is not None:
            self.private["Authorization"] = f"Basic {b64encode(user.encode()).decode()}"
        for name, value in self.private.items():
            self.add_unredirected_header(name, value)


class _Redirects(HTTPRedirectHandler):
    """Follows to other servers of the web, and takes what is private along to none of them."""

    def redirect_request(
        self,
        req: Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: Any,  # noqa: ANN401 urllib's own type is HTTPMessage, and its stub's another
        newurl: str,
    ) -> Request | None:
        assert isinstance(req, _Request)
        following = super().redirect_request(req, fp, code, msg, headers, newurl)
        if following is None or urlsplit(newurl).scheme not in ORDINARY_PORTS:
            return None  # ftp: what urllib would follow as well
        private = req.private if origin(newurl) == origin(req.full_url) else {}
        return _Request(newurl, req.get_method(), following.headers, private)


def _opener() -> OpenerDirector:
    """The web alone: urllib's usual one would also open files and ftp."""
    opener = OpenerDirector()
    for handler in (
        ProxyHandler,
        UnknownHandler,
        HTTPHandler,
        HTTPSHandler,
        HTTPDefaultErrorHandler,
        _Redirects,
        HTTPErrorProcessor,
    ):
        opener.add_handler(handler())
    return opener


_OPENER = _opener()


# ---------------------------------------------------------------- refusals


def _refusal(address: Address, error: HTTPError) -> WebError:
    """What an answer other than the file means, and what to do."""
    status, code = error.code, _code_of_store(error)
    said = f"HTTP {status}" + (f" ({code})" if code else "")
    has_ended = _has_ended(address, code)
    if status in _REFUSED or (status == 400 and has_ended):
        # Google's store says 400 of a signature that has ended.
        return WebForbidden(f"{said}: {_way_out(address, has_ended)}", 403)
    if status in _GONE:
        hint = "" if address.secret else "; some stores say so where a signature is missing"
        return WebNotFound(f"{said}: there is no such file (any more){hint}", status)
    if status in _BUSY:
        return WebError(f"{said}: the server is busy", status, _retry_after_s(error))
    if 300 <= status < 400:
        return WebError(f"{said}: it leads in circles, or to what is not on the web", status)
    return WebError(said, status, _retry_after_s(error))


def _way_out(address: Address, has_ended: bool) -> str:
    if address.secret is None:
        return (
            "forbidden, and its address came without a signature. List it with one that is valid, "
            "or say in storage.http.client_kwargs.headers what the server wants, and in "
            "storage.http.hosts how it is called; then run the same "
            "command again"
        )
    when = ends_at(address.whole)
    ended = f" (it ended at {when:%Y-%m-%d %H:%M:%S} UTC)" if has_ended and when else ""
    what = "has expired" if has_ended else "is not accepted, or no longer"
    return (
        f"forbidden: the signature or password of its address {what}{ended}. List it with a new "
        "one, and run the same command again"
    )


def _has_ended(address: Address, code: str) -> bool:
    if address.secret is None:
        return False
    end = ends_at(address.whole)
    return code == "ExpiredToken" or (end is not None and end <= datetime.now(timezone.utc))


def _code_of_store(error: HTTPError) -> str:
    """The word of a store for what is wrong; never its sentence, which may quote the signature."""
    with suppress(OSError, HTTPException, ValueError, AttributeError):
        found = _CODE.search(cast("HTTPResponse", error.fp).read1(_OF_AN_ERROR_BYTES))
        return found[1].decode() if found else ""
    return ""


def _retry_after_s(error: HTTPError) -> float | None:
    """How long a server asks to be left alone; seconds, or a date."""
    said = error.headers.get("Retry-After", "").strip()
    if said.isdecimal():
        return float(said)
    with suppress(ValueError, TypeError):
        when = parsedate_to_datetime(said)
        zoned = when if when.tzinfo else when.replace(tzinfo=timezone.utc)
        return max(0.0, (zoned - datetime.now(timezone.utc)).total_seconds())
    return None
