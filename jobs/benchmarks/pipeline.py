"""How much of a model's time a run keeps: real archives, and a model stage that only sleeps.

    python jobs/benchmarks/pipeline.py FOLDER [--pictures 2000] [--clips 100] [--only clips] [--dry]

All but the model is the product: manifest, todo, decoding, actors, commits, ledger. What is
measured is the rate at which pictures and frames leave the stage, over the middle 80 % of the run.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT)]

from jobs.benchmarks import pipeline_media
from jobs.benchmarks.pipeline_rows import LEDGER, Figure, common_arguments, keep
from jobs.benchmarks.pipeline_stage import sleeping
from jobs.benchmarks.pipeline_times import middle, profile, read_diary
from sam2ray.config_file import load_config
from sam2ray.report import RunReport
from sam2ray.root import Selection
from sam2ray.run import run_job

BAR = 0.90


@dataclass(frozen=True, slots=True)
class Archive:
    """What is labelled."""

    what: str
    folder: Path
    count: int
    unit: str  # of what the stage sleeps for


def main() -> None:
    """Measure pictures, then clips."""
    arguments = _parse()
    for archive in _archives(arguments):
        output = Path(mkdtemp(prefix="out-", dir=arguments.folder))
        try:
            figure = measure(archive, output, arguments.seconds, tuple(arguments.set))
        finally:
            shutil.rmtree(output)
        keep(figure, None if arguments.dry else LEDGER)


def _parse() -> argparse.Namespace:
    parser = common_arguments(__doc__)
    parser.add_argument("--pictures", type=int, default=2000)
    parser.add_argument("--clips", type=int, default=100)
    parser.add_argument("--only", choices=("pictures", "clips"))
    parser.add_argument("--seconds", type=float, default=0.05, help="of sleep a picture or frame")
    parser.add_argument("--set", action="append", default=[], help="settings of the job")
    return parser.parse_args()


def _archives(arguments: argparse.Namespace) -> list[Archive]:
    make: dict[str, Callable[[], Archive]] = {
        "pictures": lambda: Archive(
            "efficiency, pictures",
            pipeline_media.photographs(arguments.folder, arguments.pictures),
            arguments.pictures,
            "pictures",
        ),
        "clips": lambda: Archive(
            "efficiency, clips",
            pipeline_media.clips(arguments.folder, arguments.clips),
            arguments.clips,
            "frames",
        ),
    }
    return [make[name]() for name in make if arguments.only in (None, name)]


def measure(
    archive: Archive, output: Path, seconds: float, settings: tuple[str, ...] = ()
) -> Figure:
    """Run a job, and read in its diary which share of the bare loop's rate it reached."""
    diary = output / "diary"
    report = _run(archive.folder, output / "dataset", seconds, diary, settings)
    if report.standing.ok != archive.count:
        raise RuntimeError(f"of {archive.count} units {report.standing.ended} ended")
    events = read_diary(diary)
    window = middle(events)
    lost = profile(events, window, seconds)
    return Figure(
        archive.what,
        f"{archive.count} units",
        round(window.rate * seconds, 4),
        "of the bare loop's rate",
        f">= {BAR:.2f}",
        f"{window.rate:.2f} of {1 / seconds:g} {archive.unit}/s over the middle 80 %; lost to: "
        f"{lost}; whole run {report.seconds:.0f} s",
    )


def _run(
    archive: Path, output: Path, seconds: float, diary: Path, settings: tuple[str, ...]
) -> RunReport:
    own = ("model.image_size=1024", "resources.actors=1", *settings)
    config = load_config(None, own, source=str(archive), output=str(output), model="nano")
    load = sleeping(seconds, diary)
    return run_job(config, Selection(config.limits.max_attempts), lambda *_: None, load)


if __name__ == "__main__":
    main()
