"""A listing is shown in one line on a terminal, and in seldom lines elsewhere."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from make_archive import write_files
from rich.console import Console

from sam2ray.config_file import load_config
from sam2ray.listing import list_source
from sam2ray.listing_progress import ListingProgress, ListingState
from sam2ray.storage import LocalStore


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (ListingState("looking at the source"), "looking at the source"),
        (ListingState("found", 12_000), "found: 12,000"),
        (ListingState("rows of the list read", 5000, 3), "rows of the list read: 5,000, 3 shares"),
        (ListingState("listed", 1_000_000, 7, 40), "listed: 1,000,000, 7 of 40 shares"),
    ],
)
def test_a_state_is_one_line(state: ListingState, words: str):
    assert state.in_words == words


def test_where_nobody_sees_a_bar_lines_come_seldom():
    file, now = io.StringIO(), [0.0]
    with ListingProgress(Console(file=file, width=140), clock=lambda: now[0]) as watch:
        for seconds, entries in ((1.0, 1), (9.0, 2), (10.0, 3), (15.0, 4), (20.5, 5)):
            now[0] = seconds
            watch(ListingState("found", entries))
    assert file.getvalue() == "found: 3\nfound: 5\n"


@pytest.mark.parametrize("width", [40, 140])
def test_a_terminal_has_one_line_that_changes_and_goes(width: int):
    file = io.StringIO()
    console = Console(file=file, width=width, force_terminal=True)
    with ListingProgress(console) as watch:
        for done in range(3):
            watch(ListingState("compared with what is known", 10_000_000, done, 2000))
    text = file.getvalue()
    assert "compared with" in text
    assert text.count("\n") <= 1, "never a second line"


def test_a_listing_says_what_it_has_found(tmp_path: Path):
    write_files(tmp_path / "in", [f"{n}.jpg" for n in range(3)])
    config = load_config(None, (), source=str(tmp_path / "in"), output=str(tmp_path / "out"))
    states: list[ListingState] = []
    list_source(config, LocalStore(tmp_path / "out"), "1", watch=states.append)
    assert states[0] == ListingState("looking at the source")
    assert ListingState("listed", 3, 1, 1) in states
    assert states[-1] == ListingState("compared with what is known", 3, 1, 1)
