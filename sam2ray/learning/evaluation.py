"""Labels and a model -> its marks: IoU after clicks and by box, J and F of clips; table, JSON, PNG.

Ray Data shares pictures and clips out among processes that hold a model each.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import ray.data
import torch
from rich.table import Table

from sam2_core import MaskGenerator, Sam2, load_sam2
from sam2_core.learning.measures import ClipScore, mean_score

from ..cluster import cluster, ensure_ray
from ..config_section import public_uri
from ..cpu_threads import use_cpu_threads
from ..errors import UsageError
from ..storage import Options
from ..tables import two_columns
from .cases import draw_cases
from .clip_cases import draw_clip_cases
from .clip_exams import ask_about_clips
from .examining import PictureScores, ask_about, numbers_of, wholeness_of
from .labels.labelled import LabelSource
from .labels.opening import open_labels
from .train_config import Labels, Start

_SHOWN = 5  # worst and best pictures
_WORDS = {
    "iou_1_clicks": "IoU after one click",
    "iou_3_clicks": "after three clicks",
    "iou_5_clicks": "after five clicks",
    "iou_box": "IoU by box",
    "iou_best_of_three": "of the best of one click's three masks",
    "quality_correlation": "predicted with true IoU, correlation: of masks chosen after one click",
    "quality_correlation_three": "of all three",
    "recall": "objects that are among all masks, IoU 0.5",
    "best_iou": "IoU of the best of all masks",
    "masks_a_picture": "all masks, a picture",
    "j": "J, of clips",
    "f": "F, of clips",
    "j_and_f": "J&F",
    "tracked_objects": "objects followed",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Examined:
    """What is asked of which model."""

    labels: Labels
    model: Start
    pictures: int = 200
    clips: int = 20
    all_masks: bool = False  # whether objects are sought among all masks of a picture, too
    options: Options = field(default_factory=dict, repr=False)

    def source(self) -> LabelSource:
        """The labels."""
        return open_labels(self.labels, self.options, self.model.row().image_size)


@dataclass(slots=True)
class Marks:
    """All that was found."""

    pictures: PictureScores = field(default_factory=PictureScores)
    clips: list[tuple[str, ClipScore]] = field(default_factory=list)  # the clip of each object
    worst_first: list[tuple[float, int]] = field(default_factory=list)  # IoU, picture
    worst_clips_first: list[tuple[float, int]] = field(default_factory=list)  # J&F, clip
    clips_skipped: list[str] = field(default_factory=list)
    not_asked: list[str] = field(default_factory=list)  # what there is more, in words

    @property
    def skipped(self) -> list[str]:
        """What could not be read, and why."""
        return [*self.pictures.skipped, *self.clips_skipped]

    def figures(self) -> dict[str, float | int]:
        """Everything as numbers."""
        found: dict[str, float | int] = {}
        if self.pictures.objects:
            found |= {"pictures": self.pictures.pictures, "objects": self.pictures.objects}
            found |= self.pictures.figures()
        if self.clips:
            mean = mean_score(score for _, score in self.clips)
            names = {name for name, _ in self.clips}
            found |= {"clips": len(names), "tracked_objects": len(self.clips)}
            found |= {"j": mean.j, "f": mean.f, "j_and_f": mean.j_and_f}
        return found | {"skipped": len(self.skipped)}


class _Examiner:
    """A process that holds a model; rows are numbers of pictures or clips."""

    def __init__(self, asked: Examined, device: str, threads: int) -> None:
        use_cpu_threads(threads)
        self.asked, self.source = asked, asked.source()
        self.model: Sam2 = load_sam2(asked.model.row(), asked.model.checkpoint, device=device)
        self.finder = MaskGenerator(self.model) if asked.all_masks else None

    def __call__(self, rows: dict[str, np.ndarray]) -> dict[str, list[str]]:
        return {"marks": [json.dumps(self._marks(row)) for row in zip(*rows.values(), strict=True)]}

    def _marks(self, row: tuple[Any, ...]) -> dict[str, Any]:
        is_clip, number = bool(row[0]), int(row[1])
        one, skipped = range(number, number + 1), []
        if is_clip:
            followed = list(ask_about_clips(self.model, self.source, one, skipped))
            scores = [[clip.name, s.j, s.f] for clip in followed for s in clip.scores]
            return {"number": number, "clips": scores, "skipped": skipped}
        scores = PictureScores()
        for picture in ask_about(self.model, self.source, one, scores, self.finder):
            scores.wholeness += wholeness_of(np.asarray(picture.labelled.masks))
        return {"number": number, "scores": scores.to_json()}


def evaluate(asked: Examined) -> Marks:
    """Examine a model on all that is asked for."""
    source = asked.source()
    pictures = numbers_of(source, asked.pictures)
    clips = range(asked.clips if source.clips is None else min(asked.clips, source.clips))
    kinds = np.array([0] * len(pictures) + [1] * len(clips), np.int64)
    if not len(kinds):
        raise UsageError(f"{public_uri(source.name)}: there is nothing to ask about.")
    numbers = np.concatenate([np.array(pictures, np.int64), np.array(clips, np.int64)])
    ensure_ray()
    found = cluster()
    has_gpus = found.gpus > 0
    actors = max(1, int(found.gpus if has_gpus else found.cpus // 2))
    rows = ray.data.from_items(
        [{"is_clip": int(k), "number": int(n)} for k, n in zip(kinds, numbers, strict=True)]
    )
    marked = rows.repartition(target_num_rows_per_block=1).map_batches(
        _Examiner,
        fn_constructor_args=(asked, "cuda" if has_gpus else "cpu", 1),
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(size=min(actors, len(kinds))),
        num_gpus=1 if has_gpus else 0,
        num_cpus=1,
    )
    marks = _gathered(row["marks"] for row in marked.iter_rows())
    marks.not_asked = [*_beyond(source.pictures, pictures, "pictures")]
    marks.not_asked += _beyond(source.clips, clips, "clips")
    return marks


def _beyond(count: int | None, asked: range, noun: str) -> Iterator[str]:
    if count is not None and count > len(asked):
        yield f"{len(asked):,} of {count:,} {noun}"


def keep_marks(asked: Examined, marks: Marks, folder: Path) -> list[Path]:
    """Leave figures and pictures of cases in a folder; the files that were written."""
    figures = {name: None if value != value else value for name, value in marks.figures().items()}
    more = {
        "by_size": marks.pictures.by_size(),
        "by_pieces": marks.pictures.by_pieces(),
        "each_picture": [{"picture": n, "iou_1_clicks": iou} for iou, n in marks.worst_first],
        "each_clip": [{"clip": n, "j_and_f": mark} for mark, n in marks.worst_clips_first],
        "skipped_because": marks.skipped[:100],
    }
    text = json.dumps(figures | more, indent=2)
    written = [folder / "marks.json"]
    written[0].write_text(text + "\n")
    numbers, clips = ([n for _, n in m] for m in (marks.worst_first, marks.worst_clips_first))
    if not numbers and not clips:
        return written
    source, device = asked.source(), "cuda" if torch.cuda.is_available() else "cpu"
    model = load_sam2(asked.model.row(), asked.model.checkpoint, device=device)
    if clips:
        written.append(folder / "clips.png")
        written[-1].write_bytes(draw_clip_cases(model, source, clips[0], clips[-1]))
    if numbers:
        written.append(folder / "cases.png")
        best = numbers[::-1][: min(_SHOWN, max(1, len(numbers) // 2))]
        written[-1].write_bytes(draw_cases(model, source, numbers[:_SHOWN], best))
    return written


def _gathered(texts: Iterable[str]) -> Marks:
    marks = Marks()
    for text in texts:
        found = json.loads(text)
        number = found["number"]
        if "clips" in found:
            scores = [(name, ClipScore(j, f)) for name, j, f in found["clips"]]
            marks.clips += scores
            marks.clips_skipped += found["skipped"]
            mean = mean_score(score for _, score in scores).j_and_f
            if mean == mean:
                marks.worst_clips_first.append((mean, number))
            continue
        of_picture = PictureScores.from_json(found["scores"])
        marks.pictures.extend(of_picture)
        if of_picture.objects:
            marks.worst_first.append((float(np.mean(of_picture.clicks[1])), number))
    marks.worst_first.sort()
    marks.worst_clips_first.sort()
    return marks


def marks_table(marks: Marks, name: str) -> Table:
    """What `sam2ray evaluate` shows."""
    return figures_table(marks.figures(), name)


def figures_table(figures: Mapping[str, float | int], name: str) -> Table:
    """Figures with their names in words."""
    return two_columns(name, [(_WORDS.get(key, key), _said(figures[key])) for key in figures])


def groups_table(scores: PictureScores) -> Table:
    """Marks of objects by their size and by their pieces, a row for each kind."""
    by_size, by_pieces = scores.by_size(), scores.by_pieces()
    table = Table(title="by size, as COCO names them, and by pieces", title_justify="left")
    table.add_column("")
    names = [*next(iter(by_size.values()))]
    for name in names:
        table.add_column(_WORDS.get(name, name), justify="right")
    for groups in (by_size, by_pieces):
        for group, figures in groups.items():
            table.add_row(group, *(_said(figures[name]) for name in names))
        table.add_section()
    return table


def _said(value: float) -> str:
    return f"{value:.3f}" if isinstance(value, float) else f"{value:,}"
