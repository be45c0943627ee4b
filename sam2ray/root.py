"""An output root: which config it belongs to, what is left to do in it, and when it is complete."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from itertools import groupby
from operator import attrgetter, itemgetter
from uuid import uuid4

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from .index_facts import superseded_ids
from .manifest import read_manifest
from .outcomes import OutcomeIndex, count_codes, named
from .own_folder import OwnFolder
from .packed import is_in
from .records import ErrorClass, as_ids
from .repeats import FirstTimes
from .stages.columns import TODO_SCHEMA
from .storage import Store

RUNS = "_sam2ray/runs"
SUCCESS = "_SUCCESS"
VAIN_RUNS = f"{RUNS}/vain"  # one file for each
WAVE_BYTES = 256 << 20  # of units with long prompts a wave has fewer: one task reads it at once
USUAL_ATTEMPTS = 3  # limits.max_attempts, where nobody says how many
_ROW_GROUP = 4096


@dataclass(frozen=True, slots=True)
class Selection:
    """Which units a run takes."""

    max_attempts: int
    retried: frozenset[ErrorClass] = frozenset()
    limit: int | None = None


@dataclass(frozen=True, slots=True)
class Wave:
    """A file of what is due, and what is in it."""

    name: str
    units: int
    are_clips: bool  # else pictures: the two travel in blocks of different sizes


@dataclass(frozen=True, slots=True)
class Standing:
    """How far an output is: its live units by how they ended, and those that wait."""

    units: int
    ended: dict[str, int] = field(default_factory=dict)
    again: int = 0  # of those that failed: the same command tries them once more

    @property
    def ok(self) -> int:
        """Units with results."""
        return self.ended.get("ok", 0)

    @property
    def failed(self) -> int:
        """Units that ended without."""
        return sum(self.ended.values()) - self.ok

    @property
    def is_complete(self) -> bool:
        """Whether every unit has ended."""
        return self.ok + self.failed == self.units

    @property
    def earns_mark(self) -> bool:
        """Whether an archive is done: nothing waits, and nothing that failed may yet do better.

        It never is where a store said no to everything.
        """
        return self.is_complete and not self.again and not said_no_to_all(self.ended)

    @property
    def is_final(self) -> bool:
        """Whether there must be a mark: nothing failed that another attempt may mend."""
        failures = [name for name, count in self.ended.items() if name != "ok" and count]
        return self.earns_mark and not any(ErrorClass(name).retryable for name in failures)


def said_no_to_all(ended: Mapping[str, int]) -> bool:
    """Whether all that ended failed in a way that may pass: a store said no."""
    failures = [ErrorClass(name) for name, count in ended.items() if name != "ok" and count]
    return bool(failures) and not ended.get("ok") and all(one.retryable for one in failures)


def note_vain_run(store: Store, run_id: str) -> None:
    """Remember a run that a store refused next to everything: its attempts do not count."""
    store.put(f"{VAIN_RUNS}/{run_id}", b"")


def allowed_attempts(store: Store, max_attempts: int) -> int:
    """How often a unit may be tried here: once more for each run that was in vain."""
    return max_attempts + sum(1 for _ in store.list(VAIN_RUNS))


def new_run_id() -> str:
    """Sorts by time, and is nobody else's."""
    return f"{datetime.now(timezone.utc):%Y%m%dT%H%M%S}-{uuid4().hex[:8]}"


def write_waves(
    store: Store, run_id: str, outcomes: OutcomeIndex, chosen: Selection, wave_units: int
) -> Iterator[Wave]:
    """Files of what is due, one after another; few units are held at a time.

    What was never tried comes before what failed: a store that refuses old units ends no run before
    new ones are done. Clips come before pictures: they take longest, and pictures fill what is left
    of the machines well.
    """
    number, left = 0, chosen.limit
    for are_clips, turns in groupby(_turns(store, outcomes), key=attrgetter("are_clips")):
        due = _due_in_turn(store, outcomes, replace(chosen, limit=left), [*turns])
        for _, of_wave in groupby(_in_waves(due, wave_units), key=itemgetter(0)):
            name = f"{RUNS}/{run_id}/todo-{number:05}.parquet"
            units = _write_todo(store, name, (piece for _, piece in of_wave))
            yield Wave(name, units, are_clips)
            number, left = number + 1, None if left is None else left - units


@dataclass(frozen=True, slots=True)
class _Turn:
    """What is taken at a time."""

    are_clips: bool  # else pictures
    are_first: bool  # attempts


def _turns(store: Store, outcomes: OutcomeIndex) -> Iterator[_Turn]:
    """Everything in its order: pictures are tried again behind new ones, in the same wave."""
    kinds = _kinds_there(store)
    yield from (_Turn(are_clips, are_first=True) for are_clips in kinds)
    if outcomes.has_failures:
        yield from (_Turn(are_clips, are_first=False) for are_clips in reversed(kinds))


