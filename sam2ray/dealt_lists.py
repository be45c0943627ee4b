"""A large list -> sorted runs of its units: its rows are read once, and dealt out to tasks.

One process reads each file from end to end, as CSV and gzip cannot be read from the middle, and
tasks make of its blocks what the rows say, sorted by address. Other tasks then take a range of
addresses each, from all that was written, and join what is said of the same one. Between the two
all lies in the output's store, so that memory follows the size of a block and of a range; what is
secret of an address does not lie there, and of several that are signed the one read last counts.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from operator import itemgetter

import pyarrow as pa

from .addresses import last_to_end, public_text
from .cluster import ensure_ray
from .errors import Sam2RayError
from .manifest import RUNS, UNITS_PER_BUCKET, Listed, ListingPlace, Passed, encoded, read_range
from .readers.lists import (
    WHOLE,
    ListColumns,
    ListReader,
    Mention,
    mentions_of,
    reason_to_ignore,
    unit_of,
)
from .readers.slices import Ignored, Slice
from .readers.sources import Source
from .readers.tables import Block, chunks_of, read_blocks
from .readers.versions import Versions
from .records import Unit, canonical_json
from .side_by_side import Answer, answers, in_a_task, one_a_task, pickled_error, side_by_side
from .storage import Entry

_READERS = 4  # files at a time
_BYTES_A_RANGE = 64 << 20  # of what rows say, which is held in memory some times over
_BLOCK_OF_RAY = 1 << 20  # at least: Ray would collect several blocks of a table for one task

_DEALT = pa.schema([("source_key", pa.string()), ("uri", pa.string()), ("said", pa.large_string())])


@dataclass(frozen=True, slots=True)
class Dealt:
    """What was written of the rows of a block, or of all."""

    rows: int = 0
    bytes: int = 0
    files: tuple[str, ...] = ()
    beside: Listed = Listed()  # noqa: RUF009 frozen

    def __add__(self, other: Dealt) -> Dealt:
        return Dealt(
            self.rows + other.rows,
            self.bytes + other.bytes,
            (*self.files, *other.files),
            self.beside + other.beside,
        )

    @property
    def ranges(self) -> int:
        """Into how many ranges of addresses it is cut."""
        return 1 + max(self.rows // UNITS_PER_BUCKET, self.bytes // _BYTES_A_RANGE)


@dataclass(frozen=True, slots=True)
class _Part:
    """A block of a table, and its number in it."""

    file: int
    number: int
    block: Block


@dataclass(frozen=True, slots=True)
class DealtList:
    """A large list, and where what becomes of it is written."""

    source: Source
    tables: tuple[Entry, ...]
    place: ListingPlace

    def deal(self) -> Iterator[Answer[Dealt]]:
        """Read all rows, and write what they say, block by block."""
        ensure_ray()
        rows = [{"file": number} for number in range(len(self.tables))]
        files = one_a_task(rows)
        files.context.target_max_block_size = _BLOCK_OF_RAY
        # Readers wait until their blocks are taken: if they held the CPUs, nobody could take any.
        blocks = files.map_batches(
            partial(_read, dealing=self),
            batch_size=1,
            batch_format="pyarrow",
            num_cpus=0,
            concurrency=min(_READERS, len(rows)),
        )
        yield from answers(blocks.map(in_a_task(self._deal_out)))

    def join(self, dealt: Dealt, first_run: int) -> Iterator[Answer[Listed]]:
        """Bring together what all rows say of the same address, and write it in sorted runs."""
        files = tuple(sorted(dealt.files))  # in the order of the list
        work = partial(self._join, files, dealt.ranges, first_run)
        yield from side_by_side(work, range(dealt.ranges))

    def columns_of(self, file: int) -> ListColumns:
        """Which columns of a table say what."""
        reader = self.source.readers["list"]
        assert isinstance(reader, ListReader)
        return reader.columns(self.tables[file], self.source.options)

    def _deal_out(self, part: _Part | Exception) -> Dealt:
        if isinstance(part, Exception):  # of whoever reads
            raise part
        entry, columns, passed = self.tables[part.file], self.columns_of(part.file), Passed()
        mentions, versions = [], Versions(self.source.options)
        options = self.source.options
        for chunk in chunks_of(part.block, entry, columns.names, options, columns.late):
            mentions += passed.without(mentions_of(chunk, entry, columns, versions))
        self.place.keep_whole(_with_secrets(mentions))
        table = _table_of(mentions)
        name = f"{RUNS}/{self.place.index_id}/dealt-{part.file:05}-{part.number:06}.parquet"
        self.place.store.put(name, encoded(table.sort_by("source_key")))
        return Dealt(len(table), table["said"].nbytes, (name,), passed.as_listed())

    def _join(self, files: tuple[str, ...], ranges: int, first_run: int, number: int) -> Listed:
        units = self.source.of_its_kind(self._units(files, ranges, number))
        return self.place.write(first_run + number, units)

    def _units(self, files: tuple[str, ...], ranges: int, number: int) -> Iterator[Unit]:
        tables = [read_range(self.place.store, name, number, ranges) for name in files]
        table = pa.concat_tables(tables).sort_by("source_key")  # stable: rows keep their order
        rows = (row for batch in table.to_batches(8192) for row in batch.to_pylist())
        for uri, same in groupby(rows, itemgetter("uri")):
            yield unit_of(uri, [json.loads(row["said"]) for row in same])


def dealt_list(source: Source, piece: Slice, place: ListingPlace) -> DealtList:
    """A slice of lists, without the files beside them."""
    tables = tuple(e for e in piece.files or () if reason_to_ignore(e.name) is None)
    return DealtList(source, tables, place)


def beside_lists(piece: Slice) -> Listed:
    """The files of a slice that are no lists."""
    reasons = ((entry.name, reason_to_ignore(entry.name)) for entry in piece.files or ())
    passed = Passed()
    list(passed.without(Ignored(name, reason) for name, reason in reasons if reason is not None))
    return passed.as_listed()


def _read(batch: pa.Table, dealing: DealtList) -> Iterator[pa.Table]:
    """The blocks of a table, or the error that ended it, for `in_a_task`."""
    (file,) = batch["file"].to_pylist()
    entry, options = dealing.tables[file], dealing.source.options
    try:
        blocks = read_blocks(entry, dealing.columns_of(file).names, options)
        for number, block in enumerate(blocks):
            yield _row(number, pickle.dumps(_Part(file, number, block)))
    except (Sam2RayError, OSError) as error:
        yield _row(0, pickled_error(error))


def _row(number: int, item: bytes) -> pa.Table:
    return pa.table({"number": [number], "item": pa.array([item], pa.large_binary())})


def _with_secrets(mentions: Iterable[Mention]) -> list[Unit]:
    """Take whole addresses out of what rows say, which is written; units that have one."""
    signed: dict[str, list[str]] = {}
    for mention in mentions:
        whole = mention.said.pop(WHOLE, None)
        if whole is not None:
            signed.setdefault(mention.uri, []).append(whole)
    return [Unit(uri, "image", whole_uri=last_to_end(wholes)) for uri, wholes in signed.items()]


def _table_of(mentions: Iterable[Mention]) -> pa.Table:
    rows = [
        {
            "source_key": Unit(mention.uri, "image").source_key,
            "uri": mention.uri,
            "said": public_text(canonical_json(mention.said)),
        }
        for mention in mentions
    ]
    return pa.Table.from_pylist(rows, schema=_DEALT)
