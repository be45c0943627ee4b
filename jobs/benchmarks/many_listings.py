"""Made-up listings through the index, the todo waves and the index of outcomes, without Ray.

What tasks and driver do is done here in one process, one after the other, and its memory watched.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from jobs.benchmarks.resident import resident_mib, watching_memory
from sam2ray.manifest import (
    Listed,
    Merged,
    buckets_for,
    complete,
    manifest_parts,
    merge_bucket,
    read_manifest,
    write_runs,
)
from sam2ray.outcomes import OutcomeIndex, index_of, latest_outcomes
from sam2ray.records import OUTCOME_SCHEMA, Unit
from sam2ray.root import Selection, standing, write_waves
from sam2ray.sinks.result_files import MASKS, copy_outcomes
from sam2ray.storage import LocalStore, Store

_UNITS_PER_PART = 100_000  # what one task lists
_UNITS_PER_COMMIT = 256
_WAVE_UNITS = 1_000_000


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that was done with all units."""

    name: str
    growth_mib: float  # of what is resident, over the process before its first step
    us_a_unit: float
    note: str
    kept_mib: float = 0.0  # of the growth: the index of outcomes, so many bytes a unit


@dataclass(slots=True)
class Steps:
    """What was done, step by step."""

    units: int
    kept_mib: Callable[[], float]  # what is held for good
    before_mib: float = field(default_factory=resident_mib)
    done: list[Step] = field(default_factory=list)

    def do(self, name: str, work: Callable[[], str]) -> None:
        """Do one; it returns what there is to say."""
        began = time.perf_counter()
        with watching_memory() as peak:
            note = work()
        seconds = time.perf_counter() - began
        growth = peak.mib - self.before_mib
        us, kept = round(1e6 * seconds / self.units, 2), round(self.kept_mib(), 1)
        self.done.append(Step(name, round(growth, 1), us, note, kept))


@dataclass(slots=True)
class _World:
    store: Store
    units: int
    listed: Listed = field(default_factory=Listed)
    merged: Merged = field(default_factory=Merged)
    outcomes: OutcomeIndex = field(default_factory=lambda: index_of([]))

    def list_source(self) -> str:
        """Sorted runs, as tasks write them."""
        for number, start in enumerate(range(0, self.units, _UNITS_PER_PART)):
            part = made_up(start, min(self.units, start + _UNITS_PER_PART))
            self.listed += write_runs(self.store, "1", number, part)
        return ""

    def merge(self) -> str:
        """All buckets, and the marker."""
        buckets = buckets_for(self.listed.units)
        seconds = []
        for bucket in range(buckets):
            began = time.perf_counter()
            self.merged += merge_bucket(self.store, "1", self.listed.runs, [], bucket, buckets)
            seconds.append(time.perf_counter() - began)
        complete(self.store, "1", ["made up"], self.listed, self.merged)
        return (
            f"; the first bucket of {buckets} took {seconds[0]:.2f} s, the last {seconds[-1]:.2f}"
        )

    def merge_again(self) -> str:
        """The same source once more: nothing is new, and all is compared."""
        listed = Listed()
        known, buckets = manifest_parts(self.store), buckets_for(self.units)
        for number, start in enumerate(range(0, self.units, _UNITS_PER_PART)):
            part = made_up(start, min(self.units, start + _UNITS_PER_PART))
            listed += write_runs(self.store, "2", number, part)
        merged = Merged()
        for bucket in range(buckets):
            merged += merge_bucket(self.store, "2", listed.runs, known, bucket, buckets)
        complete(self.store, "2", ["made up"], listed, merged)
        if merged.known != self.units:
            raise RuntimeError(f"{merged} of {self.units} units")
        return f"{merged.known:,} known, {merged.added} added"

    def write_all_waves(self) -> str:
        """What a first run reads."""
        chosen, sizes = Selection(3), []
        for wave in write_waves(self.store, "run", self.outcomes, chosen, _WAVE_UNITS):
            sizes.append(wave.units)
            self.store.delete(wave.name)
        return f"{len(sizes)} waves of {sum(sizes):,} units"

    def make_outcomes(self) -> str:
        """Outcomes of all units, as many a file as a run commits."""
        files = 0
        for table in read_manifest(self.store, ["unit_id"]):
            for start in range(0, len(table), _UNITS_PER_COMMIT):
                name = f"{MASKS}/{files:08}.parquet"
                self.store.put(name, b"only its name counts: the copy is read")
                copy_outcomes(self.store, name, _outcomes(table.slice(start, _UNITS_PER_COMMIT)))
                files += 1
        return f"{files:,} files"

    def read_outcomes(self) -> str:
        """What every run begins with."""
        self.outcomes = latest_outcomes(self.store)
        return f"{self.outcomes.rows.itemsize} bytes a unit are kept"

    def kept_mib(self) -> float:
        """What the index of outcomes takes."""
        return self.outcomes.rows.nbytes / (1 << 20)

    def find_nothing_due(self) -> str:
        """What a resumed run does when all is done."""
        waves = list(write_waves(self.store, "again", self.outcomes, Selection(3), _WAVE_UNITS))
        now = standing(self.store, self.outcomes)
        if waves or not now.is_complete:
            raise RuntimeError(f"{waves} are due, {now}")
        return f"{now.ok:,} ok"


def list_many(output: Path, units: int) -> list[Step]:
    """All steps with so many units."""
    world = _World(LocalStore(output), units)
    steps = Steps(units, world.kept_mib)
    steps.do("list", world.list_source)
    steps.do("merge", world.merge)
    steps.do("list and merge again", world.merge_again)
    steps.do("waves", world.write_all_waves)
    steps.do("outcomes, made up", world.make_outcomes)
    steps.do("outcomes, read", world.read_outcomes)
    steps.do("waves and standing when all is done", world.find_nothing_due)
    return steps.done


def made_up(start: int, end: int) -> Iterator[Unit]:
    """Units as a listing of a bucket finds them."""
    for number in range(start, end):
        uri = f"s3://archive/cameras/{number % 997:03}/2026/{number:012}.jpg"
        yield Unit(uri, "image", length=200_000 + number % 99_991, version=f"{number:032x}")


def _outcomes(units: pa.Table) -> pa.Table:
    count = len(units)
    given = {
        "unit_id": units["unit_id"],
        "attempt": pa.repeat(pa.scalar(1, pa.int32()), count),
        "status": pa.repeat("ok", count),
    }
    columns = [given.get(column.name, pa.nulls(count, column.type)) for column in OUTCOME_SCHEMA]
    return pa.table(columns, schema=OUTCOME_SCHEMA)