def _due_in_turn(
    store: Store, outcomes: OutcomeIndex, chosen: Selection, turns: Sequence[_Turn]
) -> Iterator[pa.Table]:
    left = chosen.limit
    for turn in turns:
        if left != 0:
            for todo in due_units(store, outcomes, replace(chosen, limit=left), turn):
                left = None if left is None else left - len(todo)
                yield todo


def _kinds_there(store: Store) -> list[bool]:
    """Whether the manifest has clips, and pictures: True, False, or both in this order."""
    there: set[bool] = set()
    for table in read_manifest(store, ["kind"]):
        there |= {kind != "image" for kind in table["kind"].unique().to_pylist()}
        if len(there) == 2:
            break
    return sorted(there, reverse=True)


def due_units(
    store: Store, outcomes: OutcomeIndex, chosen: Selection, turn: _Turn | None = None
) -> Iterator[pa.Table]:
    """Units of the manifest that are to be done, with the number of the attempt.

    All of them, or those whose turn it is.
    """
    hidden, first_times = superseded_ids(store), FirstTimes.in_manifest(store)
    left = chosen.limit
    for table in read_manifest(store):
        if turn is not None:
            is_clip = np.array([kind != "image" for kind in table["kind"].to_pylist()], bool)
            table = table.filter(pa.array(is_clip == turn.are_clips))
        ids = as_ids(table["unit_id"])
        attempts = outcomes.next_attempts(
            ids, max_attempts=chosen.max_attempts, retried=chosen.retried
        )
        due = (attempts > 0) & ~is_in(ids, hidden) & first_times.among(ids)
        if turn is not None:
            due &= (attempts == 1) == turn.are_first
        taken = table.filter(pa.array(due))
        numbers = pa.array(attempts[due].astype(np.int32))
        todo = taken.append_column(TODO_SCHEMA.field("attempt"), numbers)
        if left is not None:
            todo = todo.slice(0, left)
            left -= len(todo)
        if len(todo):
            yield todo
        if left == 0:
            return


def standing(store: Store, outcomes: OutcomeIndex, max_attempts: int = USUAL_ATTEMPTS) -> Standing:
    """How far an output is, by its live units."""
    hidden, first_times = superseded_ids(store), FirstTimes.in_manifest(store)
    units, again, ended = 0, 0, count_codes(np.zeros(0, np.uint8))
    for table in read_manifest(store, ["unit_id"]):
        ids = as_ids(table["unit_id"])
        ids = ids[~is_in(ids, hidden) & first_times.among(ids)]
        known, places = outcomes.find(ids)
        units += len(ids)
        ended += count_codes(outcomes.codes[places[known]])
        attempts = outcomes.next_attempts(ids[known], max_attempts=max_attempts)
        again += int(np.count_nonzero(attempts))
    return Standing(units, named(ended), again)


def mark_success(store: Store, now: Standing) -> None:
    """Write the mark where the archive is done; take it away where new units wait."""
    if now.earns_mark:
        facts = {"units": now.units, "ok": now.ok, "failed": now.failed}
        store.put(SUCCESS, json.dumps(facts).encode())
    else:
        store.delete(SUCCESS)


def _in_waves(tables: Iterable[pa.Table], wave_units: int) -> Iterator[tuple[int, pa.Table]]:
    """Pieces of the tables, each with the number of the wave that it belongs to."""
    wave, units, size = 0, 0, 0
    for table in tables:
        while len(table):
            fitting = _rows_within(table.slice(0, wave_units - units), WAVE_BYTES - size)
            if not fitting and units:
                wave, units, size = wave + 1, 0, 0
                continue
            piece = table.slice(0, max(1, fitting))
            yield wave, piece
            units, size, table = units + len(piece), size + piece.nbytes, table.slice(len(piece))
            if units == wave_units:
                wave, units, size = wave + 1, 0, 0


def _rows_within(table: pa.Table, most_bytes: int) -> int:
    """How many of the first rows have no more bytes than that."""
    if table.nbytes <= most_bytes:
        return len(table)
    counts = range(1, len(table) + 1)
    return bisect_right(counts, most_bytes, key=lambda count: table.slice(0, count).nbytes)


def _write_todo(store: Store, name: str, pieces: Iterable[pa.Table]) -> int:
    count = 0
    with OwnFolder() as folder:
        path = folder / "todo.parquet"
        with pq.ParquetWriter(path, TODO_SCHEMA, compression="zstd") as writer:
            for rows in _joined(pieces):
                writer.write_table(rows.cast(TODO_SCHEMA))
                count += len(rows)
        store.put(name, path)
    return count


def _joined(pieces: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Some thousand rows at a time: where most is done, what is due comes in small pieces."""
    waiting: list[pa.Table] = []
    for piece in pieces:
        waiting.append(piece)
        if sum(map(len, waiting)) >= _ROW_GROUP:
            yield pa.concat_tables(waiting)
            waiting = []
    if waiting:
        yield pa.concat_tables(waiting)
