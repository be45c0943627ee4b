"""MPEG-TS: packets of one size, each with the number of its stream and a count from 0 to 15."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .broken_bytes import Break, Walk

_SYNC = 0x47
_LAYOUTS = ((0, 188), (4, 192))  # Blu-ray puts a time before each packet
_PACKETS_A_READ = 5000
_PROGRAMS = 0  # the stream that says which streams there are


class _Layout(NamedTuple):
    lead: int
    packet_bytes: int


class _Streams(NamedTuple):
    """Heads of some packets in order."""

    heads: np.ndarray  # [packets, 188] from the sync byte on
    ids: np.ndarray


def layout_of(head: bytes) -> _Layout | None:
    """How packets lie, if a file that begins so is one."""
    for lead, packet_bytes in _LAYOUTS:
        syncs = head[lead::packet_bytes]
        if len(syncs) > 2 and set(syncs) == {_SYNC}:
            return _Layout(lead, packet_bytes)
    return None


def find_break(walk: Walk, layout: _Layout, video: int) -> Break | None:
    """Where the picture begins in which a packet of the video is missing, damaged, or torn."""
    at, begun = 0, 0  # begun: where the last picture begins
    before: np.ndarray | None = None  # the last packet of the video
    while at + layout.packet_bytes <= walk.size:
        content = walk.step(at, layout.packet_bytes * _PACKETS_A_READ)
        packets = _packets(content, layout)
        whole = _leading(packets.heads[:, 0] == _SYNC)
        rows = np.flatnonzero(packets.ids[:whole] == video)
        wrong = _first_wrong(packets, rows, before)
        starts = rows[:wrong][(packets.heads[rows[:wrong], 1] & 0x40) != 0]
        if len(starts):
            begun = at + int(starts[-1]) * layout.packet_bytes
        if wrong < len(rows):
            place = at + int(rows[wrong]) * layout.packet_bytes
            return Break(begun, f"packets are missing or damaged before byte {place}")
        if whole < len(packets.heads):
            place = at + whole * layout.packet_bytes
            return Break(begun, f"no packet of an MPEG-TS file begins at byte {place}")
        if len(rows):
            before = packets.heads[rows[-1]].copy()
        at += whole * layout.packet_bytes
    if at < walk.size:
        return Break(begun, f"the file is cut off within a packet, after {walk.size} bytes")
    return None


def _packets(content: bytes, layout: _Layout) -> _Streams:
    count = len(content) // layout.packet_bytes
    rows = np.frombuffer(content, np.uint8, count * layout.packet_bytes)
    heads = rows.reshape(count, -1)[:, layout.lead :]
    return _Streams(heads, (heads[:, 1] & 0x1F).astype(np.uint16) << 8 | heads[:, 2])


def _leading(is_good: np.ndarray) -> int:
    """How many are good before the first that is not."""
    return len(is_good) if is_good.all() else int(np.argmin(is_good))


def _first_wrong(packets: _Streams, rows: np.ndarray, before: np.ndarray | None) -> int:
    """The place among `rows` of the first packet that does not follow the one before it."""
    heads = packets.heads[rows]
    if not len(heads):
        return 0
    previous = np.concatenate([heads[:1] if before is None else before[None], heads[:-1]])
    control = heads[:, 3]
    step = (control - previous[:, 3]) & 0x0F
    is_announced = (control & 0x20 != 0) & (heads[:, 4] > 0) & (heads[:, 5] & 0x80 != 0)
    follows = np.where(control & 0x10, step == 1, step == 0) | is_announced
    if before is None:
        follows[0] = True
    follows &= heads[:, 1] & 0x80 == 0  # else its sender knew it for damaged
    for place in np.flatnonzero(~follows).tolist():
        is_repeated = np.array_equal(heads[place], previous[place])
        start = int(rows[place - 1]) if place else 0
        if not is_repeated and not _begins_anew(packets, start, int(rows[place])):
            return place
    return len(rows)


def _begins_anew(packets: _Streams, after: int, row: int) -> bool:
    """Whether another recording was put behind the first: all its counts start together."""
    programs = np.flatnonzero(packets.ids[after:row] == _PROGRAMS)
    if not len(programs):
        return False
    first = packets.heads[after + int(programs[0])]
    head = packets.heads[row]
    return not (first[3] & 0x0F or head[3] & 0x0F or head[1] & 0x80 or not head[1] & 0x40)
