"""What a user calls a source -> its readers, chosen by looking, and everything they find in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from typing import Literal, TypeGuard, get_args

import pyarrow as pa

from ..addresses import take_apart
from ..errors import BrokenTable, UsageError
from ..records import Kind, Unit
from ..storage import Entry, Options
from .files import FileReader, addressed
from .frames import FramesReader
from .lists import ListReader
from .parquet_rows import ParquetReader, bytes_columns, find_bytes_column
from .patterns import all_files
from .places import (
    absolute,
    address_in,
    base_name,
    is_animation,
    is_compressed_tar,
    is_hidden,
    is_web,
    media_kind,
    place_of,
    root_of,
    suffix_of,
)
from .prompts.matching import NamedPrompts, PromptJoin
from .prompts.prompt_source import PromptSource
from .slices import Ignored, Reader, ReaderName, Slice
from .tables import PARQUET_SUFFIXES, parquet_schema, table_suffix
from .tar_shards import SUFFIXES as TAR_SUFFIXES
from .tar_shards import TarReader

SourceKind = Literal["auto", "files", "frames", "tar", "list", "parquet"]
_KINDS: tuple[ReaderName, ...] = ("files", "frames", "tar", "list", "parquet")

_LOOKED_AT = 1000  # files of a folder, to tell what it holds
_HAVE_COLUMNS = ("list", "parquet")
_HAVE_FIELDS = ("list", "parquet", "tar")


@dataclass(frozen=True, slots=True)
class SourcePart:
    """Addresses that one reader reads together."""

    reader: ReaderName
    uris: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Source:
    """An archive as a user named it; can be sent to tasks."""

    parts: tuple[SourcePart, ...]
    readers: Mapping[ReaderName, Reader]
    prompts: PromptSource | None  # in a file of their own; those in columns are the readers'
    options: Options
    animations: Kind = "image"  # what a GIF is

    def slices(self) -> Iterator[Slice]:
        """Parts that can be listed side by side; cheap, for the driver."""
        for part in self.parts:
            yield from self.readers[part.reader].slices(part.uris, self.options)

    def units(self, piece: Slice) -> Iterator[Unit | Ignored]:
        """What is in one part; for a task. Prompts of a file come later, by `join`."""
        yield from self.of_its_kind(self.readers[piece.reader].units(piece, self.options))

    def of_its_kind(self, found: Iterable[Unit | Ignored]) -> Iterator[Unit | Ignored]:
        """The same, with animations as what they are taken for."""
        for item in found:
            yield replace(item, kind=self.animations) if _is_animated(item) else item

    def prompt_slices(self) -> Iterator[Slice]:
        """Parts of the file of prompts; none if there is no such file."""
        if self.prompts is not None:
            yield from self.prompts.slices(self.options)

    def named_prompts(self, piece: Slice) -> Iterator[NamedPrompts]:
        """What is in one part of the file of prompts; for a task."""
        assert self.prompts is not None
        yield from self.prompts.prompts(piece, self.options)

    def all_prompts(self) -> Iterator[NamedPrompts]:
        """The same of all parts in their order, which is the order of a unit's prompts."""
        for piece in self.prompt_slices():
            yield from self.named_prompts(piece)

    def join(self) -> PromptJoin:
        """What brings units and prompts of a file together, wherever both were read."""
        roots = [root_of(uri) for part in self.parts for uri in part.uris]
        return PromptJoin([*roots, *(place_of(root).folder for root in roots)])

    def all_units(self) -> Iterator[Unit | Ignored]:
        """Everything, one slice after the other, without prompts of a file; for small sources."""
        for piece in self.slices():
            yield from self.units(piece)


