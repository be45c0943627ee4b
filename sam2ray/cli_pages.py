"""The commands `show` and `demo`: results as pages to look at."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from .cli_options import Assign, Config, Out, reached, storage_options
from .cli_words import complain, console, said_in_words
from .tables import amount, harmless

if TYPE_CHECKING:
    from pathlib import Path

    from .pages.page import Shown

_MEGABYTE = 1e6
_NAMED = 3  # of units that could not be shown


@said_in_words
def show(
    output: Out,
    page: Annotated[
        str, typer.Argument(metavar="[PAGE]", help="The file to write.", show_default=True)
    ] = "masks.html",
    units: Annotated[
        int, typer.Option(min=1, max=1000, help="Show so many units.", metavar="N")
    ] = 24,
    failed: Annotated[
        bool, typer.Option("--failed", help="List failed units with their reasons, too.")
    ] = False,
    config: Config = None,
    assign: Assign = None,
) -> None:
    """Make a page of pictures with their masks on them: one file, for any browser.

    Pictures are read from their sources once more; where that fails, masks lie on grey.
    """
    from .pages.page import open_shown, page_of
    from .pages.page_file import page_place, write_page

    place = page_place(page)
    options = storage_options(output, config, assign)
    reached(output, options)
    shown = open_shown(output, options, units, with_failures=failed)
    was_there = place.exists()
    size = write_page(place, page_of(f"Masks of {shown.heading}", [shown]))
    _say_what_is_shown(shown, place, size, was_there)


def _say_what_is_shown(shown: Shown, place: Path, size: int, was_there: bool) -> None:
    words, now = console(), shown.sample.overview.standing
    over = ", over the page that was there" if was_there else ""
    what = f"{len(shown.sample.good):,} of {amount(now.ok, 'unit')}"
    if not shown.has_masks:
        what = "no masks, as mode embed finds none"
    words.print(harmless(f"{place}: {what}, {size / _MEGABYTE:.1f} MB{over}"), soft_wrap=True)
    if shown.lost:
        named = ", ".join(shown.lost[:_NAMED]) + (" ..." if len(shown.lost) > _NAMED else "")
        complain(
            f"{amount(len(shown.lost), 'unit')} could not be shown in full ({named}); the page "
            "says why."
        )


@said_in_words
def demo(
    folder: Annotated[
        str, typer.Argument(metavar="[FOLDER]", help="A new folder, or that of an earlier demo.")
    ] = "sam2ray-demo",
) -> None:
    """Label a small archive that is made for it, in three modes, and show what came out.

    It takes about a minute and nothing from the network. The same command again goes on where an
    earlier one ended.
    """
    from .demo import run_demo

    raise typer.Exit(run_demo(folder, console(), console(stderr=True)))
