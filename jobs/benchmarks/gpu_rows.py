"""What the GPU suite writes down, what it is compared with, and how long it may take."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import datetime, timezone
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[2]
NONE = "-"  # in a cell that has nothing to say


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the results: where and when it was measured, what, and how much."""

    commit: str = NONE
    date: str = NONE
    device: str = NONE
    torch: str = NONE
    what: str
    model: str = NONE
    image_size: int | str = NONE
    precision: str = NONE
    compile: str = NONE
    batch: int | str = NONE  # images, or prompts decoded at once
    objects: int | str = NONE  # objects of a clip, prompts of a picture, masks found
    value: float | str = NONE
    unit: str = NONE
    peak_mib: float | str = NONE
    share_of_floor: float | str = NONE  # the ideal time over the measured one: 1 is the best
    check: str = NONE  # pass or fail, where a number has a gate
    note: str = ""


@dataclass(slots=True)
class Ledger:
    """Rows that are on disk and on the screen as soon as they are known."""

    path: Path
    place: Row  # what all rows share
    rows: list[Row] = field(default_factory=list)

    def open(self) -> None:
        """Start a file with its header, or go on with one that has the same columns."""
        header = [field.name for field in fields(Row)]
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if not self.path.exists() or not self.path.stat().st_size:
            self._append(header)
            return
        with self.path.open(newline="") as file:
            if next(csv.reader(file)) != header:
                raise ValueError(f"{self.path}: has other columns; name another file with --out")

    def write(self, row: Row) -> None:
        """Append a row, so that a kill after it loses nothing."""
        here = {name: getattr(self.place, name) for name in ("commit", "date", "device", "torch")}
        full = replace(row, **here)
        self.rows.append(full)
        self._append([_short(value) for value in asdict(full).values()])
        print(line_of(full), flush=True)

    def skip(self, what: str, reason: str, model: str = NONE) -> None:
        """Say that something was not measured, and why."""
        self.write(Row(what=what, model=model, note=f"skipped: {reason}"))

    def failed(self) -> bool:
        """Whether any gate was missed."""
        return any(row.check == "fail" for row in self.rows)

    def _append(self, cells: Sequence[object]) -> None:
        with self.path.open("a", newline="") as file:
            csv.writer(file, lineterminator="\n").writerow(cells)
            file.flush()
            os.fsync(file.fileno())


def _short(value: object) -> object:
    return f"{value:.6g}" if isinstance(value, float) else value


_WIDTHS = {
    "what": 30,
    "model": 19,
    "image_size": 10,
    "precision": 9,
    "compile": 8,
    "batch": 5,
    "objects": 7,
    "value": 11,
    "unit": 12,
    "peak_mib": 8,
    "share_of_floor": 14,
    "check": 5,
    "note": 0,
}


def header() -> str:
    """The first line of the table."""
    return "  ".join(name.ljust(width) for name, width in _WIDTHS.items()).rstrip()


def line_of(row: Row) -> str:
    """A row as a line of the table."""
    return "  ".join(
        _cell(getattr(row, name)).ljust(width) for name, width in _WIDTHS.items()
    ).rstrip()


def _cell(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def summary(rows: Sequence[Row]) -> str:
    """How many rows there are, and those that missed their gate or were not measured."""
    passed = sum(row.check == "pass" for row in rows)
    failed = [row for row in rows if row.check == "fail"]
    skipped = [row for row in rows if row.note.startswith("skipped")]
    lines = [
        f"{len(rows)} rows, {passed} gates passed, {len(failed)} failed, {len(skipped)} skipped"
    ]
    return "\n".join([*lines, *map(line_of, failed), *map(line_of, skipped)])


# --- time


@dataclass(frozen=True, slots=True)
class Budget:
    """Seconds that may be spent, counted from the start of the suite."""

    seconds: float
    clock: Callable[[], float] = time.monotonic
    started: float = field(default=-1.0)

    @staticmethod
    def start(seconds: float, clock: Callable[[], float] = time.monotonic) -> Budget:
        """A budget that runs from now on."""
        return Budget(seconds, clock, clock())

    def remaining(self) -> float:
        """Seconds left; negative once the budget is overdrawn."""
        return self.seconds - (self.clock() - self.started)

    def allows(self, needed_s: float) -> bool:
        """Whether something that takes this long still fits."""
        return self.remaining() >= needed_s


# --- the floor


@dataclass(frozen=True, slots=True, kw_only=True)
class Floor:
    """Milliseconds that the arithmetic alone takes at 1024 px, at 790 TFLOP/s.

    Source: shared/reference/speed.md, section 3: FLOPs counted on the reference's modules, and
    what an H100 or H200 reaches in bf16. No floor counts memory traffic.
    """

    encode_ms: float  # an image
    all_masks_ms: float  # an image, 1024 points, no crops
    track_ms: float  # a frame with one object, once memory is full


FLOORS = {
    "sam2.1_hiera_tiny": Floor(encode_ms=0.370, all_masks_ms=5.09, track_ms=1.16),
    "sam2.1_hiera_small": Floor(encode_ms=0.456, all_masks_ms=5.17, track_ms=1.24),
    "sam2.1_hiera_base_plus": Floor(encode_ms=0.819, all_masks_ms=5.54, track_ms=1.61),
    "sam2.1_hiera_large": Floor(encode_ms=2.307, all_masks_ms=7.02, track_ms=3.09),
}
FLOOR_IMAGE_SIZE = 1024
PROMPT_MS = 0.295 / 64  # the same source: 64 prompts on an encoded image
OBJECT_MS = 0.79  # the same source: each further object of a frame


def ideal_seconds(what: str, model: str, image_size: int, count: int) -> float | None:
    """The floor of one call: of `count` images, prompts or objects; None where none is known."""
    floor = FLOORS.get(model)
    if floor is None or image_size != FLOOR_IMAGE_SIZE:
        return None
    milliseconds = {
        "encode": floor.encode_ms * count,
        "prompts": PROMPT_MS * count,
        "all masks": floor.all_masks_ms,
        "track": floor.track_ms + OBJECT_MS * (count - 1),
    }[what]
    return milliseconds / 1000


def share_of_floor(ideal_s: float | None, measured_s: float) -> float | str:
    """The ideal time over the measured one."""
    return NONE if ideal_s is None else ideal_s / measured_s


# --- where it runs


def place(device: torch.device) -> Row:
    """What all rows of a run share."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    return Row(what=NONE, commit=commit(), date=now, device=name, torch=torch.__version__)


def commit() -> str:
    """The commit that runs: from COMMIT, else from git, else a dash."""
    if named := os.environ.get("COMMIT"):
        return named
    try:
        done = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"],
            capture_output=True,
            text=True,
            cwd=ROOT,
            check=False,
        )
    except OSError as error:
        print(f"no commit: {error}", file=sys.stderr)
        return NONE
    return done.stdout.strip() or NONE
