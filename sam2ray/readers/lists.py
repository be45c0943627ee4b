"""Tables that name media (CSV, Parquet, JSONL) -> one unit for each address, with all its rows.

Rows of one address may stand anywhere, in any file of the list. A list is read once: here its rows
wait in a Spill until all were seen; those of a large one are dealt out to tasks (see dealt_lists).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from ..addresses import Address, last_to_end, take_apart
from ..errors import UsageError
from ..records import SAID, Kind, Unit, canonical_json
from ..storage import Entry, Options, local_path
from .cells import as_text
from .files import addressed
from .patterns import all_files
from .places import (
    base_name,
    is_hidden,
    media_kind,
    place_of,
    reason_to_pass,
    require_bucket,
    resolve,
)
from .prompts.columns import PROMPT_NAMES, PromptColumns
from .prompts.fields import PromptFields, prompts_text
from .prompts.prompt_source import PromptSource
from .slices import HIDDEN, Ignored, Slice
from .spill import Spill
from .tables import Chunk, Row, column_names, late_names, read_chunks, row_name, table_suffix
from .uri_columns import find_uri_column, require_columns
from .versions import Versions

_KIND = "kind"
WHOLE = "whole"
_VERSIONS = ("version", "etag")


@dataclass(frozen=True, slots=True)
class ListColumns:
    """Which columns of a list say what."""

    uri: str
    kind: str | None
    version: str | None
    keep: tuple[str, ...]
    prompts: PromptColumns | None
    ask_versions: bool = True  # of what lies elsewhere, where there is no column for them
    late: frozenset[str] = frozenset()  # names that a later row may not bring

    @property
    def names(self) -> list[str]:
        """All columns that are needed, each once."""
        single = (self.uri, self.kind, self.version, *self.keep)
        prompts = self.prompts.names if self.prompts else ()
        return list(dict.fromkeys(name for name in (*single, *prompts) if name))


@dataclass(frozen=True, slots=True)
class Mention:
    """What one row says of its address, as JSON can keep it."""

    uri: str
    said: dict[str, Any]


@dataclass(frozen=True, slots=True)
class ListReader:
    """Lists the addresses that tables name."""

    keep: tuple[str, ...] = ()
    uri_column: str | None = None
    prompts: PromptSource | None = None  # whose columns are those of the list
    ask_versions: bool = True

    def columns(self, entry: Entry, options: Options) -> ListColumns:
        """The columns of one table; UsageError if they are not clear."""
        names = column_names(entry, options)
        require_columns(self.keep, names, entry.name)
        meant = PROMPT_NAMES.union((_KIND, *_VERSIONS)) if self.prompts else (_KIND, *_VERSIONS)
        return ListColumns(
            uri=find_uri_column(names, entry.name, self.uri_column),
            kind=_KIND if _KIND in names else None,
            version=next((name for name in _VERSIONS if name in names), None),
            keep=self.keep,
            prompts=self.prompts.own_columns(names, entry.name) if self.prompts else None,
            ask_versions=self.ask_versions,
            late=late_names(entry, names, meant),
        )

    def slices(self, uris: Sequence[str], options: Options) -> Iterator[Slice]:
        """All lists together: rows of one address may stand in any of them."""
        files = []
        for uri in uris:
            for store_uri, entry in all_files(uri, options):
                files += addressed(Slice("list", store_uri, files=(entry,)), options)
        yield Slice("list", "", files=tuple(files))

    def units(self, piece: Slice, options: Options) -> Iterator[Unit | Ignored]:
        """Units of all lists, in order of first appearance as long as they fit into memory."""
        versions = Versions(options)
        with Spill() as spill:
            for entry in piece.files or ():
                reason = reason_to_ignore(entry.name)
                if reason is not None:
                    yield Ignored(entry.name, reason)
                    continue
                columns = self.columns(entry, options)
                for chunk in read_chunks(entry, columns.names, options, columns.late):
                    for item in mentions_of(chunk, entry, columns, versions):
                        if isinstance(item, Ignored):
                            yield item
                        else:
                            spill.add(item.uri, item.said)
            for share in spill.shares():
                for uri, said in share.items():
                    yield unit_of(uri, said)


def mentions_of(
    chunk: Chunk, entry: Entry, columns: ListColumns, versions: Versions
) -> Iterator[Mention | Ignored]:
    """What the rows of a table say, and which of them say nothing.

    Versions that no column has are asked for, of all addresses of a chunk together.
    """
    found = list(_read(chunk, entry, columns))
    mentions = [item for item in found if isinstance(item, Mention)]
    wanted = [one for one in mentions if _needs_asking(one, columns)]
    asked = versions.of({one.uri: one.said.get(WHOLE) or one.uri for one in wanted})
    for mention in mentions:
        known = asked.get(mention.uri)
        if known is not None:
            mention.said["length"] = known.size or None
            mention.said["seen"] = known.version
    yield from found


def _needs_asking(mention: Mention, columns: ListColumns) -> bool:
    if local_path(mention.uri) is not None:
        return True  # it costs nothing
    return (
        columns.ask_versions
        and mention.said["version"] is None
        and mention.said["kind"] != "frames"
    )


def _read(chunk: Chunk, entry: Entry, columns: ListColumns) -> Iterator[Mention | Ignored]:
    yield from chunk.ignored
    folder = place_of(entry.name).folder
    for number, row in enumerate(chunk.rows, chunk.first_row):
        place = row_name(entry, number)
        try:
            address = take_apart(resolve(as_text(row.get(columns.uri)) or "", folder))
            require_bucket(address.public)
        except ValueError as error:
            yield Ignored(place, "no address", str(error))
            continue
        yield Mention(address.public, _mention(row, columns, place) | _whole(address))


def _mention(row: Row, columns: ListColumns, place: str) -> dict[str, object]:
    kind = as_text(row.get(columns.kind)) if columns.kind else None
    if kind and kind not in get_args(Kind):
        raise UsageError(f"{place}: kind is one of {', '.join(get_args(Kind))}, not {kind!r}.")
    if not kind and columns.uri.startswith("video"):
        kind = "video"
    return {
        "kind": kind or None,
        "length": None,
        "seen": None,
        "version": (as_text(row.get(columns.version)) if columns.version else None) or None,
        "user": {name: as_text(row.get(name)) for name in columns.keep},
        "prompts": columns.prompts.prompts_of(row, place) if columns.prompts else [],
    }


def _whole(address: Address) -> dict[str, object]:
    return {} if address.secret is None else {WHOLE: address.whole}


def unit_of(uri: str, mentions: Sequence[dict[str, Any]]) -> Unit:
    """The unit that all rows of an address speak of, in their order."""
    kinds = [mention["kind"] for mention in mentions if mention["kind"]]
    said = [SAID + mention["version"] for mention in mentions if mention["version"]]
    seen = [mention["seen"] for mention in mentions if mention["seen"]]
    prompts: list[PromptFields] = [one for mention in mentions for one in mention["prompts"]]
    lengths = [mention["length"] for mention in mentions if mention["length"] is not None]
    return Unit(
        source_uri=uri,
        kind=kinds[0] if kinds else media_kind(uri) or "image",  # the bytes will tell
        length=lengths[0] if lengths else None,
        version=next(iter((*said, *seen)), ""),
        prompts=prompts_text(prompts),
        user=joined_user([mention["user"] for mention in mentions]),
        whole_uri=last_to_end([mention[WHOLE] for mention in mentions if WHOLE in mention]),
    )


def joined_user(rows: Sequence[Mapping[str, str | None]]) -> dict[str, str]:
    """Kept columns of all rows of a unit: the value, or a JSON list of them where rows differ."""
    user = {}
    for name in rows[0]:
        values = list(dict.fromkeys(row[name] for row in rows if row[name] is not None))
        if values:
            user[name] = values[0] if len(values) == 1 else canonical_json(values)
    return {name: str(value) for name, value in user.items()}


def reason_to_ignore(name: str) -> str | None:
    """Why a file beside lists is none; None if it is one."""
    if is_hidden(base_name(name)):
        return HIDDEN
    return None if table_suffix(name) else reason_to_pass(name)
