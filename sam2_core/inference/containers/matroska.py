"""Matroska and WebM: elements of a name, a size and a content, of which some hold others.

A segment holds clusters, and clusters hold blocks, which are packets. Sizes may be unknown: then an
element ends where one begins that cannot be in it.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from .broken_bytes import Break, Walk, cut_off

MAGIC = b"\x1a\x45\xdf\xa3"

_SEGMENT, _CLUSTER, _CUES = 0x18538067, 0x1F43B675, 0x1C53BB6B
_EVERYWHERE = {0xEC, 0xBF}  # nothing, and a checksum
_IN_SEGMENT = {
    *(_CLUSTER, _CUES, 0x114D9B74, 0x1549A966, 0x1654AE6B),  # seek head, info, tracks
    *(0x1941A469, 0x1043A770, 0x1254C367, 0x1B538667),  # attachments, chapters, tags, signature
} | _EVERYWHERE
_IN_CLUSTER = {
    *(0xE7, 0xA3, 0xA0, 0xA7, 0xAB, 0xAF, 0x5854),  # time, blocks, position, size of the last one
} | _EVERYWHERE
_CLUSTER_TIME = 0xE7
_CUE_POINT, _CUE_TIME, _CUE_PLACES, _CUE_CLUSTER = 0xBB, 0xB3, 0xB7, 0xF1
_HEAD_BYTES = 12  # of a name and a size
_MOST_CUES = 1 << 20
_MOST = (1 << 63) - 1
_BEFORE_TIME = {*_EVERYWHERE, 0x5854}


class _Element(NamedTuple):
    name: int
    start: int  # of its head
    content: int
    end: int | None  # None: unknown


@dataclass(slots=True, eq=False)
class _Contents:
    """Clusters as they are found, and as the table of contents has them; places in the segment."""

    places: array[int] = field(default_factory=lambda: array("q"))
    cue_places: array[int] = field(default_factory=lambda: array("q"))
    cue_times: array[int] = field(default_factory=lambda: array("q"))


class _Walked(NamedTuple):
    """A cluster from end to end."""

    broken: Break | None
    last: int  # where its last element begins
    end: int


def find_break(walk: Walk) -> Break | None:
    """The first element that is none, or goes on behind what it is in."""
    header = _element(walk, 0)
    segment = _element(walk, header.end) if header is not None and header.end else None
    if segment is None or segment.name != _SEGMENT:
        return None
    contents = _Contents()
    found = _walk_segment(walk, segment, contents)
    return found or _missing_cluster(walk, segment, contents)


def _walk_segment(walk: Walk, segment: _Element, contents: _Contents) -> Break | None:
    announced = walk.size if segment.end is None else segment.end
    at, end, before = segment.content, min(announced, walk.size), segment.content
    while at < end:
        element = _element(walk, at)
        if element is None or element.name not in _IN_SEGMENT:
            return Break(before, f"no part of a Matroska file begins at byte {at}")
        if element.name == _CUES and element.end is not None:
            _read_cues(walk, element, contents)
        if element.name != _CLUSTER:
            if element.end is None or element.end > announced:
                return _overrun(walk, element, announced, is_live=segment.end is None)
            before, at = at, element.end
            continue
        contents.places.append(element.start - segment.content)
        found = _walk_cluster(walk, element, announced, is_live=segment.end is None)
        if found.broken is not None:
            return found.broken
        before, at = found.last, found.end
    return None


def _walk_cluster(walk: Walk, cluster: _Element, announced: int, *, is_live: bool) -> _Walked:
    end = announced if cluster.end is None else min(cluster.end, announced)
    at = before = cluster.content  # before: the element that led here, which may be torn
    while at < min(end, walk.size):
        element = _element(walk, at)
        if element is None or element.name not in _IN_CLUSTER:
            if element is not None and cluster.end is None and element.name in _IN_SEGMENT:
                return _Walked(None, before, at)
            found = Break(before, f"no block of a Matroska file begins at byte {at}")
            return _Walked(found, before, at)
        if element.end is None or element.end > end:
            if element.end is not None and element.end > walk.size and end >= walk.size:
                return _Walked(_overrun(walk, element, announced, is_live=is_live), at, walk.size)
            found = Break(before, f"the block at byte {at} goes on behind its cluster")
            return _Walked(found, before, at)
        before, at = at, element.end
    if cluster.end is not None and cluster.end > announced:
        found = _overrun(walk, cluster, announced, is_live=is_live)
        return _Walked(found, before, walk.size)
    return _Walked(None, before, at)


def _overrun(walk: Walk, element: _Element, announced: int, *, is_live: bool) -> Break | None:
    """An element that goes on behind the end of the file, or of the segment."""
    if element.end is not None and element.end > walk.size and announced >= walk.size:
        # Of a segment that says its size, the file's own end says as much, and more exactly.
        return Break(element.start, cut_off(walk.size, element.end)) if is_live else None
    return Break(element.start, f"the part at byte {element.start} goes on behind the last one")


def _missing_cluster(walk: Walk, segment: _Element, contents: _Contents) -> Break | None:
    """The first cluster that the table of contents has at a place where it is not."""
    there = set(contents.places)
    if there.issuperset(contents.cue_places) or there.isdisjoint(contents.cue_places):
        return None  # nothing is missing, or the table never was right
    trusted = -1
    for place, time in sorted(zip(contents.cue_places, contents.cue_times, strict=True)):
        if place not in there or _time_of(walk, segment.content + place) > time:
            at = next((one for one in contents.places if one > trusted), None)
            if at is None:
                return None
            missing = segment.content + place
            return Break(segment.content + at, f"a cluster is missing before byte {missing}")
        trusted = place
    return None


def _time_of(walk: Walk, cluster: int) -> int:
    """When a cluster begins, by its first elements."""
    parent = _element(walk, cluster)
    assert parent is not None
    at = parent.content
    while (child := _element(walk, at)) is not None and child.name in _BEFORE_TIME and child.end:
        at = child.end
    return _number(walk, child) if child is not None and child.name == _CLUSTER_TIME else 0


def _read_cues(walk: Walk, cues: _Element, contents: _Contents) -> None:
    for point in _children(walk, cues):
        if len(contents.cue_places) > _MOST_CUES:
            return
        time = 0
        for child in _children(walk, point):
            if child.name == _CUE_TIME:
                time = _number(walk, child)
            elif child.name == _CUE_PLACES:
                for one in _children(walk, child):
                    if one.name == _CUE_CLUSTER:
                        contents.cue_places.append(_number(walk, one) & _MOST)
                        contents.cue_times.append(time & _MOST)


def _number(walk: Walk, element: _Element) -> int:
    end = element.content if element.end is None else element.end
    return int.from_bytes(walk.read(element.content, min(8, end - element.content)), "big")


def _children(walk: Walk, parent: _Element) -> Iterator[_Element]:
    at, end = parent.content, min(parent.end or 0, walk.size)
    while at < end:
        child = _element(walk, at)
        if child is None or child.end is None or child.end > end:
            return
        yield child
        at = child.end


def _element(walk: Walk, at: int) -> _Element | None:
    """The element that begins here; None if none can."""
    head = walk.step(at, _HEAD_BYTES)
    if len(head) < 2 or not head[0] & 0xF0:
        return None
    name_bytes = 9 - head[0].bit_length()
    first = head[name_bytes] if name_bytes < len(head) else 0
    size_bytes = 9 - first.bit_length()
    if not first or name_bytes + size_bytes > len(head):
        return None
    mask = (1 << 7 * size_bytes) - 1
    size = int.from_bytes(head[name_bytes : name_bytes + size_bytes], "big") & mask
    content = at + name_bytes + size_bytes
    name = int.from_bytes(head[:name_bytes], "big")
    return _Element(name, at, content, None if size == mask else content + size)
