"""Result files -> which of their rows count: each unit's latest outcome, unless it was superseded.

A file's outcomes are read from its copy, and from its footer where there is no copy yet, so that
nothing has to be written before an output can be read.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from .errors import StorageError, UsageError
from .manifest import superseded_ids
from .outcomes import outcome_tables, result_names
from .records import Ids, as_hex, as_ids, is_in
from .storage import Store

Flags = np.ndarray  # bool

FOLDER = "_sam2ray"
_COLUMNS = ("unit_id", "attempt", "status", "supersedes")


@dataclass(frozen=True, slots=True, eq=False)
class LiveUnits:
    """Outcomes of all result files, file after file in the order of their rows."""

    names: tuple[str, ...]
    offsets: np.ndarray  # int64 [files + 1], where each file's outcomes start
    ids: Ids
    counts: Flags  # whether an outcome is its unit's, or an earlier or superseded one
    superseded: Ids  # sorted

    def rows_of(self, file: int) -> slice:
        """The outcomes of a file."""
        return slice(int(self.offsets[file]), int(self.offsets[file + 1]))

    def kept_in(self, file: int) -> Flags:
        """Which rows of a file's outcomes count."""
        return self.counts[self.rows_of(file)]

    def hidden_in(self, file: int) -> list[str]:
        """Units whose rows in this file do not count; most files have none."""
        own = self.rows_of(file)
        return as_hex(self.ids[own][~self.counts[own]])

    def file_of(self, unit_id: str) -> int | None:
        """The file with a unit's latest outcome; None if there is none that counts."""
        (wanted,) = as_ids([unit_id])
        (places,) = np.nonzero((self.ids == wanted) & self.counts)
        return (
            int(np.searchsorted(self.offsets, places[0], side="right")) - 1 if len(places) else None
        )

    def is_superseded(self, unit_id: str) -> bool:
        """Whether a newer version of the source has taken a unit's place."""
        return bool(is_in(as_ids([unit_id]), self.superseded)[0])


def read_live_units(store: Store) -> LiveUnits:
    """Read what all result files hold; some 40 bytes a unit stay."""
    names = sorted(result_names(store))
    tables = zip(names, outcome_tables(store, names, _COLUMNS), strict=True)
    parts = [_part(store.uri_of(name), table) for name, table in tables]
    lengths = [len(part.ids) for part in parts]
    offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    if not parts:
        return LiveUnits((), offsets, as_ids([]), np.zeros(0, bool), as_ids([]))
    ids = np.concatenate([part.ids for part in parts])
    hidden = np.unique(
        np.concatenate([superseded_ids(store), *(part.superseded for part in parts)])
    )
    latest = are_latest(
        ids,
        np.concatenate([part.attempts for part in parts]),
        np.concatenate([p.ok for p in parts]),
    )
    return LiveUnits(tuple(names), offsets, ids, latest & ~is_in(ids, hidden), hidden)


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    """The outcomes of one file, in few bytes."""

    ids: Ids
    attempts: np.ndarray
    ok: Flags
    superseded: Ids


def _part(uri: str, table: pa.Table) -> _Part:
    try:
        return _Part(
            as_ids(table["unit_id"]),
            table["attempt"].to_numpy(),
            np.array([status == "ok" for status in table["status"].to_pylist()], bool),
            as_ids(table["supersedes"].drop_null()),
        )
    except (ValueError, TypeError) as error:  # ids that are none, or missing
        raise StorageError(f"{uri}: lists units in a way that makes no sense: {error}.") from error


def are_latest(ids: Ids, attempts: np.ndarray, ok: Flags) -> Flags:
    """Of each unit the outcome with the highest attempt; of equals a good one, then the last."""
    order = np.lexsort((ok, attempts, ids["low"], ids["high"]))
    last = np.ones(len(ids), bool)
    last[:-1] = ids[order][1:] != ids[order][:-1]
    latest = np.zeros(len(ids), bool)
    latest[order[last]] = True
    return latest


def require_output(store: Store) -> None:
    """Refuse a place that is no output of sam2ray."""
    if not any(store.list(FOLDER)):
        raise UsageError(
            f"{store.uri} is no output of sam2ray: it has no {FOLDER}/. Name the OUT of a run."
        )
