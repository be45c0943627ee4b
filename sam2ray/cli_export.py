"""The command `export`."""

from __future__ import annotations

from typing import Annotated

import typer

from .cli_options import Assign, Config, Out, columns_in, reached, storage_options
from .cli_words import complain, console, said_in_words
from .tables import amount


@said_in_words
def export(
    output: Out,
    destination: Annotated[
        str,
        typer.Argument(metavar="DEST", help="A new JSON file for coco, else an empty folder."),
    ],
    form: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="coco: instances of pictures; davis: PNGs of objects, clip by clip; classes: PNGs "
            "of class ids. Else what the mode of the output gives.",
            metavar="FORMAT",
        ),
    ] = None,
    min_score: Annotated[
        float | None,
        typer.Option(help="Of coco: leave out masks that the model rates lower.", metavar="IOU"),
    ] = None,
    classes: Annotated[
        str | None,
        typer.Option(
            help="Of classes: their names in the order of ids, from 0; else by the alphabet.",
            metavar="NAME,...",
        ),
    ] = None,
    ground: Annotated[
        str | None,
        typer.Option(
            help="Of classes: the one that pixels are of which no mask covers; else unknown, 255.",
            metavar="NAME",
        ),
    ] = None,
    config: Config = None,
    assign: Assign = None,
) -> None:
    """Write masks in a format of other tools: to look at them, correct them, train on them."""
    from .exports.export import Wanted, export
    from .progress import FileProgress

    options = storage_options(output, config, assign)
    reached(output, options)
    progress = FileProgress(console(stderr=True))
    named = columns_in(classes)
    wanted = Wanted(format=form, min_score=min_score, classes=named, ground=ground)
    written = export(
        output, destination, wanted, options, lambda done, of: progress("exported", done, of)
    )
    for reason, count in written.skipped.items():
        complain(f"left out {amount(count, 'unit')}: {reason}")
    pictures, masks = amount(written.pictures, "picture"), amount(written.masks, "mask")
    console().print(f"{destination}: {pictures}, {masks}", soft_wrap=True)
