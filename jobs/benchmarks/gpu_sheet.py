"""Measures calls on one device and turns the figures into rows."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import median

import torch

from jobs.benchmarks.gpu_rows import NONE, Row, ideal_seconds, share_of_floor
from jobs.benchmarks.gpu_world import Suite

MIB = 1 << 20
COMPILES_S = 45  # about what the first call of a compiled network may take
Work = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds of one call, of the first call, which may compile, and the most memory allocated."""

    seconds: float
    first_s: float
    peak_mib: float | str = NONE


@dataclass(frozen=True, slots=True)
class Stopwatch:
    """Measures calls whose work goes on in the device after they return."""

    device: torch.device
    repeats: int

    def time(self, work: Work) -> Timing:
        """Median of several calls, after one that compiles and one that settles."""
        first_s = self.seconds(work)
        self.seconds(work)
        self.reset_peak()
        seconds = median(self.seconds(work) for _ in range(self.repeats))
        return Timing(seconds, first_s, self.peak_mib())

    def seconds(self, work: Work) -> float:
        """How long one call takes, until the device is done too."""
        start = self.now()
        work()
        return self.now() - start

    def now(self) -> float:
        """The time at which the device has done all it was given."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def reset_peak(self) -> None:
        """Count the peak from now on."""
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)

    def peak_mib(self) -> float | str:
        """The most memory that was allocated since, the network's own included."""
        if self.device.type != "cuda":
            return NONE
        return torch.cuda.max_memory_allocated(self.device) / MIB


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """Rows about one network in one variant, as one of the sides runs it."""

    suite: Suite
    name: str
    precision: str
    compile: str = "off"
    side: str = ""  # a word before what is measured: whose network it is, if not ours

    @property
    def watch(self) -> Stopwatch:
        """The clock of the device."""
        return Stopwatch(self.suite.device, self.suite.scale.repeats)

    @property
    def size(self) -> int:
        """Model resolution."""
        return self.suite.scale.speed_size

    def row(
        self, what: str, unit: str, *, batch: int | str = NONE, objects: int | str = NONE
    ) -> Row:
        """A row without its figures."""
        return Row(
            what=f"{self.side}{what}",
            model=self.name,
            image_size=self.size,
            precision=self.precision,
            compile=self.compile,
            batch=batch,
            objects=objects,
            unit=unit,
        )

    def write(self, row: Row, timing: Timing, *, per_call: int, ideal_s: float | None) -> None:
        """Write how many of the unit were done a second, and how near to the floor that is."""
        notes = [row.note, f"first call {timing.first_s:.1f} s"]
        self.suite.ledger.write(
            replace(
                row,
                value=per_call / timing.seconds,
                peak_mib=timing.peak_mib,
                share_of_floor=share_of_floor(ideal_s, timing.seconds),
                note=", ".join(note for note in notes if note),
            )
        )

    def ideal_s(self, what: str, count: int = 1) -> float | None:
        """The floor of one call on this device; it is known for half precision alone."""
        if self.suite.device.type != "cuda" or self.precision == "fp32":
            return None
        return ideal_seconds(what, self.name, self.size, count)

    def measure(self, row: Row, work: Callable[[Row], None], needed_s: float = 0) -> None:
        """Let `work` measure and write a row; where it cannot, write why, and go on."""
        budget = self.suite.budget
        if not budget.allows(max(needed_s, 0 if self.compile == "off" else COMPILES_S)):
            note = f"skipped: only {budget.remaining():.0f} s are left"
            self.suite.ledger.write(replace(row, note=note))
            return
        try:
            work(row)
        except Exception as error:  # noqa: BLE001 a batch that does not fit must not cost the others
            self.suite.ledger.write(replace(row, check="fail", note=said(error)))


def said(error: Exception) -> str:
    """An error on one line."""
    return f"{type(error).__name__}: {error}".replace("\n", " ")[:200]
