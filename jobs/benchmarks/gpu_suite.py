"""Checks and measures our core on one GPU with one command, within a given time.

    python3 jobs/benchmarks/gpu_suite.py [--out results.csv] [--budget-seconds 520]

It needs torch, torchvision, numpy, pillow and this checkout. Every row is appended to the file as
soon as it is known; the most valuable ones come first. The exit code is 1 if a gate was missed.
"""

from __future__ import annotations

import argparse
import gc
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

import torch

from jobs.benchmarks.gpu_checks import CHECKED, check_ops, check_variant, truth
from jobs.benchmarks.gpu_reference import measure_reference
from jobs.benchmarks.gpu_rows import Budget, Ledger, Row, header, place, summary
from jobs.benchmarks.gpu_sheet import said
from jobs.benchmarks.gpu_speed import measure_ours
from jobs.benchmarks.gpu_world import FULL, SMALL, Suite, Variant, weights_folder

LEDGER = Path(__file__).with_name("gpu_ledger.csv")
SECTIONS = ("ops", "checks", "speed", "reference")
EAGER, COMPILED = Variant("bf16"), Variant("bf16", "full")


@dataclass(frozen=True, slots=True)
class Step:
    """One part of the suite: it begins only if about `needed_s` are left."""

    section: str
    what: str
    needed_s: float
    run: Callable[[Suite], None]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what fits into the budget; 1 if a gate was missed."""
    asked = _parse(arguments)
    budget = Budget.start(asked.budget_seconds)
    device = torch.device("cpu" if asked.small or not torch.cuda.is_available() else "cuda")
    _compute_exactly()
    if asked.small:
        torch.set_num_threads(1)  # on models this small a second thread would mostly wait
    ledger = Ledger(asked.out, place(device))
    ledger.open()
    print(header(), flush=True)
    with weights_folder() as folder:
        scale = SMALL if asked.small else FULL
        suite = Suite(device, scale, ledger, budget, Path(folder))
        if device.type == "cpu" and not asked.small:
            ledger.write(Row(what="device", check="fail", note="CUDA is not available"))
        else:
            run_steps(suite, steps(suite, asked.reference), asked.sections.split(","))
    print(f"\n{summary(ledger.rows)}\n{asked.out}: {budget.seconds - budget.remaining():.0f} s")
    return int(ledger.failed())


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, help=f"the CSV file to append to, else {LEDGER.name}")
    parser.add_argument("--budget-seconds", type=float, default=520)
    parser.add_argument("--sections", default=",".join(SECTIONS), help="some of the default")
    parser.add_argument("--reference", type=Path, help="a folder that holds the package sam2")
    parser.add_argument("--small", action="store_true", help="the same on a CPU, in a minute")
    asked = parser.parse_args(arguments)
    if asked.small and asked.out is None:
        parser.error(f"rows of --small do not belong into {LEDGER.name}: name a file with --out")
    asked.out = asked.out or LEDGER
    return asked


def _compute_exactly() -> None:
    """Keep fp32 products in fp32: TF32 has three digits, and the gate has four."""
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False


def steps(suite: Suite, reference: Path | None) -> list[Step]:
    """The whole suite, the most valuable first."""
    answers = cache(truth)

    def check(variant: Variant) -> Step:
        def run(suite: Suite) -> None:
            check_variant(suite, variant, *answers(suite))

        return Step("checks", f"check: {variant}", _needed_s(suite, variant), run)

    def speed(variant: Variant) -> list[Step]:
        needed_s = _needed_s(suite, variant)
        return [
            Step("speed", f"speed: {name}, {variant}", needed_s, _speed(name, variant))
            for name in suite.scale.models
        ]

    def beside(name: str) -> Step:
        run = partial(measure_reference, name=name, folder=reference)
        return Step("reference", f"reference: {name}", 60, run)

    eager = [variant for variant in CHECKED if variant.compile == "off"]
    compiled = [variant for variant in CHECKED if variant.compile != "off"]
    if suite.device.type == "cpu":  # compilers take minutes there, and bf16 is near its gate
        exact = [variant for variant in eager if variant.precision != "bf16"]
        return [Step("ops", "ops", 1, check_ops), *map(check, exact), *speed(EAGER)]
    return [
        Step("ops", "ops", 5, check_ops),
        *map(check, eager),
        *speed(EAGER),
        check(COMPILED),
        *speed(COMPILED),
        *(beside(name) for name in suite.scale.models),
        *(check(variant) for variant in compiled if variant != COMPILED),
    ]


def _speed(name: str, variant: Variant) -> Callable[[Suite], None]:
    return partial(measure_ours, name=name, variant=variant)


def _needed_s(suite: Suite, variant: Variant) -> float:
    """What a part should have left before it begins."""
    if suite.device.type == "cpu":
        return 5
    return 40 if variant.compile == "off" else 90


def run_steps(suite: Suite, planned: Sequence[Step], sections: Sequence[str]) -> None:
    """Run what was asked for and fits; what fails or does not fit gets a row that says so."""
    for step in planned:
        if step.section not in sections:
            continue
        left = suite.budget.remaining()
        if not suite.budget.allows(step.needed_s):
            suite.ledger.skip(
                step.what, f"needs about {step.needed_s:.0f} s, {left:.0f} s are left"
            )
            continue
        try:
            step.run(suite)
        except Exception as error:  # noqa: BLE001 one broken part must not cost the others
            suite.ledger.write(Row(what=step.what, check="fail", note=said(error)))
        _free(suite.device)


def _free(device: torch.device) -> None:
    """Give back what the last network held."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


if __name__ == "__main__":
    sys.exit(main())
