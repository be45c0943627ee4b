"""A job, looked at before it runs: what it would take, do and cost; nothing is written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice

import pyarrow as pa
from rich.table import Table

from .config import JobConfig
from .heads import head_config
from .listing import source_of
from .manifest import buckets_for, read_manifest
from .outcomes import latest_outcomes
from .packed import is_in, sorted_ids
from .planner import (
    Cluster,
    Plan,
    clips_per_block,
    make_plan,
    remark_on_device,
    room_for_actors,
)
from .readers.slices import Ignored
from .readers.sources import Source
from .records import Ids, Unit, as_ids
from .report import RunReport, counted, duration, read_reports
from .root import Selection, due_units
from .storage import Store
from .tables import amount, two_columns

_AT_A_TIME = 4096
_EXAMPLES = 3


@dataclass(slots=True)
class Amount:
    """Units by kind, and their bytes as far as these are known."""

    kinds: Counter[str] = field(default_factory=Counter)
    bytes: int = 0
    of_unknown_size: int = 0

    @property
    def units(self) -> int:
        """All of them."""
        return sum(self.kinds.values())

    def add(self, kind: str, length: int | None) -> None:
        """Count one more."""
        self.kinds[kind] += 1
        self.bytes += length or 0
        self.of_unknown_size += length is None

    def __str__(self) -> str:
        if not self.units:
            return "0"
        size = f", {in_bytes(self.bytes)}" if self.bytes else ""
        unknown = f" and {self.of_unknown_size:,} of unknown size" if self.of_unknown_size else ""
        return f"{self.units:,} ({counted(self.kinds)}{size}{unknown})"


@dataclass(slots=True)
class Prospect:
    """What a run would find and do."""

    found: Amount = field(default_factory=Amount)
    new: Amount = field(default_factory=Amount)
    due: Amount = field(default_factory=Amount)
    ignored: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)
    prompts: str = ""


def prospect(config: JobConfig, store: Store, chosen: Selection) -> Prospect:
    """List the source, and compare it with what the output knows.

    What has new content under an old name is told from what is merely new only by a run: it counts
    as new here.
    """
    seen = Prospect()
    known = _known_ids(store)
    units = _units(source_of(config), seen)
    while batch := list(islice(units, _AT_A_TIME)):
        ids = as_ids([unit.unit_id for unit in batch])
        for unit, is_known in zip(batch, is_in(ids, known).tolist(), strict=True):
            seen.found.add(unit.kind, unit.length)
            if not is_known:
                seen.new.add(unit.kind, unit.length)
    _count_due(store, chosen, seen)
    return seen


def _known_ids(store: Store) -> Ids:
    tables = read_manifest(store, ["unit_id"])
    return sorted_ids(as_ids(table["unit_id"]) for table in tables)


def _units(source: Source, seen: Prospect) -> Iterator[Unit]:
    units = _without_ignored(source, seen)
    if source.prompts is None:
        yield from units
        return
    join = source.join()
    yield from join.run(units, source.all_prompts())
    seen.prompts = join.report.describe()


def _without_ignored(source: Source, seen: Prospect) -> Iterator[Unit]:
    for item in source.all_units():
        if isinstance(item, Ignored):
            seen.ignored[item.reason] += 1
            if len(seen.examples) < _EXAMPLES:
                seen.examples.append(item.name)
        else:
            yield item


def _count_due(store: Store, chosen: Selection, seen: Prospect) -> None:
    """What earlier listings left, and what is new; a limit takes the former first."""
    for table in due_units(store, latest_outcomes(store), chosen):
        _add_all(table, seen.due)
    room = None if chosen.limit is None else max(0, chosen.limit - seen.due.units)
    share = 1.0 if room is None or seen.new.units <= room else room / seen.new.units
    for kind, count in seen.new.kinds.items():
        seen.due.kinds[kind] += round(share * count)
    seen.due.bytes += round(share * seen.new.bytes)
    seen.due.of_unknown_size += round(share * seen.new.of_unknown_size)


def _add_all(table: pa.Table, amount: Amount) -> None:
    for kind, length in zip(table["kind"].to_pylist(), table["length"].to_pylist(), strict=True):
        amount.add(kind, length)


# ---------------------------------------------------------------- the plan, in words


def plan_table(config: JobConfig, there: Cluster, seen: Prospect, store: Store) -> Table:
    """What `sam2ray run --dry-run` shows."""
    rows = _rows(config, make_plan(config, there), there, seen, read_reports(store))
    return two_columns(f"dry run: {store.uri}", rows)


def _rows(
    config: JobConfig, plan: Plan, there: Cluster, seen: Prospect, reports: list[RunReport]
) -> Iterator[tuple[str, str]]:
    yield "found", str(seen.found)
    if seen.ignored:
        yield "ignored files", f"{counted(seen.ignored)}, such as {', '.join(seen.examples)}"
    if seen.prompts:
        yield "prompts", seen.prompts
    yield "new", str(seen.new)
    yield "to be done", str(seen.due)
    yield "model", f"{config.model.name}, {config.model.precision}, mode {config.mode}"
    head = head_config(config)
    if head is not None:
        yield "head", f"{len(head.classes):,} classes: {', '.join(head.classes):.200}"
    yield "device", _device(plan)
    if remark := remark_on_device(config, plan):
        yield "", remark
    cpus = amount(plan.cpus_per_actor, "CPU")
    yield "actors", f"{plan.actors:,}, each {cpus} and {amount(plan.threads_per_actor, 'thread')}"
    yield "room for actors", room_for_actors(config, there, plan)
    cpus = amount(plan.cpus_per_task, "CPU")
    yield "decoding", f"tasks of {cpus}, decode.mode={config.decode.mode}"
    yield "work", _blocks(config, plan, seen)
    yield "expected", expected(seen.due.units, plan, reports)


def _device(plan: Plan) -> str:
    if not plan.gpus_per_actor:
        return plan.device
    return f"{plan.device}, {amount(plan.gpus_per_actor, 'GPU')} an actor"


def _blocks(config: JobConfig, plan: Plan, seen: Prospect) -> str:
    units, wave = seen.due.units, config.limits.wave_units
    files = -(-units // config.output.commit_every_units)
    pictures, clips = amount(plan.units_per_block, "picture"), clips_per_block(config)
    return (
        f"blocks of at most {pictures} or {amount(clips, 'clip')}, in "
        f"{amount(-(-units // wave), 'wave')} or more; at "
        f"least {amount(files, 'file')} of results; the manifest has "
        f"{amount(buckets_for(seen.found.units), 'part')}"
    )


def expected(units: int, plan: Plan, reports: list[RunReport]) -> str:
    """How long it takes, and how much of machines, by the last run with such a device."""
    measured = [r for r in reports if r.units and r.plan and r.plan.device == plan.device]
    if not units:
        return "nothing to do"
    if not measured:
        return "not measured: no run of this output has done anything yet on such a device"
    last = measured[-1]
    assert last.plan is not None
    rate = last.units_per_s / last.plan.actors * plan.actors
    hours = units / rate / 3600
    of_gpus = f", {hours * plan.actors * plan.gpus_per_actor:,.1f} GPU-hours"
    return (
        f"{duration(3600 * hours)}{of_gpus if plan.gpus_per_actor else ''} at {rate:,.2f} units/s, "
        f"which is what run {last.run_id} did with {amount(last.plan.actors, 'actor')}"
    )


def in_bytes(count: float) -> str:
    """`3.2 GB`, in powers of a thousand."""
    for unit in ("bytes", "kB", "MB", "GB", "TB"):
        if count < 1000 or unit == "TB":
            break
        count /= 1000
    return f"{count:,.0f} {unit}" if unit == "bytes" else f"{count:,.1f} {unit}"
