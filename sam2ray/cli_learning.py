"""The commands `train` and `evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .cli_options import Assign
from .cli_words import console, said_in_words
from .errors import UsageError

_KINDS = "world, masks, coco, sa1b, sav or davis"


@said_in_words
def train(
    config: Annotated[
        str, typer.Argument(metavar="CONFIG", help="A file of settings, or a shipped recipe.")
    ],
    assign: Assign = None,
) -> None:
    """Train or fine-tune a model on masks. The same command again goes on where it ended."""
    from .learning.train_file import load_training
    from .learning.training import train as train_model
    from .learning.training import weights_of

    settings = load_training(config, assign or ())
    trained = train_model(settings, console(stderr=True).print)
    words = console()
    for reason, count in trained.skipped.items():
        source, _, why = reason.partition("\t")
        words.print(f"skipped {count:,} times, of {source}: {why}", soft_wrap=True)
    for name, place in weights_of(trained).items():
        words.print(f"{name} weights: {place}", soft_wrap=True)
    words.print(f"curves: {trained.uri}/curve.png", soft_wrap=True)
    words.print(
        f"try them: sam2ray run PHOTOS OUT --model {settings.model.name} "
        f"--checkpoint {weights_of(trained)['last']}",
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
        typer.Argument(metavar="OUT", help="Folder for marks.json and cases.png; else none."),
    ] = None,
    kind: Annotated[str, typer.Option(help=f"{_KINDS}; auto looks.", metavar="KIND")] = "auto",
    media: Annotated[
        str | None,
        typer.Option("--pictures", help="Folder of the pictures, if not beside their labels."),
    ] = None,
    model: Annotated[str, typer.Option(help="A released model.", metavar="NAME")] = "nano",
    checkpoint: Annotated[
        str | None, typer.Option(help="Weights: path or URL.", metavar="PATH")
    ] = None,
    image_size: Annotated[
        int | None, typer.Option(help="Side of the square the model sees.", metavar="PX")
    ] = None,
    limit: Annotated[
        int, typer.Option(min=1, help="At most so many pictures, a tenth of it clips.", metavar="N")
    ] = 200,
) -> None:
    """Examine a model on labels: IoU after 1, 3, 5 clicks and by box; J&F of clips."""
    from pydantic import ValidationError

    from .learning.evaluation import Examined, evaluate_and_keep, marks_table
    from .learning.labels.opening import kind_of
    from .learning.train_config import Labels, Start

    chosen = kind_of(labels, {}) if kind == "auto" else kind
    uri = None if chosen == "world" else labels
    try:
        asked = Examined(
            labels=Labels.model_validate(
                {"kind": chosen, "uri": uri, "pictures": media, "held_out": chosen == "world"}
            ),
            model=Start.model_validate(
                {"name": model, "checkpoint": checkpoint, "image_size": image_size}
            ),
            pictures=limit,
            clips=max(1, limit // 10),
        )
    except ValidationError as error:
        first = error.errors()[0]
        words = first["msg"].replace("Input should be", "must be").removeprefix("Value error, ")
        place = ".".join(map(str, first["loc"])) or "labels"
        raise UsageError(f"{place}={first['input']!r:.80}: {words}.") from error
    marks = evaluate_and_keep(asked, out)
    console().print(marks_table(marks, f"{model} on {labels}"))
    for reason in marks.skipped[:5]:
        console(stderr=True).print(f"skipped: {reason}", soft_wrap=True)
    if out is not None:
        console().print(f"{out / 'marks.json'}, {out / 'cases.png'}", soft_wrap=True)
