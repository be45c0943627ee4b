"""A unit -> its bytes, wherever they lie: a file, a range of a shard, a row, an address on the web.

One attempt, without retries: what may be repeated, and how often, is the caller's to know.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from http.client import HTTPException
from threading import Lock
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from ..errors import UnitFailed
from ..file_systems import web_headers, web_timeout_s
from ..records import ErrorClass, Unit
from ..storage import Entry, Options, open_store
from .frames import frames_in_order, version_of_frames
from .listing import entry_at, look
from .parquet_rows import row_place
from .places import is_web, place_of
from .row_bytes import OpenTables
from .store_file import read_at, store_errors

_FACTS_LAST_S = 30.0  # of a shard, whose members come one after another
_SHARDS_KNOWN = 256


class _ShardFacts:
    """Sizes and versions of shards, asked for again after a while."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, tuple[float, Entry]] = OrderedDict()
        self._lock = Lock()

    def get(self, uri: str, options: Options) -> Entry:
        """What the store said of a shard not long ago."""
        with self._lock:
            since, entry = self._known.get(uri, (0.0, None))
        if entry is None or time.monotonic() - since > _FACTS_LAST_S:
            entry = entry_at(uri, options)
            with self._lock:
                self._known[uri] = (time.monotonic(), entry)
                if len(self._known) > _SHARDS_KNOWN:
                    self._known.popitem(last=False)
        return entry


_SHARDS = _ShardFacts()
_TABLES = OpenTables()


def read_unit(unit: Unit, options: Options, limit_bytes: int | None = None) -> bytes:
    """All bytes of a picture or video; OSError if they cannot be had now.

    UnitFailed if the unit is to blame: changed since it was indexed, cut off, or too large.
    """
    assert unit.kind != "frames", "frames are read one by one: see frames_of"
    if unit.member is None and is_web(unit.source_uri):
        return _read_web(unit, options, limit_bytes)
    with store_errors(unit.source_uri):
        if unit.member is None:
            return _read_file(unit, options, limit_bytes)
        entry = _SHARDS.get(unit.source_uri, options)
        _refuse_change(unit, entry.version)
        if unit.length is not None:
            return _read_member(unit, entry, options, limit_bytes)
        content = _TABLES.read(unit.source_uri, entry, row_place(unit.member), options)
    _refuse_size(len(content), limit_bytes)
    return content


def frames_of(unit: Unit, options: Options) -> list[Entry]:
    """The frames of a clip in order; their names are those of the store at unit.source_uri."""
    with store_errors(unit.source_uri):
        frames = frames_in_order(look(unit.source_uri, "", options).files)
    if not frames:
        raise FileNotFoundError(f"{unit.source_uri}: no pictures in this folder.")
    _refuse_change(unit, version_of_frames(frames))
    return frames


def _read_file(unit: Unit, options: Options, limit_bytes: int | None) -> bytes:
    entry = entry_at(unit.source_uri, options)
    _refuse_change(unit, entry.version)
    _refuse_size(entry.size, limit_bytes)
    content = read_at(unit.source_uri, options)
    if len(content) != entry.size:
        raise OSError(f"{unit.source_uri}: {len(content)} of {entry.size} bytes came.")
    return content


def _read_member(unit: Unit, entry: Entry, options: Options, limit_bytes: int | None) -> bytes:
    offset, length = unit.offset or 0, unit.length or 0
    _refuse_size(length, limit_bytes)
    if offset + length > entry.size:
        raise UnitFailed(
            ErrorClass.TRUNCATED,
            f"the shard ends {offset + length - entry.size} bytes before this member does",
        )
    place = place_of(unit.source_uri)
    content = open_store(place.folder, options).read_range(place.name, offset, length)
    if len(content) != length:
        raise OSError(f"{unit.source_uri}: {len(content)} of {length} bytes of {unit.member} came.")
    return content


def _read_web(unit: Unit, options: Options, limit_bytes: int | None) -> bytes:
    try:
        request = Request(unit.source_uri, headers={"User-Agent": "sam2ray"})  # noqa: S310 http(s)
        for name, value in web_headers(options).items():
            request.add_unredirected_header(name, value)  # they may be secret, and of this host
        with urlopen(request, timeout=web_timeout_s(options)) as answer:  # noqa: S310 http(s)
            etag = (answer.headers.get("ETag") or "").strip('"')
            if etag:
                _refuse_change(unit, etag)
            length = answer.headers.get("Content-Length", "")
            if length.isdecimal():
                _refuse_size(int(length), limit_bytes)
            content = answer.read(-1 if limit_bytes is None else limit_bytes + 1)
            if answer.length:  # what is still missing: a part of it is no error to http.client
                _refuse_size(len(content), limit_bytes)
                raise OSError(f"{unit.source_uri}: {answer.length} bytes of it did not come.")
    except HTTPError as error:
        error.close()
        if error.code in _STATUS_ERRORS:
            raise _STATUS_ERRORS[error.code](f"{unit.source_uri}: HTTP {error.code}") from error
        raise OSError(f"{unit.source_uri}: HTTP {error.code} {error.reason}") from error
    except (HTTPException, ValueError) as error:  # a broken answer, or an address that is none
        raise OSError(f"{unit.source_uri}: {error or type(error).__name__}") from error
    _refuse_size(len(content), limit_bytes)
    return content


_STATUS_ERRORS: dict[int, type[OSError]] = {
    401: PermissionError,
    403: PermissionError,
    404: FileNotFoundError,
    410: FileNotFoundError,
}


def _refuse_change(unit: Unit, version: str) -> None:
    if unit.version and unit.version != version:
        raise UnitFailed(
            ErrorClass.IO,
            f"it changed since it was indexed ({unit.version} then, {version} now): run again",
        )


def _refuse_size(size: int, limit_bytes: int | None) -> None:
    if limit_bytes is not None and size > limit_bytes:
        raise UnitFailed(ErrorClass.TOO_LARGE, f"{size} bytes, and {limit_bytes} is the most")
