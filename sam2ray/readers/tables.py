"""Tables that somebody wrote (Parquet, CSV, JSONL) -> chunks of rows with the columns asked for.

Cells of CSV stay text: what looks like a number in one file may not in the next. A large table is
read once, from one end to the other, into blocks that cost little to find; making rows of them is
most of the work, and may be done elsewhere.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
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
_CSV_BYTES = 16 << 20  # that are read at a time; no row may be longer
_BLOCK_BYTES = 32 << 20
_LONGEST_LINE = 64 << 20
_ROWS_FOR_NAMES = 100  # of JSONL, whose rows need not all have the same names


@dataclass(frozen=True, slots=True)
class Chunk:
    """Consecutive rows of a table."""

    first_row: int
    rows: Sequence[Row]
    ignored: Sequence[Ignored] = field(default=())


@dataclass(frozen=True, slots=True)
class Block:
    """A part of a table that a task makes rows of."""

    first_row: int
    content: bytes  # of CSV an Arrow stream, of JSONL whole lines, of Parquet nothing
    group: int = 0  # of Parquet: its row group, which the task reads itself
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


def late_names(entry: Entry, names: Sequence[str], meant: Collection[str]) -> frozenset[str]:
    """Names with a meaning that a table may still bring: of JSONL only the first rows are known."""
    return frozenset(meant).difference(names) if _is_jsonl(entry) else frozenset()


def read_chunks(
    entry: Entry, columns: Sequence[str], options: Options, late: frozenset[str] = frozenset()
) -> Iterator[Chunk]:
    """All rows of a table, these columns of them; what cannot be read stops the run.

    So does a row with one of the names that came too `late` to be among the columns.
    """
    suffix = table_suffix(entry.name)
    with table_errors(entry.name):
        if suffix in PARQUET_SUFFIXES:
            yield from _parquet_chunks(entry, columns, options)
        elif suffix in CSV_SUFFIXES:
            yield from _csv_chunks(entry, columns, options)
        else:
            yield from _jsonl_chunks(entry, columns, options, late)


def read_blocks(entry: Entry, columns: Sequence[str], options: Options) -> Iterator[Block]:
    """A whole table in blocks, which together are its rows in their order."""
    suffix = table_suffix(entry.name)
    with table_errors(entry.name):
        if suffix in PARQUET_SUFFIXES:
            yield from _parquet_blocks(entry, options)
        elif suffix in CSV_SUFFIXES:
            yield from _csv_blocks(entry, columns, options)
        else:
            yield from _jsonl_blocks(entry, options)


def chunks_of(
    block: Block,
    entry: Entry,
    columns: Sequence[str],
    options: Options,
    late: frozenset[str] = frozenset(),
) -> Iterator[Chunk]:
    """The rows of a block, as `read_chunks` has those of a table."""
    suffix = table_suffix(entry.name)
    with table_errors(entry.name):
        if suffix in PARQUET_SUFFIXES:
            yield from _parquet_chunks(entry, columns, options, block)
        elif suffix in CSV_SUFFIXES:
            batches = pa.ipc.open_stream(block.content)
            yield from _chunks_of_batches(batches, block.first_row, list(block.ignored))
        else:
            lines = io.BytesIO(block.content)
            yield from _chunks_of_lines(entry, lines, columns, block.first_row, late)


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


def _parquet_chunks(
    entry: Entry, columns: Sequence[str], options: Options, block: Block | None = None
) -> Iterator[Chunk]:
    table = ParquetTable(entry, options)
    for group in table.groups if block is None else [block.group]:
        batches = table.batches(group, columns, _ROWS_A_CHUNK)
        yield from _chunks_of_batches(batches, table.starts[group], [])


def _parquet_blocks(entry: Entry, options: Options) -> Iterator[Block]:
    table = ParquetTable(entry, options)
    yield from (Block(table.starts[group], b"", group) for group in table.groups)


def _chunks_of_batches(
    batches: Iterable[pa.RecordBatch], first: int, broken: list[Ignored]
) -> Iterator[Chunk]:
    """Rows of batches; what is found `broken` on the way goes with the next chunk."""
    for batch in batches:
        for start in range(0, batch.num_rows, _ROWS_A_CHUNK):
            rows = batch.slice(start, _ROWS_A_CHUNK).to_pylist()
            yield Chunk(first, rows, tuple(broken))
            broken.clear()
            first += len(rows)
    if broken:
        yield Chunk(first, (), tuple(broken))


def _open_text(entry: Entry, options: Options) -> BinaryIO:
    file = open_at(entry, options)
    if path_of(entry.name).lower().endswith(".gz"):
        return cast("BinaryIO", gzip.GzipFile(fileobj=file))
    return file


# ---------------------------------------------------------------- CSV


def _csv_names(entry: Entry, options: Options) -> list[str]:
    with _open_text(entry, options) as file:
        line = file.readline(_CSV_BYTES).decode("utf-8-sig")
    names = next(csv.reader([line], delimiter=_delimiter(entry)), [])
    if len(set(names)) != len(names):
        raise UsageError(f"{entry.name}: two columns have the same name: {', '.join(names)}.")
    return names


def _delimiter(entry: Entry) -> str:
    return "\t" if table_suffix(entry.name) == ".tsv" else ","


def _csv_chunks(entry: Entry, columns: Sequence[str], options: Options) -> Iterator[Chunk]:
    broken: list[Ignored] = []
    batches = _csv_batches(entry, columns, options, broken)
    yield from _chunks_of_batches(batches, 0, broken)


def _csv_blocks(entry: Entry, columns: Sequence[str], options: Options) -> Iterator[Block]:
    broken: list[Ignored] = []
    held: list[pa.RecordBatch] = []
    first = 0

    def block() -> Block:
        made = Block(first, _arrow_stream(held), ignored=tuple(broken))
        broken.clear()
        return made

    for batch in _csv_batches(entry, columns, options, broken):
        held.append(batch)
        if sum(one.nbytes for one in held) >= _BLOCK_BYTES:
            yield block()
            first += sum(one.num_rows for one in held)
            held.clear()
    if held or broken:
        yield block()


def _arrow_stream(batches: Sequence[pa.RecordBatch]) -> bytes:
    buffer = pa.BufferOutputStream()
    schema = batches[0].schema if batches else pa.schema([])
    with pa.ipc.new_stream(buffer, schema) as stream:
        for batch in batches:
            stream.write_batch(batch)
    return buffer.getvalue().to_pybytes()


def _csv_batches(
    entry: Entry, columns: Sequence[str], options: Options, broken: list[Ignored]
) -> Iterator[pa.RecordBatch]:
    """Rows as Arrow has read them; those with too many or too few cells are added to `broken`."""
    names = _csv_names(entry, options)

    def skip(row: pa_csv.InvalidRow) -> str:
        detail = f"{row.actual_columns} cells instead of {row.expected_columns}"
        broken.append(Ignored(f"{entry.name}: {row.text[:80]}", "broken row", detail))
        return "skip"

    with _open_text(entry, options) as file:
        yield from pa_csv.open_csv(
            pa.PythonFile(file, "r"),
            pa_csv.ReadOptions(use_threads=False, block_size=_CSV_BYTES),
            pa_csv.ParseOptions(
                delimiter=_delimiter(entry), newlines_in_values=True, invalid_row_handler=skip
            ),
            pa_csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()), include_columns=list(columns)
            ),
        )


# ---------------------------------------------------------------- JSONL


def _jsonl_names(entry: Entry, options: Options) -> list[str]:
    names: dict[str, None] = {}
    for _, row in zip(range(_ROWS_FOR_NAMES), _jsonl_rows(entry, options), strict=False):
        if not isinstance(row, Ignored):
            names |= dict.fromkeys(row)
    return list(names)


def _is_jsonl(entry: Entry) -> bool:
    return table_suffix(entry.name) in JSONL_SUFFIXES


def _jsonl_chunks(
    entry: Entry, columns: Sequence[str], options: Options, late: frozenset[str]
) -> Iterator[Chunk]:
    with _open_text(entry, options) as file:
        yield from _chunks_of_lines(entry, file, columns, 0, late)


def _chunks_of_lines(
    entry: Entry, lines: BinaryIO, columns: Sequence[str], first: int, late: frozenset[str]
) -> Iterator[Chunk]:
    rows: list[Row] = []
    ignored: list[Ignored] = []
    for number, row in enumerate(_rows_of_lines(entry, lines, first), first):
        if isinstance(row, Ignored):
            ignored.append(row)
        else:
            if not late.isdisjoint(row):
                _refuse_late(entry, number, late.intersection(row), row)
            rows.append({name: row.get(name) for name in columns})
        if len(rows) + len(ignored) == _ROWS_A_CHUNK:
            yield Chunk(first, rows, ignored)
            first += len(rows)
            rows, ignored = [], []
    if rows or ignored:
        yield Chunk(first, rows, ignored)


def _refuse_late(entry: Entry, number: int, names: Collection[str], row: Row) -> None:
    said = sorted(name for name in names if row[name] is not None)
    if said:
        raise UsageError(
            f"{row_name(entry, number)} has `{said[0]}`, which none of the first {_ROWS_FOR_NAMES} "
            f"rows has: the columns of a table are those of its first rows. Give an early row "
            f'"{said[0]}": null, or sort the table.'
        )


def _jsonl_blocks(entry: Entry, options: Options) -> Iterator[Block]:
    first = 0
    with _open_text(entry, options) as file:
        while content := file.read(_BLOCK_BYTES):
            content += file.readline(_LONGEST_LINE)  # up to the end of its last line
            yield Block(first, content)
            first += sum(1 for _ in _filled(io.BytesIO(content)))


def _jsonl_rows(entry: Entry, options: Options) -> Iterator[Row | Ignored]:
    with _open_text(entry, options) as file:
        yield from _rows_of_lines(entry, file, 0)


def _rows_of_lines(entry: Entry, lines: BinaryIO, first: int) -> Iterator[Row | Ignored]:
    for number, text in enumerate(_filled(lines), first):
        yield _jsonl_row(entry, number, text)


def _filled(lines: BinaryIO) -> Iterator[bytes]:
    """Lines that are not empty."""
    while line := lines.readline(_LONGEST_LINE):
        if text := line.strip():
            yield text


def _jsonl_row(entry: Entry, number: int, text: bytes) -> Row | Ignored:
    try:
        row = json.loads(text)
    except (ValueError, RecursionError) as error:
        return Ignored(row_name(entry, number), "broken row", f"no JSON: {error}")
    if not isinstance(row, dict):
        return Ignored(row_name(entry, number), "broken row", "no JSON object")
    return cast("Row", plain(row))
