"""GIF: a palette, then blocks of which each picture has one, then a byte that ends them."""

from __future__ import annotations

from .broken_bytes import Break, Walk

MAGIC = b"GIF8"

_IMAGE, _EXTENSION, _END = 0x2C, 0x21, 0x3B
_HEAD_BYTES = 13
_READ_BYTES = 1 << 16


def find_break(walk: Walk) -> Break | None:
    """The first block that is none, or that goes on behind the end of the file."""
    at = _HEAD_BYTES + _palette_bytes(walk.read(10, 1))
    while at < walk.size:
        head = walk.step(at, 10)
        if head[0] == _END:
            return None
        if head[0] not in (_IMAGE, _EXTENSION):
            return Break(at, f"no block of a GIF begins at byte {at}")
        first = at + (11 + _palette_bytes(head[9:10]) if head[0] == _IMAGE else 2)
        end = _behind_pieces(walk, first)
        if end is None:
            return Break(at, f"the file is cut off after {walk.size} bytes, within a picture")
        at = end
    return None


def _behind_pieces(walk: Walk, at: int) -> int | None:
    """Where pieces end, each of which says how many bytes follow; None: behind the file's end."""
    while at < walk.size:
        content = walk.step(at, _READ_BYTES)
        place = 0
        while place < len(content):
            if not content[place]:
                return at + place + 1
            place += 1 + content[place]
        at += place
    return None


def _palette_bytes(flags: bytes) -> int:
    return 6 << (flags[0] & 7) if flags and flags[0] & 0x80 else 0
