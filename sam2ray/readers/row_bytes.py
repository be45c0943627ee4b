"""A row of a Parquet file -> the bytes in it; neighbouring rows are read together and kept a while.

Parquet has no way to one row but through those before it in its row group. Units of a file should
therefore be asked for in their order, or nearly so: a step back reads the row group again.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections import OrderedDict, deque
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.types as pt

from ..errors import BrokenTable, UnitFailed
from ..records import ErrorClass
from ..storage import Entry, Options
from .parquet_files import ParquetTable
from .parquet_rows import RowPlace, find_bytes_column

_ROWS_A_BATCH = 8  # they may be videos
_BATCHES_KEPT = 3  # for threads that ask out of turn
_FILES_KEPT = 4
_READ_BYTES = 4 << 20


class OpenTable:
    """A Parquet file, with the rows around the last one that was asked for."""

    def __init__(self, entry: Entry, column: str | None, options: Options) -> None:
        self._table = ParquetTable(entry, options, _READ_BYTES)
        self._column = find_bytes_column(self._table.schema, entry.name, column)
        self._is_struct = pt.is_struct(self._table.schema.field(self._column).type)
        self._starts = self._table.starts
        self._kept: deque[tuple[int, Any]] = deque(maxlen=_BATCHES_KEPT)  # first row, column
        self._batches: Iterator[pa.RecordBatch] = iter(())
        self._next_row = self._end_row = 0  # of the row group that is being read
        self._broken: dict[int, tuple[int, BrokenTable]] = {}  # groups, from a row of them on
        self._lock = threading.Lock()

    def read(self, row: int) -> bytes:
        """The bytes of a row, counted from the start of the file."""
        with self._lock:
            cell = self._cell(row)
        value = cell["bytes"] if self._is_struct and cell is not None else cell
        if value is None:
            raise UnitFailed(ErrorClass.CORRUPT, f"{self._column} of row {row} holds no bytes")
        return value

    def _cell(self, row: int) -> Any:  # noqa: ANN401 bytes, or a dict of a struct
        for first, cells in self._kept:
            if first <= row < first + len(cells):
                return cells[row - first].as_py()
        if not self._next_row <= row < self._end_row:
            self._begin_group(row)
        try:
            for batch in self._batches:
                first, self._next_row = self._next_row, self._next_row + batch.num_rows
                self._kept.append((first, batch.column(0)))
                if row < self._next_row:
                    return batch.column(0)[row - first].as_py()
        except BrokenTable as error:
            self._broken[self._group_of(row)] = (self._next_row, error)
            self._end_row = self._next_row  # what was read last is not behind this any more
            raise
        except BaseException:
            self._end_row = self._next_row
            raise
        raise UnitFailed(ErrorClass.TRUNCATED, f"there is no row {row}: {self._starts[-1]} in all")

    def _begin_group(self, row: int) -> None:
        if row >= self._starts[-1]:
            self._batches = iter(())
            return
        group = self._group_of(row)
        first_broken, error = self._broken.get(group, (self._starts[-1], None))
        if error is not None and row >= first_broken:
            raise error  # the rows before it need not be read again to know that
        self._next_row, self._end_row = self._starts[group : group + 2]
        leaf = f"{self._column}.bytes" if self._is_struct else self._column
        self._batches = self._table.batches(group, [leaf], _ROWS_A_BATCH)

    def _group_of(self, row: int) -> int:
        return bisect_right(self._starts, row) - 1


class OpenTables:
    """The tables that were read last; for one process, whose threads may share it."""

    def __init__(self) -> None:
        self._tables: OrderedDict[tuple[str, str, str | None], OpenTable] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, uri: str, entry: Entry, place: RowPlace, options: Options) -> bytes:
        """The bytes of a row; OSError if the file cannot be reached, UnitFailed if it is broken."""
        key = (uri, entry.version, place.column)
        try:
            with self._lock:
                table = self._tables.get(key)
                if table is None:
                    file = Entry(uri, entry.size, entry.version)
                    table = OpenTable(file, place.column, options)
                    self._tables[key] = table
                self._tables.move_to_end(key)
                if len(self._tables) > _FILES_KEPT:
                    self._tables.popitem(last=False)
            return table.read(place.row)
        except BrokenTable as error:
            words = f"the Parquet file is damaged: {error.failure.message}"
            raise UnitFailed(error.failure.error_class, words) from error
