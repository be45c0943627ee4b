"""A video on the web -> its bytes, piece by piece where its server sends parts of files."""

from __future__ import annotations

from collections.abc import Iterator

from ..errors import BadAddress, UnitFailed
from ..patience import Patience
from ..readers.locate import read_unit, refuse_change
from ..records import ErrorClass, Unit
from ..storage import Options
from ..web import Told, WebFacts, look_at_web, read_web_range
from .fetch import MOST_IN_MEMORY, PIECE_BYTES, fetch
from .sniff import HEAD_BYTES


def web_pieces(unit: Unit, options: Options, patience: Patience, max_bytes: int) -> Iterator[bytes]:
    """The bytes of a unit; the first piece holds at least its head. Raises UnitFailed."""
    start = _start(unit, options, patience)
    if start is None:
        most = min(max_bytes, MOST_IN_MEMORY)
        yield fetch(lambda: read_unit(unit, options, most), patience)
        return
    head, facts = start
    if facts.size > max_bytes:
        excess = f"{facts.size} bytes, more than decode.video.max_bytes={max_bytes}"
        raise UnitFailed(ErrorClass.TOO_LARGE, excess)
    yield head
    for at in range(len(head), facts.size, PIECE_BYTES):
        length = min(PIECE_BYTES, facts.size - at)
        piece = _part(unit, options, patience, at, length, facts)
        if len(piece) != length:
            raise UnitFailed(ErrorClass.IO, f"{len(piece)} of {length} bytes from {at} came")
        yield piece


def _start(unit: Unit, options: Options, patience: Patience) -> tuple[bytes, WebFacts] | None:
    """The head of a file and what its server says of it; None if it comes in one piece alone."""
    found: list[WebFacts] = []

    def look() -> bytes:
        found.append(look_at_web(unit.address, options))
        return b""

    try:
        fetch(look, patience)
        facts = found[-1]
        if facts.etag:
            refuse_change(
                unit, Told(facts.size, facts.etag, facts.changed).version_like(unit.version)
            )
        return _part(unit, options, patience, 0, min(HEAD_BYTES, facts.size), facts), facts
    except BadAddress:
        return None


def _part(
    unit: Unit, options: Options, patience: Patience, at: int, length: int, facts: WebFacts
) -> bytes:
    return fetch(lambda: read_web_range(unit.address, options, at, length, facts), patience)
