"""Labelled maps, a model and its head -> mIoU and the IoU of each class; table, JSON, PNG.

Ray Data shares pictures out among processes that hold a model each.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import ray.data
import torch
from rich.table import Table

from sam2_core import ClassHead, HeadConfig, Sam2, load_class_head, load_sam2
from sam2_core.learning.classes import mean_iou
from sam2_core.network.class_head import UNKNOWN

from ..cluster import cluster, ensure_ray
from ..config_section import public_uri
from ..cpu_threads import use_cpu_threads
from ..errors import UsageError
from ..storage import Options
from ..tables import harmless
from .cases import Case, class_tile, draw_sheet
from .class_examining import ClassScores, ask_about_classes
from .examining import numbers_of
from .labels.class_opening import open_classes
from .labels.labelled import ClassSource
from .train_config import Head, Labels, Start

_SHOWN = 5  # worst and best pictures


@dataclass(frozen=True, slots=True, kw_only=True)
class ExaminedHead:
    """What is asked of which head."""

    labels: Labels
    model: Start
    head: str  # path or URL
    pictures: int = 200
    options: Options = field(default_factory=dict, repr=False)

    def source(self, head: HeadConfig) -> ClassSource:
        """The labels, in the words of the head."""
        named = Head(classes=head.classes, ground=head.ground, width=head.width)
        return open_classes(self.labels, named, self.options, head.image_size)

    def load(self, device: str) -> tuple[Sam2, ClassHead]:
        """The model, and the head on it."""
        model = load_sam2(self.model.row(), self.model.checkpoint, device=device)
        return model, load_class_head(self.head, model)


@dataclass(slots=True, eq=False)
class ClassMarks:
    """All that was found."""

    scores: ClassScores
    worst_first: list[tuple[float, int]] = field(default_factory=list)  # mIoU, picture

    def figures(self) -> dict[str, Any]:
        """Everything as plain values."""
        return {
            "pictures": self.scores.pictures,
            "miou": self.scores.miou,
            "iou_by_class": self.scores.iou_by_class(),
            "pixels_by_class": self.scores.pixels_by_class(),
            "skipped": len(self.scores.skipped),
        }


class _Examiner:
    """A process that holds a model and its head; rows are numbers of pictures."""

    def __init__(self, asked: ExaminedHead, device: str, threads: int) -> None:
        use_cpu_threads(threads)
        self.model, self.head = asked.load(device)
        self.source = asked.source(self.head.config)

    def __call__(self, rows: dict[str, np.ndarray]) -> dict[str, list[str]]:
        return {"marks": [json.dumps(self._marks(int(number))) for number in rows["number"]]}

    def _marks(self, number: int) -> dict[str, Any]:
        scores = ClassScores(self.head.config.classes)
        one = range(number, number + 1)
        for _ in ask_about_classes(self.model, self.head, self.source, one, scores):
            pass
        counts = scores.counts.tolist() if scores.pictures else None
        return {"number": number, "counts": counts, "skipped": scores.skipped}


def _examine(asked: ExaminedHead, head: HeadConfig) -> ClassMarks:
    """Examine a head on all that is asked for."""
    source = asked.source(head)
    numbers = numbers_of(source, asked.pictures)
    if not numbers:
        raise UsageError(f"{public_uri(source.name)}: there is nothing to ask about.")
    ensure_ray()
    found = cluster()
    has_gpus = found.gpus > 0
    actors = max(1, int(found.gpus if has_gpus else found.cpus // 2))
    marked = (
        ray.data.from_items([{"number": number} for number in numbers])
        .repartition(target_num_rows_per_block=1)
        .map_batches(
            _Examiner,
            fn_constructor_args=(asked, "cuda" if has_gpus else "cpu", 1),
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=min(actors, len(numbers))),
            num_gpus=1 if has_gpus else 0,
            num_cpus=1,
        )
    )
    marks = ClassMarks(ClassScores(head.classes))
    for row in marked.iter_rows():
        _add(marks, json.loads(row["marks"]))
    marks.worst_first.sort()
    return marks


def _add(marks: ClassMarks, found: dict[str, Any]) -> None:
    marks.scores.skipped += found["skipped"]
    if found["counts"] is None:
        return
    counts = torch.tensor(found["counts"], dtype=torch.int64)
    marks.scores.add(counts)
    mark = mean_iou(counts)
    if mark == mark:  # of a picture of which nothing is known there is none
        marks.worst_first.append((mark, found["number"]))


def evaluate_head(asked: ExaminedHead, folder: Path | None) -> ClassMarks:
    """Examine a head, and leave figures and a picture of cases in a folder, if there is one."""
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)  # before the work, which may be long
    model, head = asked.load("cpu")  # what does not belong together is said at once
    marks = _examine(asked, head.config)
    if folder is None:
        return marks
    content = {**_without_nan(marks.figures()), "skipped_because": marks.scores.skipped[:100]}
    (folder / "marks.json").write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    numbers = [number for _, number in marks.worst_first]
    if numbers:
        source = asked.source(head.config)
        best = numbers[::-1][: min(_SHOWN, max(1, len(numbers) // 2))]
        cases = [[*_cases(model, head, source, some)] for some in (numbers[:_SHOWN], best)]
        words = "classes as labelled above, as answered below"
        (folder / "cases.png").write_bytes(draw_sheet(cases[0], cases[1], words))
    return marks


def _without_nan(value: Any) -> Any:  # noqa: ANN401 plain values of any kind
    """JSON has no word for what is not a number."""
    if isinstance(value, dict):
        return {key: _without_nan(one) for key, one in value.items()}
    return None if value != value else value


def _cases(
    model: Sam2, head: ClassHead, source: ClassSource, numbers: Sequence[int]
) -> Iterator[Case]:
    plain = [one for one in (head.config.ground_id, UNKNOWN) if one is not None]
    for number in numbers:
        scores = ClassScores(head.config.classes)
        for asked in ask_about_classes(model, head, source, range(number, number + 1), scores):
            pixels = asked.labelled.pixels
            yield Case(
                class_tile(pixels, asked.labelled.ids, plain),
                class_tile(pixels, asked.answer.ids.numpy(), plain),
                f"#{number}: mIoU {scores.miou:.2f}",
            )


def class_table(marks: ClassMarks, name: str) -> Table:
    """What `sam2ray evaluate --head` shows."""
    table = Table("class", "IoU", "share of pixels", title=harmless(name), title_justify="left")
    pixels = marks.scores.pixels_by_class()
    total = max(1, sum(pixels.values()))
    for class_, iou in marks.scores.iou_by_class().items():
        shown = "nowhere" if iou != iou else f"{iou:.3f}"
        table.add_row(harmless(class_), shown, f"{100 * pixels[class_] / total:.1f} %")
    table.add_section()
    table.add_row("mIoU", f"{marks.scores.miou:.3f}", f"{marks.scores.pictures:,} pictures")
    return table
