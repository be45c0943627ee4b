"""sam2ray beside what one would write instead: rates, memory, and whether the masks are the same.

    python jobs/benchmarks/side_by_side.py FOLDER [--pictures 240] [--turns 3] [--dry]

Sides: ours; fair_map_batches.py, over our core; naive_ray.py, over the reference package. They take
turns with the same pictures, weights and settings, one actor each, and the quickest turn counts.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT)]

import torch

from jobs.benchmarks import pipeline_media
from jobs.benchmarks.mask_agreement import Found, agreement, read_masks
from jobs.benchmarks.pipeline_rows import LEDGER, Figure, common_arguments, keep
from jobs.benchmarks.pipeline_stage import kept
from jobs.benchmarks.pipeline_times import part, read_diary
from jobs.benchmarks.resident import watching_memory
from sam2_core import export_checkpoint, load_sam2
from sam2ray.config_file import load_config
from sam2ray.root import Selection
from sam2ray.run import run_job

BAR = 0.95
THRESHOLDS = {"pred_iou_thresh": 0.0, "stability_score_thresh": 0.6}  # let 50 masks through
OURS = "ours"
SCRIPTS = {"fair": "fair_map_batches.py", "naive": "naive_ray.py"}


@dataclass(frozen=True, slots=True, eq=False)
class Turn:
    """One run of one side."""

    rate: float  # pictures/s over the middle 80 % of the run
    seconds: float  # of the whole command
    peak_mib: float  # of all its processes, shared pages once
    found: Found


@dataclass(frozen=True, slots=True)
class Order:
    """What every side is told."""

    archive: Path
    settings: Mapping[str, Any]
    weights: Path


def main() -> None:
    """Measure the sides, and say how ours stands to each of the others."""
    arguments = _parse()
    if arguments.one:
        run_ours(*map(Path, arguments.one[:3]), settings=json.loads(arguments.one[3]))
        return
    order = _order(arguments)
    best: dict[str, Turn] = {}
    for _ in range(arguments.turns):
        for side in (OURS, *arguments.against.split(",")):
            turn = measure(side, order, arguments.folder)
            said = f"{side}: {turn.rate:.2f}/s, {turn.seconds:.0f} s, {turn.peak_mib:.0f} MiB"
            print(said, flush=True)
            if side not in best or turn.rate > best[side].rate:
                best[side] = turn
    size = f"{arguments.pictures} pictures, {arguments.points_per_side} points a side"
    for figure in figures(best, f"{size}, best of {arguments.turns}"):
        keep(figure, None if arguments.dry else LEDGER)


def _parse() -> argparse.Namespace:
    parser = common_arguments(__doc__)
    parser.add_argument("--pictures", type=int, default=240)
    parser.add_argument("--points-per-side", type=int, default=6)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--against", default=",".join(SCRIPTS), help="sides to be compared with")
    parser.add_argument("--one", nargs=4, help="for itself: run our side, as a script is run")
    return parser.parse_args()


def _order(arguments: argparse.Namespace) -> Order:
    archive = pipeline_media.photographs(arguments.folder, arguments.pictures)
    weights = arguments.folder / "nano.pt"
    torch.save(export_checkpoint(load_sam2("nano")), weights)
    return Order(archive, {"points_per_side": arguments.points_per_side, **THRESHOLDS}, weights)


def measure(side: str, order: Order, folder: Path) -> Turn:
    """Run a side in processes of its own."""
    with TemporaryDirectory(prefix="out-", dir=folder) as name:
        output, diary, log = (Path(name, kind) for kind in ("masks", "diary", "log"))
        command = _command(side, order, output, diary)
        began = time.perf_counter()
        with log.open("w") as said:
            process = subprocess.Popen(command, cwd=ROOT, stdout=said, stderr=subprocess.STDOUT)
            with watching_memory(process.pid, with_children=True) as peak:
                code = process.wait()
        if code:
            raise RuntimeError(f"{side} ended with {code}:\n{log.read_text()[-3000:]}")
        seconds = time.perf_counter() - began
        window = part(read_diary(diary), 0.1, 0.9, what="batch")
        return Turn(window.rate, seconds, peak.mib, read_masks(output))


def _command(side: str, order: Order, output: Path, diary: Path) -> list[str]:
    told = dict(order.settings)
    places = [str(order.archive), str(output), str(diary)]
    if side == OURS:
        return [sys.executable, __file__, "-", "--one", *places, json.dumps(told)]
    if side == "naive":
        told["weights"] = str(order.weights)
    script = Path(__file__).with_name(SCRIPTS[side])
    return [sys.executable, "-W", "ignore", str(script), *places, json.dumps(told)]


def run_ours(archive: Path, output: Path, diary: Path, *, settings: Mapping[str, Any]) -> None:
    """The product, with a diary."""
    given = [f"masks.{name}={value}" for name, value in settings.items()]
    config = load_config(
        None,
        (*given, "resources.actors=1"),
        source=str(archive),
        output=str(output.parent / "dataset"),
        model="nano",
    )
    run_job(config, Selection(3), lambda *_: None, kept(diary))
    output.symlink_to(output.parent / "dataset" / "masks")


def figures(best: Mapping[str, Turn], size: str) -> Iterator[Figure]:
    """How our side stands to the others."""
    ours = best[OURS]
    for side, other in best.items():
        if side == OURS:
            continue
        same = agreement(ours.found, other.found)
        rates = f"{ours.rate:.2f} and {other.rate:.2f} pictures/s over the middle 80 %"
        note = f"{rates}; whole commands {ours.seconds:.0f} and {other.seconds:.0f} s; {same}"
        bar = f">= {BAR:.2f}" if side == "fair" else ""
        yield Figure(
            f"rate by that of {SCRIPTS[side]}",
            size,
            round(ours.rate / other.rate, 3),
            "times",
            bar,
            note,
        )
        yield Figure(
            f"peak memory by that of {SCRIPTS[side]}",
            size,
            round(ours.peak_mib / other.peak_mib, 3),
            "times",
            "",
            f"{ours.peak_mib:.0f} and {other.peak_mib:.0f} MiB, all processes with Ray's",
        )


if __name__ == "__main__":
    main()
