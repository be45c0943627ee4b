"""Rows of pipeline_ledger.csv: what was measured around the model, where, and against which bar."""

from __future__ import annotations

import argparse
import csv
import os
from dataclasses import asdict, dataclass, fields
from datetime import date
from pathlib import Path

from jobs.benchmarks.gpu_rows import commit

LEDGER = Path(__file__).with_name("pipeline_ledger.csv")


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure, the bar it is held against, and what else there is to know."""

    what: str
    size: str
    value: float
    unit: str
    bar: str  # ">= 0.90"; empty where there is none
    note: str

    def __str__(self) -> str:
        bar = f" (bar {self.bar})" if self.bar else ""
        return f"{self.what}, {self.size}: {self.value:g} {self.unit}{bar}; {self.note}"


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the ledger."""

    date: str
    commit: str
    machine: str
    load: float  # of the machine over the last minute: above its CPUs, others were at work
    what: str
    size: str
    value: float
    unit: str
    bar: str
    note: str


def common_arguments(summary: str | None) -> argparse.ArgumentParser:
    """What all benchmarks of the pipeline are told."""
    parser = argparse.ArgumentParser(description=(summary or "").partition("\n")[0])
    parser.add_argument("folder", type=Path, help="for made archives, which are kept, and outputs")
    parser.add_argument("--dry", action="store_true", help="print, leave the ledger alone")
    return parser


def keep(figure: Figure, ledger: Path | None = LEDGER) -> Row:
    """Print a figure, and append it to the ledger unless there is none."""
    print(figure, flush=True)
    row = Row(
        date.today().isoformat(),
        commit(),
        _machine(),
        round(os.getloadavg()[0], 1),
        **asdict(figure),
    )
    if ledger is not None:
        _append(row, ledger)
    return row


def _append(row: Row, ledger: Path) -> None:
    is_new = not ledger.exists()
    with ledger.open("a", newline="") as file:
        writer = csv.DictWriter(file, [f.name for f in fields(Row)], lineterminator="\n")
        if is_new:
            writer.writeheader()
        writer.writerow(asdict(row))


def _machine() -> str:
    facts = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in facts if line.startswith("model name")]
    return f"{names[0]} x{len(names)}" if names else "unknown"
