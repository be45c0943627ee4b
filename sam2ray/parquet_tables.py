"""Parquet tables out of open files, read by the thread that asks for them.

Arrow's own threads drop a Python file some time after they have read it. Where the interpreter ends
at that moment the process is aborted, however well all went: a small program that reads a table
and ends did so in one of five runs.
"""

from __future__ import annotations

import atexit
import time
from collections.abc import Sequence
from functools import cache
from typing import BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

_PATIENCE_S = 0.05


def read_table(file: BinaryIO, columns: Sequence[str] | None = None) -> pa.Table:
    """All of a file, or some columns of it.

    Arrow's function of this name uses threads even where it is told not to.
    """
    with _opened(file) as parquet:
        return parquet.read(None if columns is None else [*columns], use_threads=False)


def read_between(
    file: BinaryIO, key: str, low: str, high: str | None, columns: Sequence[str] | None = None
) -> pa.Table:
    """Rows whose key is in low <= key < high; groups of rows that have none are passed over."""
    with _opened(file) as parquet:
        names = parquet.schema_arrow.names
        wanted = names if columns is None else [*columns]
        place = names.index(key)
        groups = [
            number
            for number in range(parquet.num_row_groups)
            if _may_have(parquet.metadata.row_group(number).column(place).statistics, low, high)
        ]
        read = list(dict.fromkeys([*wanted, key]))
        table = parquet.read_row_groups(groups, read, use_threads=False)
    inside = pc.field(key) >= low
    if high is not None:
        inside &= pc.field(key) < high
    return table.filter(inside).select(wanted)


def _may_have(found: pq.Statistics | None, low: str, high: str | None) -> bool:
    if found is None or not found.has_min_max:
        return True
    return found.max >= low and (high is None or found.min < high)


def _opened(file: BinaryIO) -> pq.ParquetFile:
    return pq.ParquetFile(file, pre_buffer=False)  # which threads of Arrow's would do


@cache
def let_readers_end() -> None:
    """Have this process wait a moment when it ends, as datasets of stores are read by threads."""
    atexit.register(time.sleep, _PATIENCE_S)
