"""What an output already holds: every unit's latest outcome, in a few bytes each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from .records import ErrorClass, Ids, as_ids
from .sinks.result_files import RESULT_SCHEMAS, UNITS, copy_outcomes, read_outcomes, units_name
from .storage import Store

Codes = np.ndarray[Any, np.dtype[np.uint8]]

OK = 0
_CODES = {error.value: code for code, error in enumerate(ErrorClass, start=1)}
_RETRYABLE = [_CODES[error.value] for error in ErrorClass if error.retryable]

_READERS = 16  # files read at once: a store is slow to answer, but answers many
_COLUMNS = ["unit_id", "attempt", "status", "error_class"]


@dataclass(frozen=True, slots=True, eq=False)
class OutcomeIndex:
    """The latest outcome of every unit that has one, sorted by id."""

    ids: Ids
    attempts: Codes
    codes: Codes  # OK, or one more than the place in ErrorClass

    def __len__(self) -> int:
        return len(self.ids)

    def find(self, ids: Ids) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """Which of the ids are known, and where."""
        if not len(self.ids):
            return np.zeros(len(ids), dtype=bool), np.zeros(len(ids), dtype=np.intp)
        places = np.searchsorted(self.ids, ids).clip(max=len(self.ids) - 1)
        return self.ids[places] == ids, places

    def next_attempts(
        self, ids: Ids, *, max_attempts: int, retried: frozenset[ErrorClass] = frozenset()
    ) -> Codes:
        """The number of the attempt that each unit is due; 0 where nothing is to be done."""
        known, places = self.find(ids)
        due = np.ones(len(ids), dtype=np.uint8)
        if not known.any():
            return due
        codes, attempts = self.codes[places], self.attempts[places]
        by_itself = np.isin(codes, _RETRYABLE) & (attempts < max_attempts)
        asked_for = np.isin(codes, [_CODES[error.value] for error in retried])
        again = np.where(by_itself | asked_for, np.minimum(attempts, 254) + 1, 0)
        return np.where(known, again, due).astype(np.uint8)

    def count(self) -> dict[str, int]:
        """How many units ended how: `ok` and the values of ErrorClass."""
        numbers = np.bincount(self.codes, minlength=len(_CODES) + 1)
        named = {"ok": int(numbers[OK]), **{n: int(numbers[code]) for n, code in _CODES.items()}}
        return {name: number for name, number in named.items() if number}


def result_names(store: Store) -> Iterator[str]:
    """All result files of an output."""
    for folder in RESULT_SCHEMAS:
        yield from (e.name for e in store.list(folder) if e.name.endswith(".parquet"))


def mend_copies(store: Store) -> int:
    """Write the outcomes that a killed process had no time to copy; how many were missing."""
    there = {entry.name for entry in store.list(UNITS)}
    missing = [name for name in result_names(store) if units_name(name) not in there]
    with ThreadPoolExecutor(_READERS) as pool:
        for name, outcomes in zip(
            missing, pool.map(lambda name: read_outcomes(store, name), missing), strict=True
        ):
            copy_outcomes(store, name, outcomes)
    return len(missing)


def read_index(store: Store) -> OutcomeIndex:
    """Read every unit's outcomes and keep the latest; copies must be whole (mend_copies).

    A copy whose result file is gone counts for nothing: the file is the commit.
    """
    names = [units_name(name) for name in result_names(store)]
    with ThreadPoolExecutor(_READERS) as pool:
        return index_of(pool.map(lambda name: _read_columns(store, name), names))


def _read_columns(store: Store, name: str) -> pa.Table:
    with store.open(name) as file:
        return pq.read_table(file, columns=_COLUMNS)


def index_of(tables: Iterable[pa.Table]) -> OutcomeIndex:
    """Sort outcomes by id and keep the one with the highest attempt."""
    parts = [_numbers(table) for table in tables]
    if not parts:
        empty = np.zeros(0, dtype=np.uint8)
        return OutcomeIndex(as_ids([]), empty, empty)
    ids = np.concatenate([part[0] for part in parts])
    attempts = np.concatenate([part[1] for part in parts])
    codes = np.concatenate([part[2] for part in parts])
    order = np.lexsort((attempts, ids["low"], ids["high"]))
    ids, attempts, codes = ids[order], attempts[order], codes[order]
    last = np.ones(len(ids), dtype=bool)
    last[:-1] = ids[1:] != ids[:-1]
    return OutcomeIndex(ids[last], attempts[last], codes[last])


def _numbers(table: pa.Table) -> tuple[Ids, Codes, Codes]:
    status, classes = table["status"].to_pylist(), table["error_class"].to_pylist()
    codes = [OK if s == "ok" else _CODES[c] for s, c in zip(status, classes, strict=True)]
    attempts = np.minimum(table["attempt"].to_numpy(), 255).astype(np.uint8)
    return as_ids(table["unit_id"]), attempts, np.array(codes, dtype=np.uint8)
