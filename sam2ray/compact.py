"""An output -> a second one of few large files, without superseded units and earlier attempts.

Nothing is changed in place. The new root is a whole output: config, manifest and reports come with
it, a later run goes on with it, and `_SUCCESS` is written last, when the new files were read again
and compared with the old ones. A compaction that breaks off leaves a root without `_SUCCESS`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from . import lease
from .errors import RootRefused, StorageError, UsageError
from .kept_config import CONFIG, has_config, kept_config
from .live_units import LiveUnits, read_live_units, require_output
from .manifest import FOLDER, manifest_parts
from .outcomes import latest_outcomes, reading
from .packed import PackedRows, Rows, first_id, is_in
from .records import as_ids, digest
from .root import RUNS, VAIN_RUNS, Standing, allowed_attempts, mark_success, new_run_id, standing
from .row_digests import unit_digests, unit_runs
from .sinks.result_files import ResultFile, ResultPlace, read_outcomes
from .storage import Store

TARGET_BYTES = 256 << 20
MARK = "_sam2ray/compaction.json"
_MOST_UNITS = 100_000  # of a file: its footer names them all, and readers read it whole
_MOST_OUTCOME_BYTES = 32 << 20
_NOT_TO_BE_USED = "Delete this root, and compact again; if it happens again, report it."

Watcher = Callable[[str, int, int], None]
"""Called with what is done, how many files of it are, and of how many."""


@dataclass(frozen=True, slots=True)
class Compacted:
    """What came out, and of what."""

    units: int
    masks: int
    files_before: int
    files_after: int
    bytes_before: int
    bytes_after: int
    is_complete: bool


def compact_output(
    old: Store,
    new: Store,
    *,
    target_bytes: int = TARGET_BYTES,
    watch: Watcher = lambda _what, _done, _of: None,
) -> Compacted:
    """Write the new output, compare it with the old one, and only then mark it as complete."""
    require_output(old)
    _refuse_used(old, new)
    run_id = new_run_id()
    with (
        closing(lease.acquire(old, lease.this_process(run_id))),
        closing(lease.acquire(new, lease.this_process(run_id))) as held,
    ):
        facts = {"from": old.uri, "run_id": run_id}
        new.put(MARK, json.dumps(facts | {"ended": False}).encode())
        _carry_over(old, new)
        live = read_live_units(old)
        _write_files(old, live, _Files(new, run_id, held.number, target_bytes), watch)
        compacted = _compare(old, live, new, watch)
        new.put(MARK, json.dumps(facts | {"ended": True}).encode())
        if compacted.is_complete:
            attempts = allowed_attempts(new, kept_config(new).config.limits.max_attempts)
            mark_success(new, standing(new, latest_outcomes(new), attempts))
    return compacted


def _refuse_used(old: Store, new: Store) -> None:
    if f"{new.uri}/".startswith(f"{old.uri}/") or f"{old.uri}/".startswith(f"{new.uri}/"):
        raise UsageError(f"{new.uri}: must lie outside {old.uri}: name a new root beside it.")
    if broke_off(new):
        raise RootRefused(
            f"{new.uri}: an earlier `sam2ray compact` into it broke off. Delete it, or name "
            f"another root; {old.uri} is as it was."
        )
    if any(new.list()):
        raise RootRefused(f"{new.uri}: is not empty, and nothing is written over. Name a new root.")


def _carry_over(old: Store, new: Store) -> None:
    """Manifest, reports and config; an index counts from the moment that its marker is there."""
    if not has_config(old):
        raise UsageError(f"{old.uri}: no run has begun here, so there is nothing to compact.")
    indexes = [e.name for e in old.list(FOLDER) if e.name.endswith(".json")]
    reports = [e.name for e in old.list(RUNS) if e.name.count("/") == RUNS.count("/") + 1]
    reports += [e.name for e in old.list(VAIN_RUNS)]
    for name in [*manifest_parts(old), *sorted(indexes), *reports, CONFIG]:
        new.put(name, old.read(name))


def broke_off(store: Store) -> bool:
    """Whether a compaction into this root began and did not end."""
    return store.exists(MARK) and not json.loads(store.read(MARK)).get("ended")


# ---------------------------------------------------------------- writing


class _Files:
    """Large files, one after another; a unit is in one of them as a whole."""

    def __init__(self, store: Store, run_id: str, lease_number: int, target_bytes: int) -> None:
        self._store = store
        self._run_id = run_id
        self._lease = lease_number
        self._target_bytes = target_bytes
        self._file: ResultFile | None = None
        self._folder = ""
        self._outcomes: list[pa.Table] = []
        self._units = self._bytes = self._outcome_bytes = 0

    def begin(self, folder: str, outcomes: pa.Table) -> None:
        """Take units whose rows come next, in the file that is open if there is room in it."""
        if self._is_full() or folder != self._folder:
            self.close()
        if self._file is None:
            self._file = ResultFile(ResultPlace(self._store, folder, self._run_id))
            self._folder = folder
        self._outcomes.append(outcomes)
        self._units += len(outcomes)
        self._outcome_bytes += outcomes.nbytes

    def _is_full(self) -> bool:
        return (
            self._bytes >= self._target_bytes
            or self._units >= _MOST_UNITS
            or self._outcome_bytes >= _MOST_OUTCOME_BYTES
        )

    def add(self, rows: pa.Table, stored_bytes: float) -> None:
        """Take rows of the unit that was begun last, and how much they took where they were."""
        assert self._file is not None
        self._file.add(rows)
        self._bytes += stored_bytes

    def close(self) -> None:
        """Commit the file that is open."""
        if self._file is None:
            return
        with self._file as file:
            file.commit(
                pa.concat_tables(self._outcomes).combine_chunks(),
                still_mine=lambda: lease.check_still_held(self._store, self._lease),
            )
        self._drop()

    def _drop(self) -> None:
        self._file, self._outcomes = None, []
        self._units = self._bytes = self._outcome_bytes = 0

    def __enter__(self) -> _Files:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self.close()
        elif self._file is not None:
            with self._file:  # leaving it without a commit leaves nothing behind
                self._drop()


def _write_files(old: Store, live: LiveUnits, files: _Files, watch: Watcher) -> None:
    with files:
        for number, name in enumerate(live.names):
            outcomes = _kept_outcomes(old, live, number)
            if len(outcomes):
                _copy_file(old, name, outcomes, files)
            watch("written", number + 1, len(live.names))


def _kept_outcomes(store: Store, live: LiveUnits, file: int) -> pa.Table:
    name = live.names[file]
    with reading(store, name):
        return read_outcomes(store, name).filter(pa.array(live.kept_in(file)))


def _copy_file(old: Store, name: str, outcomes: pa.Table, files: _Files) -> None:
    folder = name.partition("/")[0]
    places = {unit_id: n for n, unit_id in enumerate(outcomes["unit_id"].to_pylist())}
    begun: str | None = None
    for rows, bytes_each in _groups(old, name):
        for run in unit_runs(rows["unit_id"]):
            if run.unit_id != begun and run.unit_id in places:
                files.begin(folder, outcomes.slice(places.pop(run.unit_id), 1))
                begun = run.unit_id
            if run.unit_id == begun:
                part = rows.slice(run.start, run.stop - run.start)
                files.add(part, bytes_each * len(part))
    for place in places.values():  # failed ones, and those in which nothing was found
        files.begin(folder, outcomes.slice(place, 1))


def _groups(store: Store, name: str) -> Iterator[tuple[pa.Table, float]]:
    """Row groups of a file, and how many bytes each of their rows takes there."""
    with store.open(name) as file:
        with reading(store, name):
            parquet = pq.ParquetFile(file, page_checksum_verification=True)
        for number in range(parquet.num_row_groups):
            facts = parquet.metadata.row_group(number)
            columns = (facts.column(n) for n in range(facts.num_columns))
            stored = sum(column.total_compressed_size for column in columns)
            with reading(store, name):
                rows = parquet.read_row_group(number)
            yield rows, stored / max(1, facts.num_rows)


# ---------------------------------------------------------------- comparing


@dataclass(frozen=True, slots=True, eq=False)
class _Content:
    """What all units of an output say."""

    units: Rows  # sorted by id; `digest` is 16 bytes of the outcome and 16 of the unit's rows
    rows: int


def _compare(old: Store, live: LiveUnits, new: Store, watch: Watcher) -> Compacted:
    """Read both outputs again: the same units, with the same outcomes and the same rows."""
    written = read_live_units(new)
    a, b = _content(old, live, "read", watch), _content(new, written, "compared", watch)
    if len(written.counts) != len(b.units):
        raise StorageError(f"{new.uri}: holds units that do not count. {_NOT_TO_BE_USED}")
    for one, other, what in ((a, b, "lacks"), (b, a, "has, out of nowhere,")):
        lone = one.units[~is_in(one.units, other.units)]
        if len(lone):
            raise StorageError(
                f"{new.uri}: {what} {len(lone):,} units, such as {first_id(lone)}. "
                f"{_NOT_TO_BE_USED}"
            )
    differ = a.units[a.units["digest"] != b.units["digest"]]
    if len(differ):
        raise StorageError(
            f"{new.uri}: {len(differ):,} units differ from those of {old.uri}, such as "
            f"{first_id(differ)}. {_NOT_TO_BE_USED}"
        )
    before, after = standing(old, latest_outcomes(old)), standing(new, latest_outcomes(new))
    _require_same(before, after, new)
    return Compacted(
        len(a.units),
        a.rows,
        len(live.names),
        len(written.names),
        _bytes_of(old, live),
        _bytes_of(new, written),
        before.is_complete,
    )


def _require_same(before: Standing, after: Standing, new: Store) -> None:
    if before != after:
        raise StorageError(f"{new.uri}: counts {after} instead of {before}. {_NOT_TO_BE_USED}")


def _content(store: Store, live: LiveUnits, what: str, watch: Watcher) -> _Content:
    packed, rows = PackedRows(digest="S32"), 0
    for number, name in enumerate(live.names):
        outcomes = _kept_outcomes(store, live, number).to_pylist()
        of_rows = dict.fromkeys([row["unit_id"] for row in outcomes], b"\0" * 16)
        for unit in unit_digests(table for table, _ in _groups(store, name)):
            if of_rows.get(unit.unit_id) == b"\0" * 16:
                of_rows[unit.unit_id] = unit.digest
                rows += unit.rows
            elif unit.unit_id in of_rows:
                uri = store.uri_of(name)
                raise StorageError(f"{uri}: rows of unit {unit.unit_id} lie apart: run verify.")
        both = b"".join(bytes.fromhex(digest(row)) + of_rows[row["unit_id"]] for row in outcomes)
        packed.add(as_ids([*of_rows]), digest=np.frombuffer(both, "S32"))
        watch(what, number + 1, len(live.names))
    return _Content(packed.take(), rows)


def _bytes_of(store: Store, live: LiveUnits) -> int:
    folders = {name.partition("/")[0] for name in live.names}
    return sum(entry.size for folder in folders for entry in store.list(folder))
