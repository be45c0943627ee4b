"""An output root: which config it belongs to, what is left to do in it, and when it is complete."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timezone
from uuid import uuid4

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from .manifest import read_manifest, superseded_ids
from .outcomes import OutcomeIndex
from .records import ErrorClass, as_ids
from .stages.columns import TODO_SCHEMA
from .storage import Store

RUNS = "_sam2ray/runs"
SUCCESS = "_SUCCESS"


@dataclass(frozen=True, slots=True)
class Selection:
    """Which units a run takes."""

    max_attempts: int
    retried: frozenset[ErrorClass] = frozenset()
    limit: int | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """How far an output is: its live units by how they ended, and those that wait."""

    units: int
    ended: dict[str, int] = field(default_factory=dict)

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


def new_run_id() -> str:
    """Sorts by time, and is nobody else's."""
    return f"{datetime.now(timezone.utc):%Y%m%dT%H%M%S}-{uuid4().hex[:8]}"


def write_waves(
    store: Store, run_id: str, outcomes: OutcomeIndex, chosen: Selection, wave_units: int
) -> Iterator[tuple[str, int]]:
    """Names and sizes of files of what is due, one after another; few units are held at a time."""
    waiting: list[pa.Table] = []
    count = taken = wave = 0
    for table in due_units(store, outcomes, chosen):
        while len(table):
            room = wave_units - count
            waiting.append(table.slice(0, room))
            count += len(waiting[-1])
            table = table.slice(room)
            if count == wave_units:
                yield _write_wave(store, run_id, wave, waiting), count
                wave, count, waiting = wave + 1, 0, []
        taken += len(table)
    if count:
        yield _write_wave(store, run_id, wave, waiting), count


def due_units(store: Store, outcomes: OutcomeIndex, chosen: Selection) -> Iterator[pa.Table]:
    """Units of the manifest that are to be done, with the number of the attempt."""
    hidden = np.sort(as_ids(sorted(superseded_ids(store))))
    left = chosen.limit
    for table in read_manifest(store):
        ids = as_ids(table["unit_id"])
        attempts = outcomes.next_attempts(
            ids, max_attempts=chosen.max_attempts, retried=chosen.retried
        )
        due = (attempts > 0) & ~_is_in(ids, hidden)
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


def standing(store: Store, outcomes: OutcomeIndex) -> Standing:
    """How far an output is, by its live units."""
    hidden = np.sort(as_ids(sorted(superseded_ids(store))))
    units = 0
    codes = []
    for table in read_manifest(store, ["unit_id"]):
        ids = as_ids(table["unit_id"])
        ids = ids[~_is_in(ids, hidden)]
        known, places = outcomes.find(ids)
        units += len(ids)
        codes.append(outcomes.codes[places[known]])
    every = np.concatenate(codes) if codes else np.zeros(0, dtype=np.uint8)
    return Standing(units, OutcomeIndex(outcomes.ids, outcomes.attempts, every).count())


def mark_success(store: Store, now: Standing) -> None:
    """Write the mark where every unit has ended; take it away where new ones wait."""
    if now.is_complete:
        facts = {"units": now.units, "ok": now.ok, "failed": now.failed}
        store.put(SUCCESS, json.dumps(facts).encode())
    else:
        store.delete(SUCCESS)


def _write_wave(store: Store, run_id: str, wave: int, tables: list[pa.Table]) -> str:
    name = f"{RUNS}/{run_id}/todo-{wave:05}.parquet"
    buffer = pa.BufferOutputStream()
    pq.write_table(pa.concat_tables(tables), buffer, compression="zstd", row_group_size=4096)
    store.put(name, buffer.getvalue().to_pybytes())
    return name


def _is_in(ids: np.ndarray, sorted_ids: np.ndarray) -> np.ndarray:
    if not len(sorted_ids):
        return np.zeros(len(ids), dtype=bool)
    places = np.searchsorted(sorted_ids, ids).clip(max=len(sorted_ids) - 1)
    return sorted_ids[places] == ids
