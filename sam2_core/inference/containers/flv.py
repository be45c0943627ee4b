"""FLV: tags of a kind and a size, each followed by its size once more."""

from __future__ import annotations

from .broken_bytes import Break, Walk, cut_off

MAGIC = b"FLV\x01"

_KINDS = {8, 9, 18}  # sound, pictures, words
_HEAD_BYTES, _TAG_BYTES = 9, 11
_ONLY_KIND = 0x1F


def find_break(walk: Walk) -> Break | None:
    """The first tag that is none, or does not end where it says."""
    head = walk.step(0, _HEAD_BYTES)
    at = int.from_bytes(head[5:9], "big") + 4
    is_first = True
    while at < walk.size:
        tag = walk.step(at, _TAG_BYTES)
        size = int.from_bytes(tag[1:4], "big")
        end = at + _TAG_BYTES + size
        if len(tag) < _TAG_BYTES or (tag[0] & _ONLY_KIND in _KINDS and end + 4 > walk.size):
            return Break(at, cut_off(walk.size, max(end, at + _TAG_BYTES) + 4))
        again = int.from_bytes(walk.read(end, 4), "big")
        if tag[0] & _ONLY_KIND not in _KINDS or again != _TAG_BYTES + size:
            if is_first:  # a writer that never cared
                return None
            return Break(at, f"no tag of an FLV file begins at byte {at}, or it does not end")
        at, is_first = end + 4, False
    return None
