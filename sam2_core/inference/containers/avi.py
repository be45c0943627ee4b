"""AVI: chunks of a name and a size; those of a list called movi are packets, an index follows."""

from __future__ import annotations

import re
from array import array
from typing import NamedTuple

import numpy as np

from .broken_bytes import Break, Walk, cut_off

MAGIC = b"RIFF"

_PACKET = re.compile(rb"[0-9]{2}[A-Za-z]{2}|ix[0-9]{2}")
_NAME = re.compile(rb"[ -~]{4}")
_BESIDE = {b"JUNK", b"junk", b"LIST", b"idx1", b"RIFF", b"INFO"}
_WHOLE = 0xFFFFFFFF
_INDEX_ENTRY_BYTES = 16
_MOST_ENTRIES = 1 << 23


class _Chunk(NamedTuple):
    name: bytes
    form: bytes  # of a list
    start: int
    size: int

    @property
    def content(self) -> int:
        return self.start + 8

    @property
    def end(self) -> int:
        return self.content + self.size


class _Packets(NamedTuple):
    """Packets of a list, in the order of the file."""

    names: array[int]
    sizes: array[int]
    starts: array[int]


def find_break(walk: Walk) -> Break | None:
    """The first chunk that is none, is cut off, or is not what the index says."""
    at, number = 0, 0
    while at + 12 <= walk.size:
        riff = _chunk(walk, at)
        if riff.name != MAGIC:  # what follows belongs to nobody
            return None
        announced = riff.end if riff.size not in (0, _WHOLE) else walk.size
        found = _walk_riff(walk, riff, announced)
        if found is not None:
            return found
        at, number = announced + announced % 2, number + 1
    return None


def _walk_riff(walk: Walk, riff: _Chunk, announced: int) -> Break | None:
    at, packets = riff.content + 4, None
    while at + 8 <= min(announced, walk.size):
        chunk = _chunk(walk, at)
        if chunk.name == b"LIST" and chunk.form == b"movi":
            packets = _Packets(array("I"), array("I"), array("q"))
            is_open = chunk.size in (0, _WHOLE)
            found = _walk_packets(walk, chunk, announced if is_open else chunk.end, packets)
            if isinstance(found, Break):
                index = _next_index(walk, found.at, announced)
                return (_first_difference(walk, index, packets) if index else None) or found
            at = found
            continue
        if chunk.name == b"idx1" and packets is not None:
            return _first_difference(walk, chunk, packets)
        if not _NAME.fullmatch(chunk.name):
            return (
                Break(at, f"no chunk of an AVI file begins at byte {at}") if not packets else None
            )
        at = chunk.end + chunk.size % 2
    if packets is None or announced <= walk.size:
        return None
    return Break(walk.size, cut_off(walk.size, announced))


def _walk_packets(walk: Walk, movi: _Chunk, announced: int, packets: _Packets) -> Break | int:
    """Where the list ends, or breaks."""
    at = movi.content + 4
    while at + 8 <= min(announced, walk.size):
        chunk = _chunk(walk, at)
        if not _PACKET.fullmatch(chunk.name) and chunk.name not in _BESIDE and at % 2 == 0:
            unpadded = _chunk(walk, at - 1)  # as some programs write them
            if packets.sizes and packets.sizes[-1] % 2 and _PACKET.fullmatch(unpadded.name):
                chunk = unpadded
        if chunk.name == b"LIST" and chunk.form == b"rec ":
            at = chunk.content + 4
            continue
        is_packet = _PACKET.fullmatch(chunk.name) is not None
        if not is_packet and chunk.name not in _BESIDE:
            torn = packets.starts[-1] if packets.starts else at
            return Break(torn, f"no chunk of an AVI file begins at byte {at}")
        if chunk.name in (b"idx1", b"RIFF"):
            if announced == walk.size:  # a list that does not say how long it is
                return chunk.start
            return Break(at, f"its pictures end at byte {at} of {announced}")
        if chunk.end > walk.size:
            return Break(chunk.start, cut_off(walk.size, max(announced, chunk.end)))
        if chunk.end > announced:
            return Break(chunk.start, f"the chunk at byte {at} goes on behind its list")
        if is_packet:
            packets.names.append(int.from_bytes(chunk.name, "little"))
            packets.sizes.append(chunk.size)
            packets.starts.append(chunk.start)
        at = chunk.end + chunk.size % 2
    if announced > walk.size:
        return Break(walk.size, cut_off(walk.size, announced))
    return announced + announced % 2


def _next_index(walk: Walk, at: int, announced: int) -> _Chunk | None:
    """An index at the place where a list was to end, or at its early end."""
    chunk = _chunk(walk, at) if at + 8 <= min(walk.size, announced) else None
    return chunk if chunk is not None and chunk.name == b"idx1" else None


def _first_difference(walk: Walk, index: _Chunk, packets: _Packets) -> Break | None:
    """The first packet that is not the one of the index, if the two began alike."""
    count = min(index.size // _INDEX_ENTRY_BYTES, _MOST_ENTRIES)
    content = walk.read(index.content, count * _INDEX_ENTRY_BYTES)
    entries = np.frombuffer(content[: len(content) // 16 * 16], "<u4").reshape(-1, 4)
    names, sizes = np.array(packets.names, np.uint32), np.array(packets.sizes, np.uint32)
    is_packet = (names & 0xFFFF) != int.from_bytes(b"ix", "little")
    names, sizes = names[is_packet], sizes[is_packet]
    starts = np.array(packets.starts, np.int64)[is_packet]
    entries = entries[entries[:, 0] != int.from_bytes(b"rec ", "little")]
    both = min(len(entries), len(names))
    same = (entries[:both, 0] == names[:both]) & (entries[:both, 3] == sizes[:both])
    if not both or not same[0]:
        return None
    if not same.all():
        at = int(starts[np.argmin(same)])
        return Break(at, f"the packet at byte {at} is not the one that the index has there")
    if len(entries) > len(names) and len(entries) < _MOST_ENTRIES:
        at = index.start
        return Break(at, f"{len(names)} of {len(entries)} packets are there")
    return None


def _chunk(walk: Walk, at: int) -> _Chunk:
    head = walk.step(at, 12)
    return _Chunk(head[:4], head[8:12], at, int.from_bytes(head[4:8], "little"))
