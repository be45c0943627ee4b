"""What a unit costs where there are many: the driver's memory, and the time that each takes.

    python jobs/benchmarks/many_units.py FOLDER [--runs 1000,100000] [--listings 200000,10000000]

`--runs`: whole runs over tar shards of tiny pictures, with a model stage that does nothing.
`--listings`: made-up units through the index, the todo waves and the index of outcomes.
Each size is a process of its own.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT)]

from jobs.benchmarks import pipeline_media
from jobs.benchmarks.many_listings import Step, list_many
from jobs.benchmarks.pipeline_rows import LEDGER, Figure, common_arguments, keep
from jobs.benchmarks.pipeline_stage import sleeping
from jobs.benchmarks.pipeline_times import Event, TooFewBatches, part, read_diary
from jobs.benchmarks.resident import watching_memory
from sam2ray.config_file import load_config
from sam2ray.root import Selection
from sam2ray.run import run_job

MOST_GROWTH_MIB = 200
FLAT = 1.25  # the last tenth takes at most so many times what the first takes


@dataclass(frozen=True, slots=True)
class RunSeen:
    """A whole run, as its driver saw it."""

    units: int
    peak_mib: float  # of the driver
    seconds: float
    first_ms: float | None  # a unit, over the first tenth of the units; None of too few
    last_ms: float | None


def main() -> None:
    """Measure runs, then listings."""
    parser = common_arguments(__doc__)
    parser.add_argument("--runs", default="1000,100000", help="units of each; empty for none")
    parser.add_argument("--listings", default="200000,10000000", help="the same")
    parser.add_argument("--set", action="append", default=[], help="settings of the job")
    parser.add_argument("--one", help="for itself: do one of them, and print it as JSON")
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(_one(arguments.folder, arguments.one, tuple(arguments.set))))
        return
    ledger = None if arguments.dry else LEDGER
    arguments.folder.mkdir(parents=True, exist_ok=True)
    if arguments.runs:
        seen = [RunSeen(**_alone("run", units)) for units in arguments.runs.split(",")]
        for figure in figures_of_runs(seen):
            keep(figure, ledger)
    if arguments.listings:
        sizes = arguments.listings.split(",")
        steps = {int(units): [Step(**step) for step in _alone("list", units)] for units in sizes}
        for figure in figures_of_listings(steps):
            keep(figure, ledger)


def _alone(what: str, units: str) -> Any:  # noqa: ANN401 JSON
    """One measurement in a process of its own, which is told all that this one was told."""
    command = [sys.executable, *sys.argv, "--one", f"{what}:{units}"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT)
    return json.loads(done.stdout.splitlines()[-1])


def _one(folder: Path, order: str, settings: tuple[str, ...]) -> object:
    what, _, units = order.partition(":")
    output = Path(mkdtemp(prefix="out-", dir=folder))
    try:
        if what == "run":
            return asdict(run_many(folder, output, int(units), settings))
        return [asdict(step) for step in list_many(output, int(units))]
    finally:
        shutil.rmtree(output)


def run_many(folder: Path, output: Path, units: int, settings: tuple[str, ...] = ()) -> RunSeen:
    """Label so many tiny pictures with a model that does nothing."""
    archive = pipeline_media.shards(folder, units)
    own = ("model.image_size=64", "resources.actors=1", "resources.batch_size=64", *settings)
    config = load_config(
        None, own, source=str(archive), output=str(output / "dataset"), model="nano"
    )
    load = sleeping(0.0, output / "diary", masks=1)
    with watching_memory() as peak:
        report = run_job(config, Selection(3), lambda *_: None, load)
    if report.standing.ok != units:
        raise RuntimeError(f"of {units} units {report.standing.ended} ended")
    events = read_diary(output / "diary")
    first, last = _ms_a_unit(events, 0.0, 0.1), _ms_a_unit(events, 0.9, 1.0)
    return RunSeen(units, peak.mib, report.seconds, first, last)


def _ms_a_unit(events: list[Event], start: float, end: float) -> float | None:
    try:
        return 1000 / part(events, start, end).rate
    except TooFewBatches:
        return None


def figures_of_runs(seen: list[RunSeen]) -> list[Figure]:
    """Growth from the smallest run to the largest, and how flat the largest one was."""
    small, large = seen[0], seen[-1]
    notes = "; ".join(
        f"{run.units:,} units: driver {run.peak_mib:.0f} MiB, whole run {run.seconds:.0f} s"
        for run in seen
    )
    growth = Figure(
        "many units, the driver's growth",
        f"{small.units} to {large.units} units",
        round(large.peak_mib - small.peak_mib, 1),
        "MiB",
        f"< {MOST_GROWTH_MIB}",
        notes,
    )
    if large.first_ms is None or large.last_ms is None:
        return [growth]
    flat = Figure(
        "many units, cost of the last tenth by that of the first",
        f"{large.units} units",
        round(large.last_ms / large.first_ms, 3),
        "times",
        f"<= {FLAT}",
        f"{large.first_ms:.2f} ms a unit in the first tenth, {large.last_ms:.2f} ms in the last",
    )
    return [growth, flat]


def figures_of_listings(steps: dict[int, list[Step]]) -> list[Figure]:
    """By how much more each step grew with most units than with fewest."""
    fewest, most = min(steps), max(steps)
    return [
        Figure(
            f"many listings, {large.name}",
            f"{fewest} to {most} units",
            round(large.growth_mib - small.growth_mib, 1),
            "MiB",
            f"< {MOST_GROWTH_MIB}" + (f" + {large.kept_mib:.0f} kept" if large.kept_mib else ""),
            f"grew by {small.growth_mib:.0f} and {large.growth_mib:.0f} MiB, took "
            f"{small.us_a_unit:.2f} and {large.us_a_unit:.2f} us a unit; {large.note}".rstrip("; "),
        )
        for small, large in zip(steps[fewest], steps[most], strict=True)
    ]


if __name__ == "__main__":
    main()
