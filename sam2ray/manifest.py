"""What is to be done: units of a listing, sorted and compared with what earlier listings found.

A listing writes sorted runs; buckets of the range of keys are then merged, each by itself, so that
memory follows the size of a bucket and not of the archive. Keys are digests: sorting by them also
spreads prefixes and long videos over the whole run. A manifest is never changed, only added to.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.parquet as pq

from .readers.slices import Ignored
from .records import UNIT_COLUMNS, Unit, as_ids
from .storage import Store

FOLDER = "_sam2ray/manifest"
RUNS = "_sam2ray/listing"
UNITS_PER_RUN = 100_000
UNITS_PER_BUCKET = 200_000
_ROW_GROUP = 4096
_EXAMPLES = 5


@dataclass(frozen=True, slots=True)
class Listed:
    """What one part of a source held."""

    units: int = 0
    ignored: dict[str, int] = field(default_factory=dict)
    examples: tuple[str, ...] = ()
    runs: tuple[str, ...] = ()
    note: str = ""  # how prompts and units found each other

    def __add__(self, other: Listed) -> Listed:
        return Listed(
            self.units + other.units,
            dict(Counter(self.ignored) + Counter(other.ignored)),
            (*self.examples, *other.examples)[:_EXAMPLES],
            (*self.runs, *other.runs),
            self.note or other.note,
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


def write_runs(
    store: Store,
    index_id: str,
    number: int,
    found: Iterable[Unit | Ignored],
    through: Callable[[Iterator[Unit]], Iterator[Unit]] = iter,
) -> Listed:
    """Sort what a part of a source holds into runs; units go `through` something on their way."""
    ignored: Counter[str] = Counter()
    examples: list[str] = []

    def units() -> Iterator[Unit]:
        for item in found:
            if isinstance(item, Unit):
                yield item
            else:
                ignored[item.reason] += 1
                if len(examples) < _EXAMPLES:
                    examples.append(f"{item.name} ({item.detail or item.reason})")

    stream, runs, count = through(units()), [], 0
    while batch := list(islice(stream, UNITS_PER_RUN)):
        name = f"{RUNS}/{index_id}/{number:05}-{len(runs):05}.parquet"
        store.put(name, _encoded(unit_table(batch).sort_by("source_key")))
        runs.append(name)
        count += len(batch)
    return Listed(count, dict(ignored), tuple(examples), tuple(runs))


def merge_bucket(
    store: Store,
    index_id: str,
    runs: Sequence[str],
    known: Sequence[str],
    bucket: int,
    buckets: int,
) -> Merged:
    """Merge one range of keys of all runs, and write what is new in it."""
    table = pa.concat_tables(_read_range(store, name, bucket, buckets) for name in runs)
    table, duplicates = _without_duplicates(table)
    earlier = _known_by_key(
        _read_range(store, name, bucket, buckets, ["source_key", "unit_id", "content_id"])
        for name in known
    )
    units = [_as_new(row, earlier) for row in table.to_pylist()]
    new = [unit for unit in units if unit is not None]
    result = Merged(
        len(new),
        sum(unit.supersedes is not None for unit in new),
        len(units) - len(new),
        duplicates,
    )
    if not new:
        return result
    name = f"{FOLDER}/{index_id}/part-{bucket:05}-of-{buckets:05}.parquet"
    store.put(name, _encoded(unit_table(new).sort_by("source_key")))
    return replace(result, parts=(name,))


def buckets_for(units: int) -> int:
    """Into how many buckets so many units are sorted."""
    return max(1, -(-units // UNITS_PER_BUCKET))


def complete(
    store: Store, index_id: str, source: Sequence[str], listed: Listed, merged: Merged
) -> None:
    """Say that an index is whole; before that nobody looks at its parts."""
    facts = {"source": list(source), **asdict(listed), **asdict(merged)}
    del facts["runs"]
    store.put(f"{FOLDER}/{index_id}.json", json.dumps(facts, indent=1).encode())
    for name in listed.runs:
        store.delete(name)


def manifest_parts(store: Store) -> list[str]:
    """Parts of all complete indexes, oldest index first."""
    markers = sorted(e.name for e in store.list(FOLDER) if e.name.endswith(".json"))
    return [part for name in markers for part in json.loads(store.read(name))["parts"]]


def superseded_ids(store: Store) -> set[str]:
    """Units that a newer one of the same source has taken the place of."""
    found: set[str] = set()
    for name in manifest_parts(store):
        with store.open(name) as file:
            ids = pq.read_table(file, columns=["supersedes"])["supersedes"]
            found.update(ids.drop_null().to_pylist())
    return found


def read_manifest(store: Store, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
    """The whole manifest, some thousand units at a time."""
    for name in manifest_parts(store):
        with store.open(name) as file:
            parquet = pq.ParquetFile(file)
            for group in range(parquet.num_row_groups):
                yield parquet.read_row_group(group, columns=columns)


def unit_table(units: Sequence[Unit]) -> pa.Table:
    """Units as rows of a manifest."""
    arrays = []
    for column in UNIT_COLUMNS:
        values: list[Any] = [getattr(unit, column.name) for unit in units]
        if column.name == "user":
            values = [list(value.items()) for value in values]
        arrays.append(pa.array(values, column.type))
    return pa.table(arrays, schema=UNIT_COLUMNS)


def unit_of(row: dict[str, Any]) -> Unit:
    """The unit that a row of a manifest describes."""
    fields = {name: row[name] for name in Unit.__dataclass_fields__}
    return Unit(**{**fields, "user": dict(row["user"] or [])})


def _as_new(row: dict[str, Any], earlier: dict[str, list[tuple[str, str]]]) -> Unit | None:
    """The unit to be added, naming the one whose place it takes; None if there is nothing new."""
    unit = unit_of(row)
    history = earlier.get(row["source_key"])
    if not history:
        return unit
    latest_id, latest_content = history[-1]
    if latest_content == row["content_id"]:
        return None
    repeat = sum(content == row["content_id"] for _, content in history)
    return replace(unit, supersedes=latest_id, repeat=repeat)


def _known_by_key(tables: Iterable[pa.Table]) -> dict[str, list[tuple[str, str]]]:
    """Ids and contents that each source had, oldest first."""
    history: dict[str, list[tuple[str, str]]] = {}
    for table in tables:
        for key, unit_id, content_id in zip(
            table["source_key"].to_pylist(),
            table["unit_id"].to_pylist(),
            table["content_id"].to_pylist(),
            strict=True,
        ):
            history.setdefault(key, []).append((unit_id, content_id))
    return history


def _without_duplicates(table: pa.Table) -> tuple[pa.Table, int]:
    table = table.sort_by("source_key")
    if not len(table):
        return table, 0
    keys = as_ids(table["source_key"])
    kept = table.filter(pa.array(np.append(True, keys[1:] != keys[:-1])))
    return kept, len(table) - len(kept)


def _read_range(
    store: Store, name: str, bucket: int, buckets: int, columns: Sequence[str] | None = None
) -> pa.Table:
    """The rows of one bucket: files are sorted, so most of their row groups are passed over."""
    low, high = _edge(bucket, buckets), _edge(bucket + 1, buckets)
    inside = pads.field("source_key") >= low
    if high is not None:
        inside &= pads.field("source_key") < high
    with store.open(name) as file:
        return pq.read_table(file, columns=columns, filters=inside)


def _edge(bucket: int, buckets: int) -> str | None:
    """The first key of a bucket; None behind the last one."""
    if bucket == buckets:
        return None
    return f"{bucket * 2**32 // buckets:08x}"


def _encoded(table: pa.Table) -> bytes:
    buffer = pa.BufferOutputStream()
    pq.write_table(table, buffer, compression="zstd", row_group_size=_ROW_GROUP)
    return buffer.getvalue().to_pybytes()
