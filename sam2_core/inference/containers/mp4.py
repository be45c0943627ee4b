"""MP4 and QuickTime: boxes of a size and a name; in fragments, each moof says what its mdat holds.

Where one index at the start or the end says where pictures lie, boxes between do not matter.
"""

from __future__ import annotations

import re
import struct

from .broken_bytes import Break, Walk

_AT_TOP = {
    *(b"ftyp", b"styp", b"moov", b"moof", b"mdat", b"sidx", b"ssix", b"mfra", b"free", b"skip"),
    *(b"wide", b"pnot", b"uuid", b"emsg", b"prft", b"meta", b"udta", b"pdin", b"imda", b"PICT"),
}
_NAME = re.compile(rb"[ -~]{4}")  # of boxes that programs invent
_HOLD_BOXES = {b"moof", b"traf"}
_MOST_OF_MOOF = 16 << 20
_SCAN_BYTES = 1 << 20
_STEADY = 2  # numbers that follow each other, before a missing one says something
_RUN_FIELDS = (0x100, 0x200, 0x400, 0x800)  # of each sample: how long, how large, flags, when


def find_break(walk: Walk) -> Break | None:
    """The first box of a file in fragments that is none, or whose parts do not fit."""
    at, numbers, steady = 0, None, 0
    while at + 8 <= walk.size:
        head = walk.step(at, 16)
        length, name = int.from_bytes(head[:4], "big"), head[4:8]
        if length == 1:
            length = int.from_bytes(head[8:], "big")
        if length == 0 and name in _AT_TOP:  # up to the end
            return None
        is_known = name in _AT_TOP or (_NAME.fullmatch(name) and at + length <= walk.size)
        if length < 8 or not is_known:
            return _garbage(walk, at) if numbers is not None else None
        if name == b"moof" and at + length <= walk.size and length <= _MOST_OF_MOOF:
            moof = walk.read(at, length)
            if not _fits(moof, 8, len(moof)):
                return Break(at, f"the parts of the fragment at byte {at} do not fit")
            number = _number(moof)
            follows = number is not None and numbers is not None and number == numbers + 1
            if not follows and steady >= _STEADY:
                return Break(at, f"fragments are missing before byte {at}")
            steady = steady + 1 if follows else 0
            numbers = number if number is not None else 0
        at += length
    return None


def _garbage(walk: Walk, at: int) -> Break | None:
    """A break, unless zeros fill up the file."""
    place = at
    while place < walk.size:
        content = walk.step(place, _SCAN_BYTES)
        if content.strip(b"\0"):
            return Break(at, f"no box of an MP4 file begins at byte {at}")
        place += len(content)
    return None


def _fits(moof: bytes, at: int, end: int) -> bool:
    """Whether boxes fill the one that they are in, and runs of samples have their size."""
    while at < end:
        if at + 8 > end:
            return False
        length, name = struct.unpack_from(">I4s", moof, at)
        if length < 8 or at + length > end:
            return False
        if name in _HOLD_BOXES and not _fits(moof, at + 8, at + length):
            return False
        if name == b"trun" and not _is_a_run(moof, at, length):
            return False
        at += length
    return True


def _is_a_run(moof: bytes, at: int, length: int) -> bool:
    if length < 16:
        return False
    flags, count = struct.unpack_from(">II", moof, at + 8)
    each = 4 * sum(flags & field != 0 for field in _RUN_FIELDS)
    return 16 + 4 * (flags & 1) + (flags & 4) + each * count == length


def _number(moof: bytes) -> int | None:
    """The place of a fragment among the others, counted from one."""
    if moof[12:16] != b"mfhd" or len(moof) < 24:
        return None
    return int.from_bytes(moof[20:24], "big")
