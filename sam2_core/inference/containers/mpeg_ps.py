"""MPEG-PS: packs of packets, each of which begins with a code and says its size."""

from __future__ import annotations

from .broken_bytes import Break, Walk, cut_off

MAGIC = b"\0\0\x01\xba"

_PREFIX = b"\0\0\x01"
_PACK, _END = 0xBA, 0xB9
_LEAST_CODE = 0xB9
_VIDEO = range(0xE0, 0xF0)
_HEAD_BYTES = 14
_READ_BYTES = 1 << 16


def find_break(walk: Walk) -> Break | None:
    """Where the last picture begins before the first packet that is none."""
    at = begun = 0
    while at < walk.size:
        head = walk.step(at, _HEAD_BYTES)
        if len(head) < 4 or head[:3] != _PREFIX or head[3] < _LEAST_CODE:
            padded = _behind_zeros(walk, at)
            if padded is None:
                return None
            if padded > at and walk.read(padded, 3) == _PREFIX:
                at = padded
                continue
            return Break(begun, f"no packet of an MPEG-PS file begins at byte {at}")
        end = at + _length(head)
        if end > walk.size:
            return Break(begun, cut_off(walk.size, end))
        if head[3] in _VIDEO and _says_a_time(head):
            begun = at
        at = end
    return None


def _behind_zeros(walk: Walk, at: int) -> int | None:
    """Where a code may begin behind zeros that fill a gap; None if they go on to the end."""
    place = at
    while place < walk.size:
        content = walk.step(place, _READ_BYTES)
        others = content.lstrip(b"\0")
        if others:
            return max(at, place + len(content) - len(others) - 2)
        place += len(content)
    return None


def _length(head: bytes) -> int:
    code = head[3]
    if code == _PACK:
        is_mpeg_2 = len(head) > 4 and head[4] & 0xC0 == 0x40
        return 14 + (head[13] & 7) if is_mpeg_2 and len(head) > 13 else 14 if is_mpeg_2 else 12
    return 4 if code == _END else 6 + int.from_bytes(head[4:6], "big")


def _says_a_time(head: bytes) -> bool:
    """Whether a packet says when the picture is shown that begins in it."""
    if head[6] & 0xC0 == 0x80:  # MPEG-2
        return head[7] & 0x80 != 0
    stuffing = head[6:].lstrip(b"\xff")
    return bool(stuffing) and (stuffing[0] & 0xF0 in (0x20, 0x30) or stuffing[0] & 0xC0 == 0x40)
