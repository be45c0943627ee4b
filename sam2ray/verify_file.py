"""One result file -> what it holds, and everything that is wrong in it; a row group at a time."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from .errors import Sam2RayError
from .outcomes import OutcomeIndex, index_of
from .parquet_tables import read_table
from .records import ID_BYTES, OUTCOME_SCHEMA, ErrorClass
from .sinks.result_files import RESULT_SCHEMAS, copy_outcomes, read_outcomes, units_name
from .storage import Store
from .verify_rows import SHARED, faults_of_rows

UNREADABLE = (Sam2RayError, pa.ArrowException, OSError, ValueError, KeyError)

_HEX_ID = f"[0-9a-f]{{{2 * ID_BYTES}}}"
_CLASSES = [error.value for error in ErrorClass]
_MOST = 20  # complaints about one file: a broken one has thousands
_LATEST = ("unit_id", "attempt", "status", "error_class")


@dataclass(slots=True)
class FileFindings:
    """What one file holds."""

    name: str
    outcomes: OutcomeIndex = field(default_factory=lambda: index_of([]))
    rows: int = 0
    complaints: list[str] = field(default_factory=list)

    def complain(self, words: Iterator[str]) -> None:
        """Keep some of the complaints, and say how many there are more."""
        more = 0
        for text in words:
            if len(self.complaints) < _MOST:
                self.complaints.append(text)
            else:
                more += 1
        if more:
            self.complaints.append(f"{self.name}: ... and {more:,} more")


def verify_file(store: Store, name: str, config_id: str | None) -> FileFindings:
    """Read a file once, and compare it with its footer, the footer's copy, and the config.

    A copy that is missing is made: whoever wrote the file was killed before it.
    """
    found = FileFindings(name)
    try:
        outcomes = read_outcomes(store, name)
        found.complain(f"{name}: {words}" for words in _faults_of_outcomes(outcomes, config_id))
        if not found.complaints:
            found.outcomes = index_of([outcomes.select(_LATEST)])
        found.complain(_faults_of_copy(store, name, outcomes))
        found.complain(f"{name}: {words}" for words in _faults_inside(store, name, outcomes, found))
    except UNREADABLE as error:
        found.complaints.append(f"{name}: cannot be read: {_first_line(error)}")
    return found


def _faults_of_outcomes(outcomes: pa.Table, config_id: str | None) -> Iterator[str]:
    for column in OUTCOME_SCHEMA:
        if column.name not in outcomes.column_names:
            yield f"its footer has no column {column.name}"
            return
    columns = ["unit_id", "status", "error_class", "attempt", "masks", "config_id"]
    seen: set[str] = set()
    for row in outcomes.select(columns).to_pylist():
        unit_id = row["unit_id"]
        if not re.fullmatch(_HEX_ID, str(unit_id)):
            yield f"lists a unit whose unit_id is {unit_id!r}"
        if unit_id in seen:
            yield f"lists unit {unit_id} twice"
        seen.add(unit_id)
        for column in _wrong_columns(row):
            yield f"unit {unit_id}: has {column}={row[column]!r}"
        if config_id is not None and row["config_id"] != config_id:
            yield f"unit {unit_id}: is of config {row['config_id']}, the output of {config_id}"


def _wrong_columns(row: dict[str, Any]) -> Iterator[str]:
    if row["status"] not in ("ok", "failed"):
        yield "status"
    reasons = _CLASSES if row["status"] == "failed" else (None, ErrorClass.PARTIAL.value)
    if row["error_class"] not in reasons:
        yield "error_class"
    if (row["attempt"] or 0) < 1:
        yield "attempt"
    if row["masks"] is None or row["masks"] < 0:
        yield "masks"


def _faults_of_copy(store: Store, name: str, outcomes: pa.Table) -> Iterator[str]:
    copy = units_name(name)
    if not store.exists(copy):
        try:
            copy_outcomes(store, name, outcomes)
        except UNREADABLE as error:
            yield (
                f"{copy}: is missing, and cannot be made again from here ({_first_line(error)}): "
                "run `sam2ray verify` where the output may be written"
            )
        return
    try:
        with store.open(copy) as file:
            there = read_table(file)
    except UNREADABLE as error:
        yield f"{copy}: cannot be read: {_first_line(error)}; delete it, then it is made again"
        return
    if there.equals(outcomes):
        return
    unit = _first_difference(there, outcomes)
    yield f"{copy}: differs from the footer of {name}{unit}; delete it, then it is made again"


def _first_difference(a: pa.Table, b: pa.Table) -> str:
    if a.schema.names != b.schema.names:
        return " in its columns"
    for one, other in zip(a.to_pylist(), b.to_pylist(), strict=False):
        columns = [name for name in one if one[name] != other[name]]
        if columns:
            return f" at unit {other['unit_id']} ({', '.join(columns)})"
    return f": {len(a)} units instead of {len(b)}"


def _faults_inside(
    store: Store, name: str, outcomes: pa.Table, found: FileFindings
) -> Iterator[str]:
    """Look at all rows, and count those of each unit."""
    folder = name.partition("/")[0]
    counted = np.zeros(len(outcomes), np.int64)
    ids = outcomes["unit_id"].combine_chunks()
    options = pc.SetLookupOptions(ids)
    shared = outcomes.select(SHARED)
    order = _Order()
    with store.open(name) as file:
        parquet = pq.ParquetFile(file, page_checksum_verification=True)
        wanted = RESULT_SCHEMAS[folder]
        differing = [c.name for c in wanted if c not in list(parquet.schema_arrow)]
        if differing:
            yield f"its columns are not those of {folder}: look at {', '.join(differing)}"
            return
        for group in range(parquet.num_row_groups):
            rows = parquet.read_row_group(group)
            found.rows += len(rows)
            owners = pc.call_function("index_in", [rows["unit_id"]], options).combine_chunks()
            strangers = rows["unit_id"].filter(owners.is_null()).unique().to_pylist()
            yield from (f"has rows of unit {unit}, which it does not list" for unit in strangers)
            known = owners.is_valid()
            rows, owners = rows.filter(known), owners.filter(known).to_numpy()
            counted += np.bincount(owners, minlength=len(outcomes))
            yield from order.faults(owners, ids)
            yield from faults_of_rows(rows, shared.take(pa.array(owners)), folder)
    yield from _wrong_counts(outcomes, counted)


def _wrong_counts(outcomes: pa.Table, counted: np.ndarray) -> Iterator[str]:
    said = outcomes["masks"].fill_null(0).to_numpy()
    for place in np.flatnonzero(said != counted):
        unit_id = outcomes["unit_id"][int(place)].as_py()
        yield f"unit {unit_id}: has {counted[place]:,} rows, its footer says {said[place]:,}"


@dataclass(slots=True)
class _Order:
    """Whether each unit's rows follow one another, over all row groups."""

    last: int = -1
    done: set[int] = field(default_factory=set)

    def faults(self, owners: np.ndarray, unit_ids: pa.Array) -> Iterator[str]:
        if not len(owners):
            return
        starts = owners[np.flatnonzero(np.diff(owners, prepend=self.last))]
        for owner in starts.tolist():
            if owner in self.done:
                yield f"unit {unit_ids[owner].as_py()}: its rows lie apart"
            self.done.add(owner)
        self.last = int(owners[-1])


def _first_line(error: BaseException) -> str:
    return (str(error).partition("\n")[0] or type(error).__name__).rstrip(".")
