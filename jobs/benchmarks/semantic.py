"""Mode semantic beside mode embed on the same pictures, and how good a head is that learned a bit.

    python jobs/benchmarks/semantic.py FOLDER [--pictures 400] [--steps 400] [--turns 2] [--dry]

A head learns on nano as it ships, whose encoder stays as it is, in the made world, and is asked
about another such world; what was trained is kept in FOLDER. Then the same model runs over drawn
photographs in both modes, one actor, which take turns; the quickest turn of each counts.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT)]

from jobs.benchmarks import pipeline_media
from jobs.benchmarks.pipeline_rows import LEDGER, Figure, common_arguments, keep
from jobs.benchmarks.pipeline_stage import kept
from jobs.benchmarks.pipeline_times import part, read_diary
from sam2_core import RELEASED, load_class_head, load_sam2
from sam2_core.learning.classes import mean_iou
from sam2ray.config_file import load_config
from sam2ray.learning.class_examining import ClassScores, ask_about_classes
from sam2ray.learning.labels.class_opening import open_classes
from sam2ray.learning.train_config import Labels, TrainConfig
from sam2ray.learning.training import heads_of, train, weights_of
from sam2ray.root import Selection
from sam2ray.run import run_job

CLASSES = ("ground", "round", "angular", "thin")
OTHER_WORLD = 1000


@dataclass(frozen=True, slots=True)
class Pair:
    """Weights and the head that belongs to them."""

    weights: str
    head: str


def main() -> None:
    """Train, examine, and run both modes."""
    arguments = _parse()
    ledger = None if arguments.dry else LEDGER
    config = _training(arguments)
    pair = _trained(config)
    keep(_quality(config, pair, arguments), ledger)
    archive = pipeline_media.photographs(arguments.folder, arguments.pictures)
    rates = {"semantic": 0.0, "embed": 0.0}
    for _ in range(arguments.turns):
        for mode in rates:
            rates[mode] = max(rates[mode], _rate(mode, archive, pair, arguments.folder))
    keep(_speed(rates, arguments), ledger)


def _parse() -> argparse.Namespace:
    parser = common_arguments(__doc__)
    parser.add_argument("--pictures", type=int, default=400)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument(
        "--exam", type=int, default=100, help="pictures that the head is asked about"
    )
    parser.add_argument("--turns", type=int, default=2)
    return parser.parse_args()


def _training(arguments: argparse.Namespace) -> TrainConfig:
    stage = {
        "name": "classes",
        "learn": "classes",
        "steps": arguments.steps,
        "batch": arguments.batch,
        "rate": 2e-3,
        "last_rate": 0.02,
        "warmup_steps": arguments.steps // 20,
        "weight_decay": 0.05,
        "average": 0.99,
        "class_dice": 0.5,
        "target_stride": 4,
    }
    return TrainConfig.model_validate(
        {
            "output": str(arguments.folder / f"head-{arguments.steps}-{arguments.batch}"),
            "seed": 1,
            "model": {"name": "nano"},
            "head": {"classes": list(CLASSES), "ground": CLASSES[0]},
            "labels": [{"kind": "world", "seed": 1}],
            "stages": [stage],
        }
    )


def _trained(config: TrainConfig) -> Pair:
    trained = train(config, lambda words: print(words, flush=True))
    return Pair(weights_of(trained)["last"], heads_of(trained)["last"])


def _quality(config: TrainConfig, pair: Pair, arguments: argparse.Namespace) -> Figure:
    row = config.model.row()
    model = load_sam2(row, pair.weights)
    head = load_class_head(pair.head, model)
    labels = Labels(kind="world", seed=OTHER_WORLD)
    source = open_classes(labels, config.head, {}, row.image_size)
    scores = ClassScores(CLASSES)
    for _ in ask_about_classes(model, head, source, range(arguments.exam), scores):
        pass
    by_class = ", ".join(f"{name} {iou:.3f}" for name, iou in scores.iou_by_class().items())
    only_ground = scores.counts.sum(1, keepdim=True) * (scores.counts.new_tensor([[1, 0, 0, 0]]))
    return Figure(
        "mIoU of a head, made world",
        f"{arguments.steps} steps of {arguments.batch}, {arguments.exam} pictures",
        round(scores.miou, 4),
        "mIoU",
        "",
        f"nano as it ships, at {row.image_size} px, its encoder frozen; {by_class}; with "
        f"nothing but ground it would be {mean_iou(only_ground):.3f}",
    )


def _rate(mode: str, archive: Path, pair: Pair, folder: Path) -> float:
    """Pictures a second that leave the model's actor, over the middle 80 % of a run."""
    place = Path(mkdtemp(prefix="out-", dir=folder))
    settings = {"checkpoint": pair.weights, "head": pair.head if mode == "semantic" else None}
    try:
        config = load_config(
            None,
            ("resources.actors=1",),
            source=str(archive),
            output=str(place / "dataset"),
            model="nano",
            mode=mode,
            **settings,
        )
        report = run_job(
            config, Selection(config.limits.max_attempts), lambda *_: None, kept(place / "diary")
        )
        if report.standing.failed:
            raise RuntimeError(f"{report.standing.failed} units of mode {mode} failed")
        rate = part(read_diary(place / "diary"), 0.1, 0.9, what="batch").rate
    finally:
        shutil.rmtree(place)
    print(f"{mode}: {rate:.2f} pictures/s", flush=True)
    return rate


def _speed(rates: Mapping[str, float], arguments: argparse.Namespace) -> Figure:
    return Figure(
        "rate of mode semantic by that of embed",
        f"{arguments.pictures} pictures, best of {arguments.turns}",
        round(rates["semantic"] / rates["embed"], 3),
        "times",
        "",
        f"nano at {RELEASED['nano'].image_size} px, {len(CLASSES)} classes, photographs of a "
        f"megapixel: {rates['semantic']:.2f} and {rates['embed']:.2f} pictures/s over the "
        "middle 80 %",
    )


if __name__ == "__main__":
    main()