def open_source(
    uris: str | Sequence[str],
    options: Options | None = None,
    *,
    kind: SourceKind = "auto",
    keep: Sequence[str] = (),
    uri_column: str | None = None,
    bytes_column: str | None = None,
    prompts: PromptSource | None = None,
    animations: Kind = "image",
    ask_versions: bool = True,
) -> Source:
    """Choose readers for an archive, and say now whatever would fail in every task.

    `uri_column` names the files in a list, `bytes_column` holds them in a Parquet file, where their
    names leave a choice. `keep` are columns, or fields of a shard's JSON files, for Unit.user.
    `animations` says whether a GIF is a picture, its first, or a video.
    `ask_versions` of what a list names elsewhere, where it has no column for them.
    """
    known = options or {}
    if kind not in get_args(SourceKind):
        raise UsageError(f"kind={kind!r} is none of {', '.join(get_args(SourceKind))}.")
    listed = [absolute(uri) for uri in ([uris] if isinstance(uris, str) else uris)]
    if not listed:
        raise UsageError("There is no source: name a folder, a pattern, a shard or a list.")
    for uri in listed if prompts is None or prompts.uri is None else (*listed, prompts.uri):
        _refuse_secret(uri)
    parts = _parts(listed, kind, bytes_column, known)
    source = Source(
        parts=parts,
        readers=_readers(
            tuple(keep), uri_column, bytes_column, _of_columns(prompts), ask_versions=ask_versions
        ),
        prompts=prompts.resolved(known) if prompts and prompts.uri is not None else None,
        options=known,
        animations=animations,
    )
    _refuse_unread(parts, "list", "source.uri_column", uri_column)
    _refuse_unread(parts, "parquet", "source.bytes_column", bytes_column)
    for part in parts:
        _refuse_columns(part, keep, prompts)
        _check_first(source, part)
    return source


def _readers(
    keep: tuple[str, ...],
    uri_column: str | None,
    bytes_column: str | None,
    prompts: PromptSource | None,
    *,
    ask_versions: bool,
) -> dict[ReaderName, Reader]:
    return {
        "files": FileReader(),
        "frames": FramesReader(),
        "tar": TarReader(keep),
        "list": ListReader(keep, uri_column, prompts, ask_versions),
        "parquet": ParquetReader(keep, bytes_column, prompts),
    }


def _of_columns(prompts: PromptSource | None) -> PromptSource | None:
    return prompts if prompts is not None and prompts.uri is None else None


def _parts(
    uris: Sequence[str], kind: SourceKind, bytes_column: str | None, options: Options
) -> tuple[SourcePart, ...]:
    by_reader: dict[ReaderName, list[str]] = {}
    for uri in uris:
        if is_compressed_tar(uri):
            raise UsageError(
                f"{uri}: members of a compressed shard cannot be read one by one. Unpack it to "
                ".tar (pictures are compressed as it is) and name that."
            )
        reader = kind if kind != "auto" else _kind_of(uri, bytes_column, options)
        by_reader.setdefault(reader, []).append(uri)
    return tuple(SourcePart(reader, tuple(named)) for reader, named in by_reader.items())


def _kind_of(uri: str, bytes_column: str | None, options: Options) -> ReaderName:
    """What a source is, judged by the names in it; UsageError if these say several things."""
    seen: Counter[ReaderName] = Counter()
    tables: list[Entry] = []
    names = compressed = 0
    for store_uri, entry in islice(_names_of(uri, options), _LOOKED_AT):
        names += 1
        name = address_in(store_uri, entry.name)
        compressed += is_compressed_tar(name)
        if (found := _kind_by_name(name)) is not None:
            seen[found] += 1
            if found in _HAVE_COLUMNS:
                tables += addressed(Slice(found, store_uri, files=(entry,)), options)
    if seen["files"] and not seen["tar"]:
        return "files"  # tables beside pictures are their metadata
    if seen["tar"] and not seen["files"]:
        return "tar"
    if seen["files"]:
        raise _unclear(uri, f"holds both shards ({seen['tar']}) and loose media ({seen['files']})")
    if tables:
        return _kind_of_tables(tables, bytes_column, options)
    if is_web(uri):
        return "files"
    if not names:
        raise UsageError(f"{uri}: there is no such file or folder.")
    raise _unclear(uri, "holds compressed shards" if compressed else "holds no known media")


def _names_of(uri: str, options: Options) -> Iterator[tuple[str, Entry]]:
    if is_web(uri) and table_suffix(uri) is None and suffix_of(uri) not in TAR_SUFFIXES:
        return iter(())
    return all_files(uri, options)


def _kind_by_name(name: str) -> ReaderName | None:
    if is_hidden(name):
        return None
    if suffix_of(name) in TAR_SUFFIXES:
        return "tar"
    if table_suffix(name) is not None:
        return "parquet" if suffix_of(name) in PARQUET_SUFFIXES else "list"
    return "files" if media_kind(name) is not None else None


