"""Tables that somebody wrote (Parquet, CSV, JSONL) -> chunks of rows with the columns asked for.

Cells of CSV stay text: what looks like a number in one file may not in the next.
"""

from __future__ import annotations

import csv
import gzip
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import BinaryIO, cast

import pyarrow as pa
import pyarrow.csv as pa_csv

from ..errors import UsageError
from ..storage import Entry, Options
from .cells import plain
from .parquet_files import ParquetTable
from .places import path_of
from .slices import Ignored
from .store_file import open_at

Row = Mapping[str, object]

PARQUET_SUFFIXES = frozenset((".parquet", ".pq"))
CSV_SUFFIXES = frozenset((".csv", ".tsv"))
JSONL_SUFFIXES = frozenset((".jsonl", ".ndjson"))
TABLE_SUFFIXES = PARQUET_SUFFIXES | CSV_SUFFIXES | JSONL_SUFFIXES

_BROKEN = (
    pa.ArrowInvalid,
    pa.ArrowNotImplementedError,
    UnicodeDecodeError,
    gzip.BadGzipFile,
    zlib.error,
    EOFError,
)
_ROWS_A_CHUNK = 8192
_BLOCK_BYTES = 16 << 20  # of a CSV file; no row may be longer
_LONGEST_LINE = 64 << 20
_ROWS_FOR_NAMES = 100  # of JSONL, whose rows need not all have the same names


@dataclass(frozen=True, slots=True)
class Chunk:
    """Consecutive rows of a table."""

    first_row: int
    rows: Sequence[Row]
    ignored: Sequence[Ignored] = field(default=())


def table_suffix(uri: str) -> str | None:
    """What kind of table an address names, whether packed with gzip or not; None if it is none."""
    path = path_of(uri).lower()
    unpacked = path.removesuffix(".gz")
    for suffix in TABLE_SUFFIXES:
        if unpacked.endswith(suffix) and (path == unpacked or suffix not in PARQUET_SUFFIXES):
            return suffix
    return None


def column_names(entry: Entry, options: Options) -> list[str]:
    """Names of the columns of a table."""
    suffix = table_suffix(entry.name)
    with table_errors(entry.name):
        if suffix in PARQUET_SUFFIXES:
            return parquet_schema(entry, options).names
        if suffix in CSV_SUFFIXES:
            return _csv_names(entry, options)
        return _jsonl_names(entry, options)


def parquet_schema(entry: Entry, options: Options) -> pa.Schema:
    """Columns and types of a Parquet file."""
    return ParquetTable(entry, options).schema


def read_chunks(entry: Entry, columns: Sequence[str], options: Options) -> Iterator[Chunk]:
    """All rows of a table, these columns of them; what cannot be read stops the run."""
    suffix = table_suffix(entry.name)
    with table_errors(entry.name):
        if suffix in PARQUET_SUFFIXES:
            yield from _parquet_chunks(entry, columns, options)
        elif suffix in CSV_SUFFIXES:
            yield from _csv_chunks(entry, columns, options)
        else:
            yield from _jsonl_chunks(entry, columns, options)


def row_name(entry: Entry, row: int) -> str:
    """How messages speak of a row; rows count from 0, as in Parquet."""
    return f"{entry.name}: row {row}"


@contextmanager
def table_errors(uri: str) -> Iterator[None]:
    """What a table's own format refuses becomes a UsageError with its address."""
    try:
        yield
    except _BROKEN as error:
        raise UsageError(f"{uri}: the table cannot be read ({error}).") from error


def _parquet_chunks(entry: Entry, columns: Sequence[str], options: Options) -> Iterator[Chunk]:
    table, first = ParquetTable(entry, options), 0
    for group in table.groups:
        for batch in table.batches(group, columns, _ROWS_A_CHUNK):
            yield Chunk(first, batch.to_pylist())
            first += batch.num_rows


def _open_text(entry: Entry, options: Options) -> BinaryIO:
    file = open_at(entry, options)
    if path_of(entry.name).lower().endswith(".gz"):
        return cast("BinaryIO", gzip.GzipFile(fileobj=file))
    return file


# ---------------------------------------------------------------- CSV


def _csv_names(entry: Entry, options: Options) -> list[str]:
    with _open_text(entry, options) as file:
        line = file.readline(_BLOCK_BYTES).decode("utf-8-sig")
    names = next(csv.reader([line], delimiter=_delimiter(entry)), [])
    if len(set(names)) != len(names):
        raise UsageError(f"{entry.name}: two columns have the same name: {', '.join(names)}.")
    return names


def _delimiter(entry: Entry) -> str:
    return "\t" if table_suffix(entry.name) == ".tsv" else ","


def _csv_chunks(entry: Entry, columns: Sequence[str], options: Options) -> Iterator[Chunk]:
    names = _csv_names(entry, options)
    broken: list[Ignored] = []

    def skip(row: pa_csv.InvalidRow) -> str:
        detail = f"{row.actual_columns} cells instead of {row.expected_columns}"
        broken.append(Ignored(f"{entry.name}: {row.text[:80]}", "broken row", detail))
        return "skip"

    with _open_text(entry, options) as file:
        batches = pa_csv.open_csv(
            pa.PythonFile(file, "r"),
            pa_csv.ReadOptions(use_threads=False, block_size=_BLOCK_BYTES),
            pa_csv.ParseOptions(
                delimiter=_delimiter(entry), newlines_in_values=True, invalid_row_handler=skip
            ),
            pa_csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()), include_columns=list(columns)
            ),
        )
        first = 0
        for batch in batches:
            yield Chunk(first, batch.to_pylist(), tuple(broken))
            first += batch.num_rows
            broken.clear()
    if broken:
        yield Chunk(first, (), tuple(broken))


# ---------------------------------------------------------------- JSONL


def _jsonl_names(entry: Entry, options: Options) -> list[str]:
    names: dict[str, None] = {}
    for _, row in zip(range(_ROWS_FOR_NAMES), _jsonl_rows(entry, options), strict=False):
        if not isinstance(row, Ignored):
            names |= dict.fromkeys(row)
    return list(names)


def _jsonl_chunks(entry: Entry, columns: Sequence[str], options: Options) -> Iterator[Chunk]:
    rows: list[Row] = []
    ignored: list[Ignored] = []
    first = 0
    for row in _jsonl_rows(entry, options):
        if isinstance(row, Ignored):
            ignored.append(row)
        else:
            rows.append({name: row.get(name) for name in columns})
        if len(rows) + len(ignored) == _ROWS_A_CHUNK:
            yield Chunk(first, rows, ignored)
            first += len(rows)
            rows, ignored = [], []
    if rows or ignored:
        yield Chunk(first, rows, ignored)


def _jsonl_rows(entry: Entry, options: Options) -> Iterator[Row | Ignored]:
    with _open_text(entry, options) as file:
        number = 0
        while line := file.readline(_LONGEST_LINE):
            if text := line.strip():
                yield _jsonl_row(entry, number, text)
                number += 1


def _jsonl_row(entry: Entry, number: int, text: bytes) -> Row | Ignored:
    try:
        row = json.loads(text)
    except (ValueError, RecursionError) as error:
        return Ignored(row_name(entry, number), "broken row", f"no JSON: {error}")
    if not isinstance(row, dict):
        return Ignored(row_name(entry, number), "broken row", "no JSON object")
    return cast("Row", plain(row))
