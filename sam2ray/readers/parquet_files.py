"""A Parquet file that is open, and whose own errors are told from those of the store it lies in.

Arrow has one kind of error for both. What is broken stays so, and fails; a store is asked again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from ..errors import BrokenTable
from ..range_file import RangeFile
from ..records import ErrorClass, Failure
from ..stages.sniff import HEAD_BYTES, describe
from ..storage import Entry, Options, open_store
from .places import place_of
from .store_file import range_reader

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

FEW_BYTES = 64 << 10  # for a footer and columns of text
_MAGIC, _ENCRYPTED = b"PAR1", b"PARE"
_REFUSALS = (pa.ArrowException, OSError, UnicodeDecodeError)


class _HeardFile(RangeFile):
    """Remembers what the store said last: Arrow hands on the very error."""

    told: BaseException | None = None

    def readinto(self, buffer: WriteableBuffer) -> int:
        """One range."""
        try:
            return super().readinto(buffer)
        except BaseException as error:
            self.told = error
            raise


class ParquetTable:
    """The footer is read at once, groups of rows when they are asked for; raises BrokenTable."""

    def __init__(self, entry: Entry, options: Options, buffer_bytes: int = FEW_BYTES) -> None:
        self._uri, place = entry.name, place_of(entry.name)
        store = open_store(place.folder, options)
        self._heard = _HeardFile(range_reader(store, place.name), entry.size, entry.name)
        try:
            with self._errors():
                self._file = pq.ParquetFile(
                    pa.PythonFile(self._heard, "r"), buffer_size=buffer_bytes
                )
                self.schema: pa.Schema = self._file.schema_arrow
                facts = self._file.metadata
        except BrokenTable as error:
            raise BrokenTable(self._uri, self._why_it_is_none(entry.size, error.failure)) from error
        rows = (facts.row_group(number).num_rows for number in range(facts.num_row_groups))
        self.starts: list[int] = list(accumulate(rows, initial=0))  # of groups, and the end
        """The first row of each group, and behind the last one how many rows there are."""

    @property
    def groups(self) -> range:
        """The numbers of the groups of rows."""
        return range(len(self.starts) - 1)

    def batches(
        self, group: int, columns: Sequence[str], most_rows: int
    ) -> Iterator[pa.RecordBatch]:
        """The rows of one group, in their order."""
        found = self._file.iter_batches(
            most_rows, row_groups=[group], columns=list(columns), use_threads=False
        )
        while True:
            with self._errors():
                batch = next(found, None)
            if batch is None:
                return
            yield batch

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except _REFUSALS as error:
            if error is self._heard.told or isinstance(error, pa.ArrowMemoryError):
                raise
            is_beyond_us = isinstance(error, pa.ArrowNotImplementedError)
            found = ErrorClass.UNSUPPORTED if is_beyond_us else ErrorClass.CORRUPT
            words = " ".join(str(error).split())
            raise BrokenTable(self._uri, Failure(found, words)) from error

    def _why_it_is_none(self, size: int, failure: Failure) -> Failure:
        """Arrow says of many things that they may be no Parquet; its first and last bytes tell."""
        head, end = self._bytes(0, min(size, HEAD_BYTES)), self._bytes(max(0, size - 4), size)
        if not size:
            return Failure(ErrorClass.TRUNCATED, "it is empty")
        if head.startswith(_ENCRYPTED) or end == _ENCRYPTED:
            return Failure(ErrorClass.UNSUPPORTED, "it is encrypted")
        if not head.startswith(_MAGIC):
            return Failure(ErrorClass.UNSUPPORTED, f"it is no Parquet file but {describe(head)}")
        if end != _MAGIC:
            return Failure(
                ErrorClass.TRUNCATED, "it begins as Parquet does, and its end is missing"
            )
        return failure

    def _bytes(self, start: int, end: int) -> bytes:
        self._heard.seek(start)
        return self._heard.read(end - start) or b""
