"""Ogg: pages of a stream and a number, each with a table of the sizes of its content."""

from __future__ import annotations

import zlib

from .broken_bytes import Break, Walk, cut_off

MAGIC = b"OggS"

_HEAD_BYTES = 27
_SUM = slice(22, 26)
_MIRRORED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def find_break(walk: Walk) -> Break | None:
    """Where the last page begins before one that is missing or is none.

    What begins on a page may go on upon the next.
    """
    at, numbers, begun = 0, {}, {}
    while at < walk.size:
        head = walk.step(at, _HEAD_BYTES + 255)
        if head[:4] != MAGIC or len(head) < _HEAD_BYTES:
            return Break(min(begun.values(), default=0), f"no page begins at byte {at}")
        stream, number = head[14:18], int.from_bytes(head[18:22], "little")
        table = head[_HEAD_BYTES : _HEAD_BYTES + head[26]]
        end = at + _HEAD_BYTES + head[26] + sum(table)
        if end > walk.size:
            return Break(begun.get(stream, at), cut_off(walk.size, end))
        if _checksum(walk.read(at, end - at)) != head[_SUM]:
            return Break(begun.get(stream, at), f"the page at byte {at} is damaged")
        if stream in numbers and number != numbers[stream] + 1:
            return Break(begun[stream], f"pages are missing before byte {at}")
        numbers[stream], begun[stream] = number, at
        at = end
    return None


def _checksum(page: bytes) -> bytes:
    """The sum of a page without its own: that of zip files with all bits mirrored, from zero on."""
    blank = page[: _SUM.start] + bytes(4) + page[_SUM.stop :]
    mirrored = zlib.crc32(blank.translate(_MIRRORED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return mirrored.to_bytes(4, "big").translate(_MIRRORED)
