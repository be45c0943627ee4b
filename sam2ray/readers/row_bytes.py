"""A row of a Parquet file -> the bytes in it; neighbouring rows are read together and kept a while.

Parquet has no way to one row but through those before it in its row group. Units of a file should
therefore be asked for in their order, or nearly so: a step back reads the row group again.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections import OrderedDict, deque
from collections.abc import Iterator
from itertools import accumulate
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.types as pt

from ..errors import UnitFailed
from ..records import ErrorClass
from ..storage import Entry, Options, open_store
from .parquet_rows import RowPlace, find_bytes_column
from .places import place_of
from .store_file import store_file

_ROWS_A_BATCH = 8  # they may be videos
_BATCHES_KEPT = 3  # for threads that ask out of turn
_FILES_KEPT = 4
_READ_BYTES = 4 << 20


class OpenTable:
    """A Parquet file, with the rows around the last one that was asked for."""

    def __init__(self, uri: str, size: int, column: str | None, options: Options) -> None:
        place = place_of(uri)
        file = store_file(open_store(place.folder, options), place.name, size)
        self._file = pq.ParquetFile(pa.PythonFile(file, "r"), buffer_size=_READ_BYTES)
        schema = self._file.schema_arrow
        self._column = find_bytes_column(schema, uri, column)
        self._is_struct = pt.is_struct(schema.field(self._column).type)
        metadata = self._file.metadata
        groups = [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)]
        self._starts = list(accumulate(groups, initial=0))
        self._kept: deque[tuple[int, Any]] = deque(maxlen=_BATCHES_KEPT)  # first row, column
        self._batches: Iterator[pa.RecordBatch] = iter(())
        self._next_row = self._end_row = 0  # of the row group that is being read
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
        for batch in self._batches:
            first, self._next_row = self._next_row, self._next_row + batch.num_rows
            self._kept.append((first, batch.column(0)))
            if row < self._next_row:
                return batch.column(0)[row - first].as_py()
        raise UnitFailed(ErrorClass.TRUNCATED, f"there is no row {row}: {self._starts[-1]} in all")

    def _begin_group(self, row: int) -> None:
        if row >= self._starts[-1]:
            self._batches = iter(())
            return
        group = bisect_right(self._starts, row) - 1
        self._next_row, self._end_row = self._starts[group : group + 2]
        leaf = f"{self._column}.bytes" if self._is_struct else self._column
        self._batches = self._file.iter_batches(
            _ROWS_A_BATCH, row_groups=[group], columns=[leaf], use_threads=False
        )


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
                    table = OpenTable(uri, entry.size, place.column, options)
                    self._tables[key] = table
                self._tables.move_to_end(key)
                if len(self._tables) > _FILES_KEPT:
                    self._tables.popitem(last=False)
            return table.read(place.row)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise UnitFailed(ErrorClass.CORRUPT, f"the Parquet file is damaged: {error}") from error
