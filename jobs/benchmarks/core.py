"""Runs the reference, transformers and our core side by side on a CPU, and appends to the ledger.

    python jobs/benchmarks/core.py --picture PHOTO.jpg [--only encode,masks] [--threads 2]

Every measurement is a process of its own, so that peaks of memory are its own too; sides take turns
within one run, with the same weights, threads and inputs. Peak is what resident memory grows by
over the loaded model.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from datetime import date
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
LEDGER = Path(__file__).with_name("ledger.csv")


@dataclass(frozen=True, slots=True)
class Task:
    """One thing that is measured on every side that can do it."""

    what: str
    image_size: int
    count: int  # prompts, objects or masks
    sides: tuple[str, ...] = ("reference", "ours")


TASKS = {
    "encode": [Task("encode", 1024, 1, ("reference", "transformers", "ours"))],
    "prompts": [
        Task("prompts", 1024, 1, ("reference", "transformers", "ours")),
        Task("prompts", 1024, 64, ("reference", "transformers", "ours")),
    ],
    "masks": [Task("masks", 1024, 1024)],
    "track": [Task("track", 512, 1), Task("track", 512, 4), Task("track", 512, 16)],
    "track1024": [Task("track", 1024, 1)],
    "runs": [Task("rle encode", 0, 1000), Task("rle decode", 0, 1000)],
}


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the ledger."""

    date: str
    commit: str
    machine: str
    threads: int
    turns: int  # of which the quickest counts
    what: str
    model: str
    image_size: int
    count: int
    side: str
    seconds: float
    ratio_to_reference: float | str  # how many times faster than the reference in the same run
    peak_mib: float
    iou_to_reference: float | str
    note: str


def main() -> None:
    """Measure what was asked for, print it, and append it to the ledger."""
    arguments = _parse()
    machine, commit = _machine(), _commit()
    for name in arguments.only.split(","):
        for task in TASKS[name]:
            with tempfile.TemporaryDirectory() as folder:
                rows = list(_measure(task, Path(folder), arguments, machine, commit))
            for row in rows:
                print(_line(row), flush=True)
            if not arguments.dry:
                _append(rows)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--picture", required=True, help="a photograph")
    parser.add_argument("--model", default="sam2.1_hiera_tiny")
    parser.add_argument("--only", default=",".join(TASKS))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--repeat", type=int, default=1, help="turns of all sides; the quickest counts"
    )
    parser.add_argument("--dry", action="store_true", help="print, leave the ledger alone")
    parser.add_argument("--sides", default="", help="only these sides, comma-separated")
    return parser.parse_args()


def _measure(
    task: Task, folder: Path, arguments: argparse.Namespace, machine: str, commit: str
) -> Iterator[Row]:
    measured: dict[str, dict] = {}
    wanted = arguments.sides.split(",") if arguments.sides else task.sides
    for _ in range(arguments.repeat):
        for side in (side for side in task.sides if side in wanted):
            result = _run_side(task, side, folder, arguments)
            before = measured.setdefault(side, result)
            if result.get("seconds", math.inf) < before.get("seconds", math.inf):
                measured[side] = result
    reference = measured.get("reference", {}).get("seconds")
    for side, result in measured.items():
        iou, difference = _agreement(folder, side) if side != "reference" else ("-", "")
        seconds = result.get("seconds", float("nan"))
        yield Row(
            date.today().isoformat(),
            commit,
            machine,
            arguments.threads,
            arguments.repeat,
            task.what,
            arguments.model if task.image_size else "-",
            task.image_size,
            task.count,
            side,
            round(seconds, 3),
            round(reference / seconds, 2) if reference and seconds == seconds else "-",
            round(result.get("peak_mib", float("nan")), 1),
            iou,
            result.get("note", "") or difference,
        )


def _run_side(task: Task, side: str, folder: Path, arguments: argparse.Namespace) -> dict:
    script = Path(__file__).with_name("core_sides.py")
    order = {
        **asdict(task),
        "side": side,
        "folder": str(folder),
        "picture": arguments.picture,
        "model": arguments.model,
        "threads": arguments.threads,
    }
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(script), json.dumps(order)],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or ["no message"]
        return {"note": f"failed: {last[0][:200]}"}
    return json.loads(done.stdout.strip().splitlines()[-1])


def _agreement(folder: Path, side: str) -> tuple[float | str, str]:
    """Mean IoU of this side's masks with the reference's; of features, which have none, a note."""
    ours, theirs = folder / f"{side}.npz", folder / "reference.npz"
    if not ours.exists() or not theirs.exists():
        return "-", ""
    a, b = np.load(ours), np.load(theirs)
    if "features" in a:
        return "-", features_note(a["features"], b["features"])
    return mean_iou(a["masks"], b["masks"]), ""


def features_note(ours: np.ndarray, theirs: np.ndarray) -> str:
    """How far features are apart at most, as a share of the reference's range."""
    if ours.shape != theirs.shape:
        return f"features of shape {ours.shape}, the reference's {theirs.shape}"
    share = float(np.abs(ours - theirs).max()) / max(1.0, float(np.ptp(theirs)))
    return f"features differ by {share:.1e} of their range"


def mean_iou(ours: np.ndarray, theirs: np.ndarray) -> float | str:
    """Mean IoU of pairs of masks, eight pixels a byte; of two empty masks it is 1."""
    if ours.shape != theirs.shape:
        return f"shapes {ours.shape} {theirs.shape}"
    ious = [_iou(a, b) for a, b in zip(ours, theirs, strict=True)]  # of all at once: gigabytes
    return round(float(np.mean(ious)), 6) if ious else "-"


def _iou(a: np.ndarray, b: np.ndarray) -> float:
    either = int(np.unpackbits(np.bitwise_or(a, b)).sum())
    return int(np.unpackbits(np.bitwise_and(a, b)).sum()) / either if either else 1.0


def _append(rows: list[Row]) -> None:
    names = [field.name for field in fields(Row)]
    is_new = not LEDGER.exists()
    with LEDGER.open("a", newline="") as file:
        writer = csv.DictWriter(file, names, lineterminator="\n")
        if is_new:
            writer.writeheader()
        writer.writerows(asdict(row) for row in rows)


def _line(row: Row) -> str:
    return (
        f"{row.what:<11} {row.image_size:>5} px  x{row.count:<5} {row.side:<13} "
        f"{row.seconds:>9.3f} s  {row.ratio_to_reference!s:>6} x  {row.peak_mib:>8.1f} MiB  "
        f"IoU {row.iou_to_reference!s:<9} {row.note}"
    )


def _commit() -> str:
    done = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=ROOT
    )
    return done.stdout.strip() or "unknown"


def _machine() -> str:
    names = [
        line for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line
    ]
    return f"{names[0].split(':')[1].strip()} x{len(names)}" if names else "unknown"


if __name__ == "__main__":
    main()
