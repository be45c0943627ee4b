"""What is to be done: units of a listing, sorted and compared with what earlier listings found.

A listing writes sorted runs; buckets of the range of keys are then merged, each by itself, so that
memory follows the size of a bucket and not of the archive. Keys are digests: sorting by them also
spreads prefixes and long videos over the whole run. A manifest is never changed, only added to.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from .addresses import public_text, without_secrets
from .config_section import public_uri
from .parquet_tables import read_between
from .past_units import PAST_COLUMNS, Past
from .readers.slices import Ignored
from .records import UNIT_COLUMNS, Unit, as_ids
from .storage import Store
from .unit_rows import unit_table

FOLDER = "_sam2ray/manifest"
RUNS = "_sam2ray/listing"
UNITS_PER_RUN = 100_000
UNITS_PER_BUCKET = 200_000
_ROW_GROUP = 4096
_EXAMPLES = 5

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Listed:
    """What one part of a source held."""

    units: int = 0
    ignored: dict[str, int] = field(default_factory=dict)
    examples: tuple[str, ...] = ()
    runs: tuple[str, ...] = ()
    note: str = ""  # how prompts and units found each other
    unchanged: int = 0  # shards whose members an earlier index knows
    keep: tuple[str, ...] = ()  # columns of the source that go with its units
    late: tuple[str, ...] = ()  # of these, what units of earlier indexes were listed without
    damaged: int = 0  # of the units, those that stand for what cannot be read
    looked_at: Mapping[str, str] = field(default_factory=dict)  # versions; see mended_ids

    @property
    def entries(self) -> int:
        """Units, and all that is none."""
        return self.units + sum(self.ignored.values())

    def __add__(self, other: Listed) -> Listed:
        return Listed(
            self.units + other.units,
            dict(Counter(self.ignored) + Counter(other.ignored)),
            (*self.examples, *other.examples)[:_EXAMPLES],
            (*self.runs, *other.runs),
            self.note or other.note,
            self.unchanged + other.unchanged,
            self.keep or other.keep,
            self.late or other.late,
            self.damaged + other.damaged,
            {**self.looked_at, **other.looked_at},
        )


@dataclass(frozen=True, slots=True)
class Merged:
    """What a bucket, or a whole listing, added."""

    added: int = 0
    superseding: int = 0
    known: int = 0
    duplicates: int = 0
    parts: tuple[str, ...] = ()

    def __add__(self, other: Merged) -> Merged:
        return Merged(
            self.added + other.added,
            self.superseding + other.superseding,
            self.known + other.known,
            self.duplicates + other.duplicates,
            (*self.parts, *other.parts),
        )


def forget(_units: Sequence[Unit]) -> None:
    """An index fetches nothing."""


@dataclass(slots=True)
class Passed:
    """What is found beside units, counted by its reason."""

    _ignored: Counter[str] = field(default_factory=Counter)
    _examples: list[str] = field(default_factory=list)

    def without(self, found: Iterable[Item | Ignored]) -> Iterator[Item]:
        """Take note of what is ignored, and pass on the rest."""
        for item in found:
            if not isinstance(item, Ignored):
                yield item
                continue
            self._ignored[item.reason] += 1
            if len(self._examples) < _EXAMPLES:
                said = f"{item.name} ({item.detail or item.reason})"
                self._examples.append(without_secrets(public_text(said)))

    def as_listed(self) -> Listed:
        """So far."""
        return Listed(ignored=dict(self._ignored), examples=tuple(self._examples))


def write_runs(
    store: Store,
    index_id: str,
    number: int,
    found: Iterable[Unit | Ignored],
    through: Callable[[Iterator[Unit]], Iterator[Unit]] = iter,
    keep_whole: Callable[[Sequence[Unit]], None] = forget,
) -> Listed:
    """Sort what a part of a source holds into runs; units go `through` something on their way.

    Nothing secret of an address is written: `keep_whole` is given those that have any.
    """
    passed = Passed()
    stream, runs, count = map(_public, through(passed.without(found))), [], 0
    damaged = 0
    while batch := list(islice(stream, UNITS_PER_RUN)):
        name = f"{RUNS}/{index_id}/{number:05}-{len(runs):05}.parquet"
        store.put(name, encoded(unit_table(batch).sort_by("source_key")))
        keep_whole([unit for unit in batch if unit.whole_uri is not None])
        runs.append(name)
        count += len(batch)
        damaged += sum(unit.fault is not None for unit in batch)
    return replace(passed.as_listed(), units=count, runs=tuple(runs), damaged=damaged)


@dataclass(frozen=True, slots=True)
class ListingPlace:
    """Where a listing is written, and what is told whole addresses; can be sent to tasks."""

    store: Store
    index_id: str
    keep_whole: Callable[[Sequence[Unit]], None] = forget

    def write(
        self,
        number: int,
        found: Iterable[Unit | Ignored],
        through: Callable[[Iterator[Unit]], Iterator[Unit]] = iter,
    ) -> Listed:
        """Sort a part of it into runs."""
        return write_runs(self.store, self.index_id, number, found, through, self.keep_whole)


def merge_bucket(
    store: Store,
    index_id: str,
    runs: Sequence[str],
    known: Sequence[str],
    bucket: int,
    buckets: int,
) -> Merged:
    """Merge one range of keys of all runs, and write what is new in it.

    A unit whose version was unknown until now has another row there, with the same id.
    """
    table = pa.concat_tables(read_range(store, name, bucket, buckets) for name in runs)
    table, duplicates = _without_duplicates(table)
    past = Past.of(table)
    for name in known:
        past.take(read_range(store, name, bucket, buckets, PAST_COLUMNS))
    past.keep_unless_known_otherwise()
    new, changed = table.filter(pa.array(~past.known)), past.changed
    count = len(new) + int(changed.sum())
    result = Merged(count, int(changed.sum()), len(table) - count, duplicates)
    if not count and not past.told.any():
        return result
    pieces = [new.cast(UNIT_COLUMNS), unit_table(past.successors()), past.as_told()]
    name = f"{FOLDER}/{index_id}/part-{bucket:05}-of-{buckets:05}.parquet"
    added = pa.concat_tables(pieces).sort_by("source_key")
    store.put(name, encoded(added))
    return replace(result, parts=(name,))


def buckets_for(units: int) -> int:
    """Into how many buckets so many units are sorted."""
    return max(1, -(-units // UNITS_PER_BUCKET))


def complete(
    store: Store,
    index_id: str,
    source: Sequence[str],
    listed: Listed,
    merged: Merged,
    still_mine: Callable[[], None] = lambda: None,
) -> None:
    """Say that an index is whole; before that nobody looks at its parts.

    `still_mine` raises if the root was taken over meanwhile: two that compared their source with
    the same past would both add what is new.
    """
    facts = {"source": [public_uri(uri) for uri in source], **asdict(listed), **asdict(merged)}
    del facts["runs"]
    still_mine()
    store.put(f"{FOLDER}/{_behind_all(store, index_id)}.json", json.dumps(facts, indent=1).encode())
    for name in listed.runs:
        store.delete(name)


def _behind_all(store: Store, index_id: str) -> str:
    """A name that sorts last: by their names it is known which of two versions is the newer one.

    Indexes are called by the time, and another host's clock may be behind.
    """
    newest = max((name.rpartition("/")[2][: -len(".json")] for name in _names(store)), default="")
    if index_id > newest:
        return index_id
    stem, _, number = newest.partition("_")
    return f"{stem}_{int(number or 0) + 1:06}"


def _names(store: Store) -> list[str]:
    """Of complete indexes, the oldest first."""
    return sorted(e.name for e in store.list(FOLDER) if e.name.endswith(".json"))


def manifest_parts(store: Store) -> list[str]:
    """Parts of all complete indexes, oldest index first."""
    return [part for facts in markers(store) for part in facts["parts"]]


def markers(store: Store) -> list[dict[str, Any]]:
    """What complete indexes say of themselves, oldest index first."""
    return [json.loads(store.read(name)) for name in _names(store)]


def read_manifest(store: Store, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
    """The whole manifest, some thousand units at a time."""
    wanted = UNIT_COLUMNS.names if columns is None else columns
    return (group.read(wanted) for group in row_groups(store))


@dataclass(frozen=True, slots=True, eq=False)
class RowGroup:
    """Some thousand units of an index."""

    file: pq.ParquetFile
    number: int

    def read(self, columns: Sequence[str]) -> pa.Table:
        """These columns; one is empty where the index was written before there was such a one."""
        there = [name for name in columns if name in self.file.schema_arrow.names]
        table = self.file.read_row_group(self.number, columns=there)
        for name in columns:
            if name not in there:
                added = UNIT_COLUMNS.field(name)
                table = table.append_column(added, pa.nulls(table.num_rows, added.type))
        return table.select([*columns])


def row_groups(store: Store) -> Iterator[RowGroup]:
    """All of the manifest; groups are read when they are asked for."""
    for name in manifest_parts(store):
        with store.open(name) as file:
            parquet = pq.ParquetFile(file)
            for number in range(parquet.num_row_groups):
                yield RowGroup(parquet, number)


def _public(unit: Unit) -> Unit:
    """The unit without secrets in what is kept of its columns: they may repeat the address."""
    fault = None if unit.fault is None else without_secrets(public_text(unit.fault))
    user = {name: public_text(text) for name, text in unit.user.items()}
    prompts = None if unit.prompts is None else public_text(unit.prompts)
    if (user, prompts, fault) == (unit.user, unit.prompts, unit.fault):
        return unit
    return replace(unit, user=user, prompts=prompts, fault=fault)


def _without_duplicates(table: pa.Table) -> tuple[pa.Table, int]:
    table = table.sort_by("source_key")
    if not len(table):
        return table, 0
    keys = as_ids(table["source_key"])
    kept = table.filter(pa.array(np.append(True, keys[1:] != keys[:-1])))
    return kept, len(table) - len(kept)


def read_range(
    store: Store, name: str, bucket: int, buckets: int, columns: Sequence[str] | None = None
) -> pa.Table:
    """Rows of one range of keys: files are sorted, so most of their row groups are passed over."""
    low, high = _edge(bucket, buckets) or "", _edge(bucket + 1, buckets)
    with store.open(name) as file:
        return read_between(file, "source_key", low, high, columns)


def _edge(bucket: int, buckets: int) -> str | None:
    """The first key of a bucket; None behind the last one."""
    if bucket == buckets:
        return None
    return f"{bucket * 2**32 // buckets:08x}"


def encoded(table: pa.Table) -> bytes:
    """A table as the bytes of a Parquet file, in groups that a range of keys takes few of."""
    buffer = pa.BufferOutputStream()
    pq.write_table(table, buffer, compression="zstd", row_group_size=_ROW_GROUP)
    return buffer.getvalue().to_pybytes()
