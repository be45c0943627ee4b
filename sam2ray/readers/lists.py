"""Tables that name media (CSV, Parquet, JSONL) -> one unit for each address, with all its rows.

Rows of one address may stand anywhere, in any file of the list. Large lists are read by several
tasks; each takes the addresses of its share, and keeps them in a Spill until all rows were seen.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from ..addresses import Address, last_to_end, take_apart
from ..errors import UsageError
from ..records import Kind, Unit, canonical_json
from ..storage import Entry, Options, local_path
from .cells import as_text
from .files import addressed
from .listing import entry_at
from .patterns import all_files
from .places import base_name, is_hidden, media_kind, place_of, reason_to_pass, resolve
from .prompts.columns import PromptColumns
from .prompts.fields import PromptFields, prompts_text
from .prompts.prompt_source import PromptSource
from .slices import HIDDEN, Ignored, Slice
from .spill import Spill, share_of
from .tables import Row, column_names, read_chunks, row_name, table_suffix
from .uri_columns import find_uri_column, require_columns

_BYTES_A_PART = 16 << 20  # of Parquet, a million boxes
_MOST_PARTS = 16  # every part reads the whole list
_KIND = "kind"
_WHOLE = "whole"
_VERSIONS = ("version", "etag")


@dataclass(frozen=True, slots=True)
class ListColumns:
    """Which columns of a list say what."""

    uri: str
    kind: str | None
    version: str | None
    keep: tuple[str, ...]
    prompts: PromptColumns | None

    @property
    def names(self) -> list[str]:
        """All columns that are needed, each once."""
        single = (self.uri, self.kind, self.version, *self.keep)
        prompts = self.prompts.names if self.prompts else ()
        return list(dict.fromkeys(name for name in (*single, *prompts) if name))


@dataclass(frozen=True, slots=True)
class ListReader:
    """Lists the addresses that tables name."""

    keep: tuple[str, ...] = ()
    uri_column: str | None = None
    prompts: PromptSource | None = None  # whose columns are those of the list

    def columns(self, entry: Entry, options: Options) -> ListColumns:
        """The columns of one table; UsageError if they are not clear."""
        names = column_names(entry, options)
        require_columns(self.keep, names, entry.name)
        return ListColumns(
            uri=find_uri_column(names, entry.name, self.uri_column),
            kind=_KIND if _KIND in names else None,
            version=next((name for name in _VERSIONS if name in names), None),
            keep=self.keep,
            prompts=self.prompts.own_columns(names, entry.name) if self.prompts else None,
        )

    def slices(self, uris: Sequence[str], options: Options) -> Iterator[Slice]:
        """Shares of the addresses of all lists together, as many as their size asks for."""
        files = []
        for uri in uris:
            for store_uri, entry in all_files(uri, options):
                files += addressed(Slice("list", store_uri, files=(entry,)), options)
        size = sum(entry.size for entry in files)
        parts = min(_MOST_PARTS, 1 + size // _BYTES_A_PART)
        for part in range(parts):
            yield Slice("list", "", files=tuple(files), part=part, parts=parts)

    def units(self, piece: Slice, options: Options) -> Iterator[Unit | Ignored]:
        """Units of one share, in order of first appearance as long as they fit into memory."""
        with Spill() as spill:
            for entry in piece.files or ():
                reason = _reason_to_ignore(entry.name)
                if reason is None:
                    yield from self._collect(entry, piece, spill, options)
                elif piece.part == 0:
                    yield Ignored(entry.name, reason)
            for share in spill.shares():
                for uri, mentions in share.items():
                    yield _unit_of(uri, mentions)

    def _collect(
        self, entry: Entry, piece: Slice, spill: Spill, options: Options
    ) -> Iterator[Ignored]:
        columns = self.columns(entry, options)
        folder = place_of(entry.name).folder
        for chunk in read_chunks(entry, columns.names, options):
            if piece.part == 0:
                yield from chunk.ignored
            for number, row in enumerate(chunk.rows, chunk.first_row):
                try:
                    address = take_apart(resolve(as_text(row.get(columns.uri)) or "", folder))
                except ValueError as error:
                    if piece.part == 0:
                        yield Ignored(row_name(entry, number), "no address", str(error))
                    continue
                if share_of(address.public, piece.parts) == piece.part:
                    mention = _mention(row, columns, row_name(entry, number))
                    spill.add(address.public, mention | _whole(address))


def _mention(row: Row, columns: ListColumns, place: str) -> dict[str, object]:
    """What one row says about its unit, as JSON can keep it."""
    kind = as_text(row.get(columns.kind)) if columns.kind else None
    if kind and kind not in get_args(Kind):
        raise UsageError(f"{place}: kind is one of {', '.join(get_args(Kind))}, not {kind!r}.")
    if not kind and columns.uri.startswith("video"):
        kind = "video"
    return {
        "kind": kind or None,
        "version": as_text(row.get(columns.version)) if columns.version else None,
        "user": {name: as_text(row.get(name)) for name in columns.keep},
        "prompts": columns.prompts.prompts_of(row, place) if columns.prompts else [],
    }


def _whole(address: Address) -> dict[str, object]:
    return {} if address.secret is None else {_WHOLE: address.whole}


def _unit_of(uri: str, mentions: Sequence[dict[str, Any]]) -> Unit:
    kinds = [mention["kind"] for mention in mentions if mention["kind"]]
    versions = [mention["version"] for mention in mentions if mention["version"]]
    prompts: list[PromptFields] = [one for mention in mentions for one in mention["prompts"]]
    known = _local_entry(uri)
    return Unit(
        source_uri=uri,
        kind=kinds[0] if kinds else media_kind(uri) or "image",  # the bytes will tell
        length=known.size if known else None,
        version=versions[0] if versions else known.version if known else "",
        prompts=prompts_text(prompts),
        user=joined_user([mention["user"] for mention in mentions]),
        whole_uri=last_to_end([mention[_WHOLE] for mention in mentions if _WHOLE in mention]),
    )


def joined_user(rows: Sequence[Mapping[str, str | None]]) -> dict[str, str]:
    """Kept columns of all rows of a unit: the value, or a JSON list of them where rows differ."""
    user = {}
    for name in rows[0]:
        values = list(dict.fromkeys(row[name] for row in rows if row[name] is not None))
        if values:
            user[name] = values[0] if len(values) == 1 else canonical_json(values)
    return {name: str(value) for name, value in user.items()}


def _local_entry(uri: str) -> Entry | None:
    """Size and version where asking costs nothing; elsewhere a list may have a column for it."""
    if local_path(uri) is None:
        return None
    try:
        return entry_at(uri, {})
    except OSError:  # missing, or a folder of frames: the fetch will say
        return None


def _reason_to_ignore(name: str) -> str | None:
    if is_hidden(base_name(name)):
        return HIDDEN
    return None if table_suffix(name) else reason_to_pass(name)
