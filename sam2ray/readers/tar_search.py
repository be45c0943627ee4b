"""A damaged tar file -> the next place where a header stands, whatever is in between."""

from __future__ import annotations

import re
from collections.abc import Iterator
from heapq import merge
from typing import BinaryIO

from .tar_headers import BLOCK, read_header

_WINDOW_BYTES = 1 << 20
_FEW_BYTES = 16 << 10  # usually enough: zeros are the end of a shard, damages are small
_MAGIC, _MAGIC_AT = b"ustar", 257
# A file whose middle is missing goes on anywhere; the oldest headers have no magic, and are only
# looked for where blocks begin.
_CHECKSUM = re.compile(rb" *[0-7]+[ \0]*\Z")
_CHECKSUM_AT, _CHECKSUM_END = 148, 156


def find_header(file: BinaryIO, start: int, size: int) -> int | None:
    """The first place from `start` on that holds a header with a right checksum; None: nowhere."""
    # The first window is small: there may be thousands of damages, each with a header behind it.
    at, window_bytes = start, _FEW_BYTES
    while at + BLOCK <= size:
        file.seek(at)
        window = file.read(min(window_bytes, size - at))
        for place in merge(_with_magic(window), _where_blocks_begin(window, -at % BLOCK)):
            if read_header(window[place : place + BLOCK]) is not None:
                return at + place
        if len(window) < BLOCK:  # the file has become shorter
            return None
        at += len(window) - BLOCK + 1
        window_bytes = _WINDOW_BYTES
    return None


def first_byte(file: BinaryIO, start: int, size: int) -> int:
    """Where the first byte from `start` on is that is not zero; the size of the file: nowhere."""
    at, window_bytes = start, _FEW_BYTES
    file.seek(at)
    while at < size:
        window = file.read(min(window_bytes, size - at))
        if rest := window.lstrip(b"\0"):
            return at + len(window) - len(rest)
        at, window_bytes = at + len(window), _WINDOW_BYTES
    return size


def _with_magic(window: bytes) -> Iterator[int]:
    found = window.find(_MAGIC)
    while found >= 0:
        if 0 <= found - _MAGIC_AT <= len(window) - BLOCK:
            yield found - _MAGIC_AT
        found = window.find(_MAGIC, found + 1)


def _where_blocks_begin(window: bytes, first: int) -> Iterator[int]:
    for place in range(first, len(window) - BLOCK + 1, BLOCK):
        if _CHECKSUM.match(window[place + _CHECKSUM_AT : place + _CHECKSUM_END]):
            yield place
