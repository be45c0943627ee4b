"""Rows of one video, frame after frame -> the unit's own result file, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

import pyarrow as pa

from ..records import OUTCOME_SCHEMA
from ..sinks.result_files import ResultFile, ResultPlace
from .outcome_rows import Row, labelled_table

# A table of one row is a hundred times what its row holds: many are made one before they are kept.
_TABLES = 256
_BYTES = 8 << 20


class UnitRows:
    """A file that begins with the first row; without `commit` nothing of it is seen."""

    def __init__(self, place: ResultPlace, compression: str, most: int) -> None:
        self._place, self._compression, self._most = place, compression, most
        self._file: ResultFile | None = None
        self._resources = ExitStack()
        self._waiting: list[pa.Table] = []
        self._waiting_bytes = 0
        self.count = 0
        self.is_full = False  # rows had to be left out

    def add(self, rows: pa.Table) -> None:
        """Take the rows of a frame, up to the limit."""
        room = self._most - self.count
        if len(rows) > room:
            self.is_full = True
            rows = rows.slice(0, room)
        if not len(rows):
            return
        self.count += len(rows)
        self._waiting.append(rows)
        self._waiting_bytes += rows.nbytes
        if len(self._waiting) >= _TABLES or self._waiting_bytes >= _BYTES:
            self._flush()

    def commit(self, row: Row, still_mine: Callable[[], None]) -> None:
        """Make the file appear, with the unit's row in its footer."""
        self._flush()
        assert self._file is not None
        outcomes = labelled_table([row]).select(OUTCOME_SCHEMA.names)
        self._file.commit(outcomes, still_mine=still_mine)

    def close(self) -> None:
        """Leave nothing behind but what was committed."""
        self._resources.close()

    def _flush(self) -> None:
        if not self._waiting:
            return
        if self._file is None:
            file = ResultFile(self._place, compression=self._compression)
            self._file = self._resources.enter_context(file)
        self._file.add(pa.concat_tables(self._waiting).combine_chunks())
        self._waiting, self._waiting_bytes = [], 0
