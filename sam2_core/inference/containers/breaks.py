"""A video file -> where its container is broken, by whichever rules its first bytes call for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from . import avi, flv, gif, matroska, mp4, mpeg_ps, mpeg_ts, ogg
from .broken_bytes import Break, TooManySteps, Walk, close_walk, open_walk, unheard

_HEAD_BYTES = 576  # three packets of MPEG-TS


def find_break(
    path: Path, stream_id: int, on_progress: Callable[[], None] = unheard
) -> Break | None:
    """The first place at which a file is not what it says; None if its rules know of none.

    `stream_id` is the number that the container gives its video.
    """
    walk = open_walk(path, on_progress)
    try:
        return _find(walk, walk.read(0, _HEAD_BYTES), stream_id)
    except TooManySteps:
        return None  # what lies behind is not judged
    finally:
        close_walk(walk)


def _find(walk: Walk, head: bytes, stream_id: int) -> Break | None:
    for magic, rules in _BY_MAGIC.items():
        if head.startswith(magic):
            return rules(walk)
    if (layout := mpeg_ts.layout_of(head)) is not None:
        return mpeg_ts.find_break(walk, layout, stream_id)
    return mp4.find_break(walk)


_BY_MAGIC = {
    matroska.MAGIC: matroska.find_break,
    avi.MAGIC: avi.find_break,
    flv.MAGIC: flv.find_break,
    ogg.MAGIC: ogg.find_break,
    mpeg_ps.MAGIC: mpeg_ps.find_break,
    gif.MAGIC: gif.find_break,
}
