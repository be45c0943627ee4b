"""Parquet files that hold the media themselves -> one unit for each row.

A file or a row that cannot be read is a unit as well, which fails; all others are read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.types as pt

from ..errors import BrokenTable, UsageError
from ..records import ErrorClass, Failure, Kind, Unit
from ..storage import Entry, Options
from .cells import as_text
from .files import addressed
from .parquet_files import ParquetTable
from .patterns import all_files
from .places import base_name, is_hidden, media_kind, reason_to_pass, suffix_of
from .prompts.columns import PromptColumns
from .prompts.fields import prompts_text
from .prompts.prompt_source import PromptSource
from .slices import HIDDEN, Ignored, Slice
from .tables import PARQUET_SUFFIXES, Row, row_name
from .uri_columns import require_columns

_PREFERRED = ("image", "bytes", "image_bytes", "video", "video_bytes")
_ROWS_A_BATCH = 8192
_NO_VALUES = (ValueError, OverflowError, NotImplementedError, pa.ArrowException)
_WAY_OUT = "put a sound file in its place and run the same command again"
_MEMBER = re.compile(r"row ([0-9]{1,18})(?: of (.+))?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class RowPlace:
    """Which cell of a Parquet file holds a unit's bytes."""

    row: int
    column: str | None  # None: the one that its type and name tell


@dataclass(frozen=True, slots=True)
class ParquetReader:
    """Lists the rows of Parquet files that have a column of pictures or videos."""

    keep: tuple[str, ...] = ()
    bytes_column: str | None = None
    prompts: PromptSource | None = None  # whose columns are those of the rows

    def slices(self, uris: Sequence[str], options: Options) -> Iterator[Slice]:
        """One for each file."""
        for uri in uris:
            for store_uri, entry in all_files(uri, options):
                yield Slice("parquet", store_uri, files=(entry,))

    def units(self, piece: Slice, options: Options) -> Iterator[Unit | Ignored]:
        """Rows of one file, in its order; what is kept of them is all that is read."""
        for entry in addressed(piece, options):
            if is_hidden(base_name(entry.name)):
                yield Ignored(entry.name, HIDDEN)
            elif suffix_of(entry.name) not in PARQUET_SUFFIXES:
                yield Ignored(entry.name, reason_to_pass(entry.name))
            else:
                yield from self._rows(entry, options)

    def _rows(self, entry: Entry, options: Options) -> Iterator[Unit]:
        try:
            table = ParquetTable(entry, options)
            column = find_bytes_column(table.schema, entry.name, self.bytes_column)
            prompts = self.check(table.schema, entry)
        except UsageError as error:  # the first file was looked at before: the others may be sound
            yield _unit_of_broken_file(entry, error)
            return
        kind: Kind = media_kind(f"a.{column}") or ("video" if "video" in column else "image")
        said = f" of {column}" if self.bytes_column else ""
        for found in self._numbered(table, prompts):
            place, row = row_name(entry, found.number), found.row
            if found.fault is not None:
                yield _unit_of_broken_rows(entry, found, found.fault, kind, said)
                continue
            user = {name: as_text(row.get(name)) for name in self.keep}
            yield Unit(
                source_uri=entry.name,
                kind=kind,
                member=f"row {found.number}{said}",
                offset=found.number,
                version=entry.version,
                prompts=prompts_text(prompts.prompts_of(row, place)) if prompts else None,
                user={name: text for name, text in user.items() if text is not None},
                row_group=found.group,
            )

    def check(self, schema: pa.Schema, entry: Entry) -> PromptColumns | None:
        """The columns of prompts, if they are asked for; UsageError if any column is missing."""
        require_columns(self.keep, schema.names, entry.name)
        return self.prompts.own_columns(schema.names, entry.name) if self.prompts else None

    def _numbered(self, table: ParquetTable, prompts: PromptColumns | None) -> Iterator[_Found]:
        """All rows, with what is asked for of them; where a page is broken, the next group."""
        columns = list(dict.fromkeys((*self.keep, *(prompts.names if prompts else ()))))
        for group in table.groups:
            number, end = table.starts[group : group + 2]
            if not columns:
                yield from (_Found(n, n + 1, group) for n in range(number, end))
                continue
            try:
                for batch in table.batches(group, columns, _ROWS_A_BATCH):
                    for row in _rows_of(batch):
                        is_broken = isinstance(row, Failure)
                        cells, fault = ({}, row) if is_broken else (row, None)
                        yield _Found(number, number + 1, group, cells, fault)
                        number += 1
            except BrokenTable as error:
                yield _Found(number, end, group, fault=error.failure)


