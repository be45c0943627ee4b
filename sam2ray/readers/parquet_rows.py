"""Parquet files that hold the media themselves -> one unit for each row."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.types as pt

from ..errors import UsageError
from ..records import Kind, Unit
from ..storage import Entry, Options
from .cells import as_text
from .files import addressed
from .patterns import all_files
from .places import base_name, is_hidden, media_kind, reason_to_pass, suffix_of
from .prompts.columns import PromptColumns
from .prompts.fields import prompts_text
from .prompts.prompt_source import PromptSource
from .slices import HIDDEN, Ignored, Slice
from .store_file import open_at
from .tables import PARQUET_SUFFIXES, Row, parquet_schema, read_chunks, row_name, table_errors
from .uri_columns import require_columns

_PREFERRED = ("image", "bytes", "image_bytes", "video", "video_bytes")
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
        schema = parquet_schema(entry, options)
        column = find_bytes_column(schema, entry.name, self.bytes_column)
        prompts = self.check(schema, entry)
        kind: Kind = media_kind(f"a.{column}") or ("video" if "video" in column else "image")
        said = f" of {column}" if self.bytes_column else ""
        for number, group, row in self._numbered(entry, prompts, options):
            place = row_name(entry, number)
            user = {name: as_text(row.get(name)) for name in self.keep}
            yield Unit(
                source_uri=entry.name,
                kind=kind,
                member=f"row {number}{said}",
                offset=number,
                version=entry.version,
                prompts=prompts_text(prompts.prompts_of(row, place)) if prompts else None,
                user={name: text for name, text in user.items() if text is not None},
                row_group=group,
            )

    def check(self, schema: pa.Schema, entry: Entry) -> PromptColumns | None:
        """The columns of prompts, if they are asked for; UsageError if any column is missing."""
        require_columns(self.keep, schema.names, entry.name)
        return self.prompts.own_columns(schema.names, entry.name) if self.prompts else None

    def _numbered(
        self, entry: Entry, prompts: PromptColumns | None, options: Options
    ) -> Iterator[tuple[int, int, Row]]:
        """Rows with their numbers and those of their row groups."""
        with table_errors(entry.name), open_at(entry, options, 64 << 10) as file:
            facts = pq.ParquetFile(file).metadata
        ends = list(accumulate(facts.row_group(n).num_rows for n in range(facts.num_row_groups)))
        columns = list(dict.fromkeys((*self.keep, *(prompts.names if prompts else ()))))
        if not columns:
            yield from ((n, bisect_right(ends, n), {}) for n in range(facts.num_rows))
            return
        for chunk in read_chunks(entry, columns, options):
            for number, row in enumerate(chunk.rows, chunk.first_row):
                yield number, bisect_right(ends, number), row


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
