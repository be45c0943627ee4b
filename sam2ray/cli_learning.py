"""The commands `train` and `evaluate`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from .cli_options import Assign
from .cli_words import console, said_in_words
from .errors import UsageError

_KINDS = "world, masks, coco, sa1b, sav, davis or classes"
_PICTURES = 200
_REASONS = 5  # that are shown
OTHER_WORLD = 2000  # than those that recipes learn from, or choose the best weights by


@said_in_words
def train(
    config: Annotated[
        str, typer.Argument(metavar="CONFIG", help="A file of settings, or a shipped recipe.")
    ],
    assign: Assign = None,
) -> None:
    """Train or fine-tune a model, or a head of classes on it. Again, it goes on where it ended."""
    from .learning.train_file import load_training
    from .learning.training import heads_of, weights_of
    from .learning.training import train as train_model

    settings = load_training(config, assign or ())
    trained = train_model(settings, console(stderr=True).print)
    words = console()
    for source, reasons in trained.skipped.items():
        words.print(f"{source}: {len(reasons):,} that nothing can be learned from", soft_wrap=True)
        for reason in reasons[:_REASONS]:
            words.print(f"  {reason}", soft_wrap=True)
        if len(reasons) > _REASONS:
            words.print(f"  and so on: all are in the column skipped of {trained.uri}/metrics")
    for name, place in weights_of(trained).items():
        words.print(f"{name} weights: {place}", soft_wrap=True)
    heads = heads_of(trained)
    for name, place in heads.items():
        words.print(f"{name} head: {place}", soft_wrap=True)
    words.print(f"curves: {trained.uri}/curve.png", soft_wrap=True)
    model = settings.model
    of_classes = f"--mode semantic --head {heads['last']} " if heads else ""
    of_size = "" if model.image_size is None else f" --set model.image_size={model.image_size}"
    words.print(
        f"try them: sam2ray run PHOTOS OUT {of_classes}--model {model.name} "
        f"--checkpoint {weights_of(trained)['last']}{of_size}",
        soft_wrap=True,
    )


@said_in_words
def evaluate(
    labels: Annotated[
        str,
        typer.Argument(metavar="LABELS", help="Where labels lie; `world` for ones that are made."),
    ],
    out: Annotated[
        Path | None,
        typer.Argument(metavar="OUT", help="Folder for marks.json and pictures of cases."),
    ] = None,
    kind: Annotated[str, typer.Option(help=f"{_KINDS}; auto looks.", metavar="KIND")] = "auto",
    media: Annotated[
        str | None,
        typer.Option("--pictures", help="Folder of the pictures, if not beside their labels."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="A released model; else nano, or that of the head.", metavar="NAME"),
    ] = None,
    checkpoint: Annotated[
        str | None, typer.Option(help="Weights: path or URL.", metavar="PATH")
    ] = None,
    image_size: Annotated[
        int | None, typer.Option(help="Side of the square the model sees.", metavar="PX")
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(
            min=1, help="At most so many pictures, a tenth of it clips; else 200.", metavar="N"
        ),
    ] = None,
    clips: Annotated[
        int | None,
        typer.Option(min=0, help="At most so many clips; else a tenth of --limit.", metavar="N"),
    ] = None,
    hold_out_every: Annotated[
        int | None,
        typer.Option(
            min=2, help="One in N alone: what a training with this setting kept.", metavar="N"
        ),
    ] = None,
    min_area: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Leave objects of pictures out that have fewer pixels; else 16.",
            metavar="PX",
        ),
    ] = None,
    all_masks: Annotated[
        bool,
        typer.Option("--all-masks", help="Seek objects among all masks of a picture, too: slow."),
    ] = False,
    head: Annotated[
        str | None,
        typer.Option(help="A head of classes to examine, and no prompts.", metavar="FILE"),
    ] = None,
    answers: Annotated[
        str | None,
        typer.Option(
            help="J&F of PNGs in this folder, beside those of LABELS; as in DAVIS or SA-V.",
            metavar="FOLDER",
        ),
    ] = None,
) -> None:
    """Examine a model on labels: IoU after 1, 3, 5 clicks and by box; J&F of clips.

    With --head it is a head of classes: IoU of each class, and mIoU. With --answers there is no
    model: masks that were written elsewhere are judged.
    """
    if answers is not None:
        of_models = (media, model, checkpoint, image_size, head, limit, clips, hold_out_every)
        given = any(one is not None for one in (*of_models, min_area))
        if given or all_masks or kind != "auto":
            raise UsageError(
                "--answers are judged without a model, all of them: leave --kind, --pictures, "
                "--model, --checkpoint, --image-size, --limit, --clips, --hold-out-every, "
                "--min-area, --all-masks and --head out."
            )
        _evaluate_answers(labels, answers, out)
        return
    most = limit or _PICTURES
    place = _Place(labels, kind, media, hold_out_every, min_area)
    if head is not None:
        of_prompts = {"--all-masks": all_masks or None, "--clips": clips, "--min-area": min_area}
        for option in (name for name, given in of_prompts.items() if given is not None):
            raise UsageError(
                f"{option} is for prompts, and --head has none: leave one of them out."
            )
        told = {"name": model, "checkpoint": checkpoint, "image_size": image_size}
        _evaluate_head(place, out, head, told, most)
    else:
        told = {"name": model or "nano", "checkpoint": checkpoint, "image_size": image_size}
        most_clips = max(1, most // 10) if clips is None else clips
        limits = (most, most_clips)
        _evaluate_prompts(place, out, told, limits, all_masks=all_masks)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where labels lie, and which of them are asked about."""

    labels: str
    kind: str
    pictures: str | None
    hold_out_every: int | None
    min_area: int | None

    def as_told(self, kind: str) -> dict[str, Any]:
        """As settings of labels of a kind."""
        held = {"hold_out_every": self.hold_out_every, "held_out": self.hold_out_every is not None}
        uri = {"seed": OTHER_WORLD} if kind == "world" else {"uri": self.labels}
        least = {} if self.min_area is None else {"min_area": self.min_area}
        return {"kind": kind, "pictures": self.pictures, **held, **uri, **least}