@dataclass(frozen=True, slots=True)
class _Found:
    """A row, or why it and perhaps those behind it, up to `end`, cannot be read."""

    number: int
    end: int
    group: int
    row: Row = field(default_factory=dict)
    fault: Failure | None = None


def _rows_of(batch: pa.RecordBatch) -> Iterator[Row | Failure]:
    """Rows as Python has them; one by one where a cell has a value that Python cannot have."""
    try:
        rows = batch.to_pylist()
    except _NO_VALUES:
        if batch.num_rows > 1:
            for number in range(batch.num_rows):
                yield from _rows_of(batch.slice(number, 1))
            return
        words = f"a cell of {', '.join(batch.schema.names)} has no value that can be kept"
        rows = [Failure(ErrorClass.UNSUPPORTED, words)]
    yield from rows


def _unit_of_broken_file(entry: Entry, error: UsageError) -> Unit:
    """What stands for a file none of whose rows can be listed."""
    broken = isinstance(error, BrokenTable)
    found = error.failure.error_class if broken else ErrorClass.UNSUPPORTED
    return Unit(
        source_uri=entry.name,
        kind="image",
        length=entry.size,
        version=entry.version,
        fault=Failure(found, f"{str(error).rstrip('.')}; {_WAY_OUT}").text,
    )


def _unit_of_broken_rows(
    entry: Entry, found: _Found, fault: Failure, kind: Kind, said: str
) -> Unit:
    """What stands for a row, or for all rows from one on to the end of their group."""
    last = found.end - 1
    rows = f"row {last}" if found.number == last else f"rows {found.number} to {last}"
    words = f"{entry.name}, {rows}: {fault.message}; {_WAY_OUT}"
    return Unit(
        source_uri=entry.name,
        kind=kind,
        member=f"{rows}{said}",
        offset=found.number,
        version=entry.version,
        row_group=found.group,
        fault=Failure(fault.error_class, words).text,
    )


def find_bytes_column(schema: pa.Schema, place: str, said: str | None = None) -> str:
    """The column that holds the media; UsageError if none does, or it is not clear which."""
    if said is not None:
        require_columns([said], schema.names, place)
        if not holds_bytes(schema.field(said).type):
            raise UsageError(f"{place}: {said} holds {schema.field(said).type}, and not bytes.")
        return said
    found = bytes_columns(schema)
    clear = [name for name in _PREFERRED if name in found] or found
    if len(clear) == 1:
        return clear[0]
    if clear:
        raise UsageError(
            f"{place}: {', '.join(clear)} all hold bytes. Say which are the "
            "pictures: source.bytes_column=NAME."
        )
    raise UsageError(f"{place} has no column of bytes. It has: {', '.join(schema.names)}.")


def bytes_columns(schema: pa.Schema) -> list[str]:
    """All columns of bytes, and of structs with a field `bytes` as Hugging Face writes them."""
    return [field.name for field in schema if holds_bytes(field.type)]


def holds_bytes(type_: pa.DataType) -> bool:
    """Whether cells of a type are bytes, or a struct with a field for them."""
    if pt.is_struct(type_):
        place = type_.get_field_index("bytes")
        return place >= 0 and _is_binary(type_.field(place).type)
    return _is_binary(type_)


def row_place(member: str) -> RowPlace:
    """Read back what `member` of a unit says; ValueError if it names no row."""
    found = _MEMBER.fullmatch(member)
    if found is None:
        raise ValueError(f"{member!r} names no row of a table")
    return RowPlace(int(found[1]), found[2])


def _is_binary(type_: pa.DataType) -> bool:
    checks = (pt.is_binary, pt.is_large_binary, pt.is_fixed_size_binary, pt.is_binary_view)
    return any(check(type_) for check in checks)
