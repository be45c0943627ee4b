"""A unit -> its bytes, wherever they lie: a file, a range of a shard, a row, an address on the web.

One attempt, without retries: what may be repeated, and how often, is the caller's to know.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from threading import Lock

from ..addresses import take_apart
from ..errors import UnitFailed
from ..records import SAID, ErrorClass, Failure, Unit
from ..storage import Entry, Options, open_store
from ..web import Told, read_web
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
    if unit.fault is not None:  # of this very version: reading it again would find nothing else
        failure = Failure.of_text(unit.fault)
        raise UnitFailed(failure.error_class, failure.message)
    if unit.member is None and is_web(unit.source_uri):
        return _read_web(unit, options, limit_bytes)
    _refuse_secret(unit)
    with store_errors(unit.source_uri):
        if unit.member is None:
            return _read_file(unit, options, limit_bytes)
        entry = _SHARDS.get(unit.source_uri, options)
        refuse_change(unit, entry.version)
        if unit.length is not None:
            return _read_member(unit, entry, options, limit_bytes)
        content = _TABLES.read(unit.source_uri, entry, row_place(unit.member), options)
    _refuse_size(len(content), limit_bytes)
    return content


def frames_of(unit: Unit, options: Options) -> list[Entry]:
    """The frames of a clip in order; their names are those of the store at unit.source_uri."""
    _refuse_secret(unit)
    with store_errors(unit.source_uri):
        frames = frames_in_order(look(unit.source_uri, "", options).files, unit.pattern or "*")
    if not frames:
        fitting = f" that fit {unit.pattern}" if unit.pattern else ""
        raise FileNotFoundError(f"{unit.source_uri}: no pictures{fitting} in this folder.")
    refuse_change(unit, version_of_frames(frames))
    return frames


def _read_file(unit: Unit, options: Options, limit_bytes: int | None) -> bytes:
    entry = entry_at(unit.source_uri, options)
    refuse_change(unit, entry.version)
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
    def judge(told: Told) -> None:
        refuse_change(unit, told.version_like(unit.version))
        _refuse_size(told.size or 0, limit_bytes)

    content = read_web(unit.address, options, limit_bytes, judge)
    _refuse_size(len(content), limit_bytes)
    return content


def _refuse_secret(unit: Unit) -> None:
    """Of the web alone an address can say by itself who asks."""
    if unit.whole_uri is not None:
        secret = take_apart(unit.whole_uri).secret
        raise UnitFailed(
            ErrorClass.FORBIDDEN,
            f"its address carries a secret ({secret}), which this kind of storage has no use for. "
            "Name the object alone, give the credentials in the environment or in storage, and run "
            "the same command again",
        )


def refuse_change(unit: Unit, version: str) -> None:
    """UnitFailed if the unit was listed with other content."""
    if unit.version and not unit.version.startswith(SAID) and unit.version != version:
        raise UnitFailed(
            ErrorClass.IO,
            f"it changed since it was indexed ({unit.version} then, {version} now): run "
            "again; what is gone from its source stays as it ended here",
        )


def _refuse_size(size: int, limit_bytes: int | None) -> None:
    if limit_bytes is not None and size > limit_bytes:
        raise UnitFailed(ErrorClass.TOO_LARGE, f"{size} bytes, and {limit_bytes} is the most")