def _kind_of_tables(
    tables: Sequence[Entry], bytes_column: str | None, options: Options
) -> ReaderName:
    """What the first table is that can be read; BrokenTable if none can."""
    if table_suffix(tables[0].name) not in PARQUET_SUFFIXES:
        return "list"
    parquet = (one for one in tables if table_suffix(one.name) in PARQUET_SUFFIXES)
    readable = _first_readable(parquet, options)
    assert readable is not None
    return "parquet" if bytes_column is not None or bytes_columns(readable.schema) else "list"


def _unclear(uri: str, what: str) -> UsageError:
    return UsageError(
        f"{uri} {what}. If it is right, say what to read: source.kind=files (pictures and "
        "videos), frames (each folder is a clip), tar (WebDataset shards), list (CSV, Parquet or "
        "JSONL with addresses) or parquet (with the bytes)."
    )


def _refuse_secret(uri: str) -> None:
    """What names a source is kept with the output, and stands in lists of processes."""
    address = take_apart(uri)
    if address.secret is not None:
        raise UsageError(
            f"{address.public}: this address carries a secret ({address.secret}), and what names a "
            "source is kept with the output. Name the object itself (s3://, gs://, az://) and give "
            "the credentials in the environment or in storage; what a web server wants goes into "
            "storage.http.client_kwargs.headers, and its name into storage.http.hosts. Rows of a "
            "list may have signed addresses."
        )


def _refuse_unread(
    parts: Sequence[SourcePart], reader: ReaderName, setting: str, said: str | None
) -> None:
    """A column that no part has a use for was meant for another source."""
    kinds = [part.reader for part in parts]
    if said is not None and reader not in kinds:
        raise UsageError(
            f"{setting}={said} is of source.kind={reader}; this source is read as "
            f"{', '.join(kinds)}. Leave the setting out, or say source.kind={reader}."
        )


def _refuse_columns(part: SourcePart, keep: Sequence[str], prompts: PromptSource | None) -> None:
    where = ", ".join(part.uris)
    if keep and part.reader not in _HAVE_FIELDS:
        raise UsageError(
            f"{where}: {part.reader} have no columns to keep ({', '.join(keep)}). Write a list "
            "with their addresses and these columns."
        )
    if prompts is not None and prompts.uri is None:
        if part.reader not in _HAVE_COLUMNS:
            raise UsageError(
                f"{where}: {part.reader} have no columns of prompts; name a file of them."
            )
        prompts.resolved({})


def _check_first(source: Source, part: SourcePart) -> None:
    """Look at a part's first file: it must be there, and have the columns that are asked for."""
    reader = source.readers[part.reader]
    slices = reader.slices(part.uris, source.options)
    first = next(slices, None)
    if first is None or first.files == ():
        raise UsageError(f"{', '.join(part.uris)}: there is no such file or folder.")
    if isinstance(reader, ListReader):
        for table in _tables_in([first], source.options):
            reader.columns(table, source.options)
            break
    elif isinstance(reader, ParquetReader):
        tables = _tables_in(chain([first], slices), source.options)
        if (table := _first_readable(tables, source.options)) is not None:
            find_bytes_column(table.schema, table.entry.name, reader.bytes_column)
            reader.check(table.schema, table.entry)


@dataclass(frozen=True, slots=True, eq=False)
class _Readable:
    """A Parquet file with a sound footer."""

    entry: Entry
    schema: pa.Schema


def _first_readable(tables: Iterable[Entry], options: Options) -> _Readable | None:
    """The first table that can be read; None if there is none. BrokenTable if all are broken."""
    broken: BrokenTable | None = None
    for table in tables:
        found = _readable(table, options)
        if isinstance(found, _Readable):
            return found
        broken = broken or found
    if broken is not None:
        raise broken
    return None


def _readable(table: Entry, options: Options) -> _Readable | BrokenTable:
    try:
        return _Readable(table, parquet_schema(table, options))
    except BrokenTable as error:
        return error


def _tables_in(slices: Iterable[Slice], options: Options) -> Iterator[Entry]:
    for piece in slices:
        for file in addressed(piece, options) if piece.files else ():
            if table_suffix(file.name) and not is_hidden(base_name(file.name)):
                yield file


def _is_animated(item: Unit | Ignored) -> TypeGuard[Unit]:
    return (
        isinstance(item, Unit)
        and item.kind == "image"
        and is_animation(item.member or item.source_uri)
    )
