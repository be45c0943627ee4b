"""The nouns of a listing: a slice of a source goes in, units and ignored names come out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from ..records import Unit
from ..storage import Entry, Options

ReaderName = Literal["files", "frames", "tar", "list", "parquet", "prompts"]

DAMAGED = "damaged"
DUPLICATE = "duplicate"
HIDDEN = "hidden"
NO_TEXT = "not UTF-8"


@dataclass(frozen=True, slots=True)
class Slice:
    """A part of a source that one task can list by itself."""

    reader: ReaderName
    uri: str  # of the store that the files lie in; "" if their names are whole addresses
    folder: str = ""  # of the store: everything in it, however deep
    files: tuple[Entry, ...] | None = None  # or these alone
    pattern: str = ""  # of it, or with `**` of all below it, what fits; files do already


@dataclass(frozen=True, slots=True)
class Ignored:
    """Something a source holds that is no unit; reasons are few, so that they can be counted."""

    name: str
    reason: str  # a suffix, or a word or two: hidden, link, duplicate, damaged, ...
    detail: str = ""


class Reader(Protocol):
    """Knows one kind of source."""

    def slices(self, uris: Sequence[str], options: Options) -> Iterator[Slice]:
        """Parts that can be listed side by side; cheap, for the driver."""
        ...

    def units(self, piece: Slice, options: Options) -> Iterator[Unit | Ignored]:
        """What is in one part, in an order that does not change; for a task."""
        ...
