"""What an output already holds: every unit's latest outcome, in a few bytes each."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa

from .errors import StorageError
from .packed import PackedRows, Rows, first_places, keep_last_of_each, same_id
from .parquet_tables import read_table
from .records import ErrorClass, Ids, as_ids
from .sinks.result_files import RESULT_SCHEMAS, UNITS, copy_outcomes, read_outcomes, units_name
from .storage import Store

Given = TypeVar("Given")
Made = TypeVar("Made")
Codes = np.ndarray[Any, np.dtype[np.uint8]]

_CODES = {error.value: code for code, error in enumerate(ErrorClass)}
_RETRYABLE = [_CODES[error.value] for error in ErrorClass if error.retryable]
OK = len(_CODES)  # the highest: of two outcomes of one attempt the good one counts

_READERS = 16  # files read at once: a store is slow to answer, but answers many
_COLUMNS = ("unit_id", "attempt", "status", "error_class")


@dataclass(frozen=True, slots=True, eq=False)
class OutcomeIndex:
    """The latest outcome of every unit that has one, sorted by id; 18 bytes a unit."""

    rows: Rows

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def codes(self) -> Codes:
        """How units ended: OK, or a place in ErrorClass."""
        return self.rows["code"]

    def find(self, ids: Ids) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """Which of the ids are known, and where."""
        if not len(self.rows):
            return np.zeros(len(ids), dtype=bool), np.zeros(len(ids), dtype=np.intp)
        places = first_places(self.rows, ids).clip(max=len(self.rows) - 1)
        return same_id(self.rows[places], ids), places

    def next_attempts(
        self, ids: Ids, *, max_attempts: int, retried: frozenset[ErrorClass] = frozenset()
    ) -> Codes:
        """The number of the attempt that each unit is due; 0 where nothing is to be done."""
        known, places = self.find(ids)
        due = np.ones(len(ids), dtype=np.uint8)
        if not known.any():
            return due
        codes, attempts = self.codes[places], self.rows["attempt"][places]
        by_itself = np.isin(codes, _RETRYABLE) & (attempts < max_attempts)
        asked_for = np.isin(codes, [_CODES[error.value] for error in retried])
        again = np.where(by_itself | asked_for, np.minimum(attempts, 254) + 1, 0)
        return np.where(known, again, due).astype(np.uint8)

    @property
    def has_failures(self) -> bool:
        """Whether any unit failed."""
        return bool((self.codes != OK).any())

    def count(self) -> dict[str, int]:
        """How many units ended how: `ok` and the values of ErrorClass."""
        return named(count_codes(self.codes))


def count_codes(codes: Codes) -> np.ndarray[Any, np.dtype[np.intp]]:
    """How often each code is there."""
    return np.bincount(codes, minlength=OK + 1)


def named(counts: np.ndarray[Any, np.dtype[np.intp]]) -> dict[str, int]:
    """Counts by `ok` and the values of ErrorClass, where there are any."""
    numbers = {"ok": counts[OK], **{name: counts[code] for name, code in _CODES.items()}}
    return {name: int(number) for name, number in numbers.items() if number}


def result_names(store: Store) -> Iterator[str]:
    """All result files of an output."""
    for folder in RESULT_SCHEMAS:
        yield from (e.name for e in store.list(folder) if e.name.endswith(".parquet"))


def mend_copies(store: Store) -> int:
    """Write the outcomes that a killed process had no time to copy; how many were missing."""
    there = {entry.name for entry in store.list(UNITS)}
    missing = [name for name in result_names(store) if units_name(name) not in there]

    def mend(name: str) -> None:
        copy_outcomes(store, name, read_outcomes(store, name))

    return sum(1 for _ in in_advance(mend, missing))


def latest_outcomes(store: Store) -> OutcomeIndex:
    """The latest outcome of every unit, of copies where there are some and else of footers.

    A copy whose result file is gone counts for nothing: the file is the commit.
    """
    return index_of(outcome_tables(store, sorted(result_names(store)), _COLUMNS))


def outcome_tables(
    store: Store, names: Sequence[str], columns: Sequence[str] | None = None
) -> Iterator[pa.Table]:
    """The outcomes of result files, in their order; some files are read ahead.

    They come from copies, and from footers where a copy is missing or no table.
    """
    copies = {entry.name for entry in store.list(UNITS)}
    wanted = None if columns is None else list(columns)

    def read(name: str) -> pa.Table:
        with reading(store, name):
            if units_name(name) in copies:
                with suppress(pa.ArrowInvalid), store.open(units_name(name)) as file:
                    return read_table(file, wanted)
            table = read_outcomes(store, name)
            return table if wanted is None else table.select(wanted)

    return in_advance(read, names)


@contextmanager
def reading(store: Store, name: str) -> Iterator[None]:
    """Say which file it was that could not be read, and how to learn more."""
    try:
        yield
    except (pa.ArrowException, OSError, KeyError) as error:
        raise StorageError(
            f"{store.uri_of(name)}: cannot be read ({error}). `sam2ray verify {store.uri}` says "
            "what else is wrong."
        ) from error


def in_advance(
    make: Callable[[Given], Made], given: Iterable[Given], ahead: int = _READERS
) -> Iterator[Made]:
    """Results in order, a few of them made ahead in threads."""
    waiting: deque[Future[Made]] = deque()
    with ThreadPoolExecutor(ahead) as pool:
        try:
            for item in given:
                waiting.append(pool.submit(make, item))
                if len(waiting) > ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:  # whoever asked has gone, or one has failed
                future.cancel()


def index_of(tables: Iterable[pa.Table]) -> OutcomeIndex:
    """Sort outcomes by id and keep the one with the highest attempt."""
    packed = PackedRows(attempt="u1", code="u1")
    for table in tables:
        attempts, codes = attempts_and_codes(table)
        packed.add(as_ids(table["unit_id"]), attempt=attempts, code=codes)
    return OutcomeIndex(keep_last_of_each(packed.take()))


def attempts_and_codes(table: pa.Table) -> tuple[Codes, Codes]:
    """How units ended, in two bytes each."""
    status, classes = table["status"].to_pylist(), table["error_class"].to_pylist()
    codes = [OK if s == "ok" else _CODES[c] for s, c in zip(status, classes, strict=True)]
    attempts = np.minimum(table["attempt"].to_numpy(), 255).astype(np.uint8)
    return attempts, np.array(codes, dtype=np.uint8)