def _evaluate_answers(labels: str, answers: str, out: Path | None) -> None:
    """Show how good masks are that somebody has written."""
    from .learning.answer_folders import score_answers
    from .learning.evaluation import figures_table

    marks = score_answers(labels, answers, {})
    console().print(figures_table(marks.figures(), f"{answers} on {labels}"))
    _tell_skipped(marks.skipped)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        (out / "marks.json").write_text(json.dumps(marks.as_json(), indent=2) + "\n")
        console().print(f"{out / 'marks.json'}", soft_wrap=True)


def _evaluate_prompts(
    place: _Place,
    out: Path | None,
    model: dict[str, Any],
    limits: tuple[int, int],  # pictures, clips
    *,
    all_masks: bool,
) -> None:
    """Show how good answers to prompts are."""
    from .learning.evaluation import Examined, evaluate, groups_table, keep_marks, marks_table
    from .learning.labels.opening import kind_of
    from .learning.train_config import Labels, Start

    chosen = kind_of(place.labels, {}) if place.kind == "auto" else place.kind
    told = place.as_told(chosen)
    if chosen == "world":
        told["held_out"] = True
    with _faults_in_words():
        asked = Examined(
            labels=Labels.model_validate(told),
            model=Start.model_validate(model),
            pictures=limits[0],
            clips=limits[1],
            all_masks=all_masks,
        )
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)  # before the work, which may be long
    marks, words = evaluate(asked), console()
    words.print(marks_table(marks, f"{model['name']} on {place.labels}"))
    if marks.pictures.objects:
        words.print(groups_table(marks.pictures))
    if marks.not_asked:
        asked_about = " and ".join(marks.not_asked)
        words.print(f"Asked about {asked_about}; --limit and --clips say how many.")
    _tell_skipped(marks.skipped)
    if out is not None:
        words.print(", ".join(map(str, keep_marks(asked, marks, out))), soft_wrap=True)


def _evaluate_head(
    place: _Place,
    out: Path | None,
    head: str,
    model: dict[str, Any],
    limit: int,
) -> None:
    """Show how good maps of classes are."""
    from sam2_core import read_head_config

    from .learning.class_evaluation import ExaminedHead, class_table, evaluate_head
    from .learning.labels.class_opening import kind_of_classes
    from .learning.train_config import Labels, Start

    chosen = kind_of_classes(place.labels) if place.kind == "auto" else place.kind
    told = place.as_told(chosen)
    of_head = read_head_config(head)
    given = {"name": of_head.model, "image_size": of_head.image_size}
    given |= {name: value for name, value in model.items() if value is not None}
    with _faults_in_words():
        asked = ExaminedHead(
            labels=Labels.model_validate(told),
            model=Start.model_validate(given),
            head=head,
            pictures=limit,
        )
    marks = evaluate_head(asked, out)
    console().print(class_table(marks, f"{head} on {place.labels}"))
    _tell_skipped(marks.scores.skipped)
    if out is not None:
        left = [out / name for name in ("marks.json", "cases.png") if (out / name).exists()]
        console().print(", ".join(map(str, left)), soft_wrap=True)


def _tell_skipped(reasons: Sequence[str]) -> None:
    for reason in reasons[:_REASONS]:
        console(stderr=True).print(f"skipped: {reason}", soft_wrap=True)


@contextmanager
def _faults_in_words() -> Iterator[None]:
    """Say the first thing that is wrong with options."""
    from pydantic import ValidationError

    try:
        yield
    except ValidationError as error:
        first = error.errors()[0]
        words = first["msg"].replace("Input should be", "must be").removeprefix("Value error, ")
        place = ".".join(map(str, first["loc"])) or "labels"
        raise UsageError(f"{place}={first['input']!r:.80}: {words}.") from error
