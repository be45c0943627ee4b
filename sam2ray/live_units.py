"""Result files -> which of their rows count: each unit's latest outcome, unless it was superseded.

A file's outcomes are read from its copy, and from its footer where there is no copy yet, so that
nothing has to be written before an output can be read.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from .errors import StorageError, UsageError
from .index_facts import superseded_ids
from .outcomes import outcome_tables, result_names
from .packed import (
    PackedRows,
    Rows,
    first_places,
    hex_ids,
    is_in,
    is_last_of_its_id,
    keep,
    sorted_ids,
)
from .records import Ids, as_ids
from .storage import Store

Flags = np.ndarray  # bool

FOLDER = "_sam2ray"
_COLUMNS = ("unit_id", "attempt", "status", "supersedes")


@dataclass(frozen=True, slots=True, eq=False)
class LiveUnits:
    """Outcomes of all result files; their places count through the rows of file after file."""

    names: tuple[str, ...]
    offsets: np.ndarray  # int64 [files + 1], the place of each file's first outcome
    rows: Rows  # of the outcomes that count, sorted by id
    counts: Flags  # whether an outcome is its unit's, or an earlier or superseded one
    gone: Rows  # of the outcomes that do not count, sorted by place
    superseded: Ids  # sorted

    def kept_in(self, file: int) -> Flags:
        """Which rows of a file's outcomes count."""
        return self.counts[self.offsets[file] : self.offsets[file + 1]]

    def hidden_in(self, file: int) -> list[str]:
        """Units whose rows in this file do not count; most files have none."""
        start, end = np.searchsorted(self.gone["place"], self.offsets[file : file + 2])
        return hex_ids(self.gone[start:end])

    def file_of(self, unit_id: str) -> int | None:
        """The file with a unit's latest outcome; None if there is none that counts."""
        wanted = as_ids([unit_id])
        if not is_in(wanted, self.rows)[0]:
            return None
        place = self.rows["place"][first_places(self.rows, wanted)[0]]
        return int(np.searchsorted(self.offsets, place, side="right")) - 1

    def is_superseded(self, unit_id: str) -> bool:
        """Whether a newer version of the source has taken a unit's place."""
        return bool(is_in(as_ids([unit_id]), self.superseded)[0])


def read_live_units(store: Store) -> LiveUnits:
    """Read what all result files hold; some 26 bytes a unit stay."""
    names = sorted(result_names(store))
    # In the order in which they count: a later attempt, of equals a good one, then a later file.
    packed = PackedRows(attempt=">u4", is_ok="u1", place=">u4")
    offsets, superseded = [0], [superseded_ids(store)]
    for name, table in zip(names, outcome_tables(store, names, _COLUMNS), strict=True):
        superseded.append(_add(packed, store.uri_of(name), table, offsets[-1]))
        offsets.append(offsets[-1] + len(table))
    rows, hidden = packed.take(), sorted_ids(superseded)
    live = is_last_of_its_id(rows) & ~is_in(rows, hidden)
    gone = rows[~live]
    rows = keep(rows, live)
    counts = np.zeros(offsets[-1], bool)
    counts[rows["place"]] = True
    by_place = np.argsort(gone["place"])
    return LiveUnits(tuple(names), np.array(offsets), rows, counts, gone[by_place], hidden)


def _add(packed: PackedRows, uri: str, table: pa.Table, first_place: int) -> Ids:
    """Take the outcomes of a file; which units they took the place of."""
    places = np.arange(first_place, first_place + len(table))
    try:
        is_ok = np.array([status == "ok" for status in table["status"].to_pylist()], bool)
        attempts = table["attempt"].to_numpy()
        packed.add(as_ids(table["unit_id"]), attempt=attempts, is_ok=is_ok, place=places)
        return as_ids(table["supersedes"].drop_null())
    except (ValueError, TypeError) as error:  # ids that are none, or missing
        raise StorageError(f"{uri}: lists units in a way that makes no sense: {error}.") from error


def require_output(store: Store) -> None:
    """Refuse a place that is no output of sam2ray."""
    if not any(store.list(FOLDER)):
        raise UsageError(
            f"{store.uri} is no output of sam2ray: it has no {FOLDER}/. Name the OUT of a run."
        )
