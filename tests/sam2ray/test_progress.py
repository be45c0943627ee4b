"""What is seen of a run while it runs: lines, a bar, gauges, and a dashboard that draws them."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from sam2ray.ledger import Tally
from sam2ray.live_state import (
    Pace,
    bar_within,
    state_in_parts,
    state_in_words,
    state_within,
    units_to_do,
)
from sam2ray.metrics import GAUGES, OUTPUT_LABEL, PREFIX, RunGauges, measures
from sam2ray.progress import FileProgress, RunProgress, told_to_all
from sam2ray.records import ErrorClass
from sam2ray.root import Selection, Standing

DASHBOARDS = sorted((Path(__file__).parents[2] / "jobs" / "dashboards").glob("*.json"))
BEFORE = Standing(1000, {"ok": 100, "corrupt": 5, "io": 10})
CHOSEN = Selection(3)


def _tally(ok: int, elapsed_s: float = 10.0, frames: int | None = None, **failed: int) -> Tally:
    ended = {"ok": ok, **failed} if ok else dict(failed)
    frames = ok if frames is None else frames
    return Tally(ended, 50 * ok, frames, {"model": elapsed_s / 2}, elapsed_s, None)


def _console(log: io.StringIO) -> Console:
    return Console(file=log, width=200, markup=False, highlight=False)


class _Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def log() -> io.StringIO:
    return io.StringIO()


def _lines(log: io.StringIO) -> list[str]:
    return log.getvalue().splitlines()


# ---------------------------------------------------------------- how much there is to do


@pytest.mark.parametrize(
    ("chosen", "units"),
    [
        (Selection(3), 895),
        (Selection(3, frozenset({ErrorClass.CORRUPT})), 900),
        (Selection(3, limit=20), 20),
        (Selection(3, limit=5000), 895),
    ],
)
def test_what_waits_and_what_is_tried_again_is_to_be_done(chosen: Selection, units: int):
    assert units_to_do(BEFORE, chosen) == units


# ---------------------------------------------------------------- how fast it goes


def _pace(*tallies: Tally) -> Pace:
    pace = Pace()
    for tally in tallies:
        pace.see(tally)
    return pace


def test_the_pace_is_that_of_the_last_minute():
    slow = [_tally(second, second) for second in range(0, 100, 10)]
    fast = [_tally(90 + 10 * (second - 100), second) for second in range(100, 200, 10)]
    assert _pace(*slow).units_per_s == pytest.approx(1.0, rel=0.2)
    assert _pace(*slow, *fast).units_per_s == pytest.approx(10.0)


def test_the_pace_of_a_short_run_is_its_mean():
    assert _pace(_tally(0, 1), _tally(30, 10, frames=300)).units_per_s == pytest.approx(3.0)
    assert _pace(_tally(0, 1), _tally(30, 10, frames=300)).frames_per_s == pytest.approx(30.0)


def test_where_nothing_is_to_be_done_it_is_said():
    parts = state_in_parts(0, _tally(0), Pace())
    assert state_in_words(parts) == "nothing is to be done"
    assert state_within(parts, 20) == "nothing to do"


def test_a_pace_that_has_seen_nothing_is_zero():
    assert Pace().units_per_s == _pace(_tally(0, 0.0)).units_per_s == 0.0


def test_the_pace_does_not_remember_a_whole_run():
    pace = _pace(*(_tally(second, second) for second in range(5000)))
    assert len(pace._seen) < 100


@pytest.mark.parametrize(
    ("tally", "words"),
    [
        (_tally(0), "0 of 895 units, 0 masks, nothing has ended yet: models are loaded, "),
        (_tally(20), "20 of 895 units, 1,000 masks, 2.00 images/s, 7 min 18 s left"),
        (
            _tally(20, io=3, bomb=9),
            "32 of 895 units, 1,000 masks, failed: bomb 9, io 3, 3.20 images/s, 4 min 30 s left",
        ),
        (_tally(20, frames=900), "2.00 units/s, 90.0 frames/s, 7 min 18 s left"),
        (_tally(895), "895 of 895 units, 44,750 masks, 89.50 images/s"),
    ],
)
def test_the_state_is_said_in_one_line(tally: Tally, words: str):
    assert words in state_in_words(state_in_parts(895, tally, _pace(tally)))


# ---------------------------------------------------------------- narrow windows

MANY = replace(_tally(2_345_678, 86_400.0, io=12_345), frames=9_000_000)


@pytest.mark.parametrize(
    ("width", "words"),
    [
        (20, "32/895, 3.20/s"),
        (30, "32 of 895 units, 3.20/s, 4 min"),
        (40, "32/895, 12 failed, 3.20 images/s, 4 min"),
        (61, "32 of 895 units, 1,000 masks, 12 failed, 3.20 images/s, 4 min"),
        (80, "32 of 895 units, 1,000 masks, 12 failed, 3.20 images/s, 4 min 30 s left"),
        (120, "32 of 895 units, 1,000 masks, failed: bomb 9, io 3, 3.20 images/s, 4 min 30 s left"),
    ],
)
def test_what_matters_most_is_said_first_and_in_short(width: int, words: str):
    tally = _tally(20, io=3, bomb=9)
    assert state_within(state_in_parts(895, tally, _pace(tally)), width) == words


@pytest.mark.parametrize("width", range(40, 200, 7))
@pytest.mark.parametrize(
    ("to_do", "tally"), [(9_999_999, MANY), (895, _tally(20, io=3)), (895, _tally(0))]
)
def test_the_bar_keeps_to_one_line_with_count_rate_and_time(
    log: io.StringIO, to_do: int, tally: Tally, width: int
):
    console = Console(
        file=log, width=width, force_terminal=True, highlight=False, color_system=None
    )
    with RunProgress(console, Selection(3)) as progress:
        progress(Standing(to_do, {}), tally)
        shown = progress._view._progress
        (line,) = console.render_lines(shown.get_renderable(), pad=False)
    words = "".join(piece.text for piece in line).rstrip()
    assert len(words) < width
    ended = sum(tally.ended.values())
    assert re.search(rf"{ended:,}( of |/){to_do:,}", words)
    if ended:
        assert re.search(r"\d( images| units)?/s", words)
        assert re.search(r" \d+ (d|h|min)", words)
        assert "failed" in words or width < 50
    if width >= 140:
        assert "━" in words or "─" in words


def test_a_bar_takes_what_room_there_is():
    assert [len(bar_within(0.5, width)) for width in (-3, 7, 8, 20, 90)] == [0, 0, 8, 20, 24]
    assert bar_within(0.5, 10) == "━━━━━─────"
    assert bar_within(2.0, 10) == "━" * 10


# ---------------------------------------------------------------- lines and the bar


def test_lines_are_written_every_ten_seconds(log: io.StringIO):
    clock = _Clock()
    with RunProgress(_console(log), Selection(3), clock) as progress:
        for second in range(1, 36):
            clock.now = float(second)
            progress(BEFORE, _tally(second, second))
    lines = _lines(log)
    assert lines[0] == "starting Ray, and listing the source"
    assert [line.partition(" ")[0] for line in lines[1:]] == ["10", "20", "30"]


def test_where_nothing_happens_a_line_a_minute_is_enough(log: io.StringIO):
    clock = _Clock()
    with RunProgress(_console(log), Selection(3), clock) as progress:
        for second in range(1, 181):
            clock.now = float(second)
            progress(BEFORE, _tally(0, second))
    assert len(_lines(log)) == 1 + 3


def test_the_first_failure_of_a_kind_is_said_at_once(log: io.StringIO):
    clock = _Clock()
    with RunProgress(_console(log), Selection(3), clock) as progress:
        clock.now = 1.0
        for tally in (_tally(1), _tally(1, io=1), _tally(1, io=2), _tally(1, io=2, bomb=1)):
            progress(BEFORE, tally)
    said = [line for line in _lines(log) if line.startswith("first failure of its kind")]
    assert [line.partition(";")[0] for line in said] == [
        "first failure of its kind: io",
        "first failure of its kind: bomb",
    ]


def test_a_terminal_gets_a_bar_that_goes_away(log: io.StringIO):
    console = Console(file=log, width=120, force_terminal=True, highlight=False)
    with RunProgress(console, Selection(3)) as progress:
        progress(BEFORE, _tally(20, io=1))
        shown = progress._view._progress
        assert (shown.tasks[0].completed, shown.tasks[0].total) == (21, 895)
        shown.refresh()
    assert "first failure of its kind: io" in log.getvalue()
    assert "21 of 895 units" in log.getvalue()
    assert shown.finished is False
    assert not shown.live.is_started


def test_a_walk_over_files_says_seldom_how_far_it_is(log: io.StringIO):
    clock = _Clock()
    progress = FileProgress(_console(log), clock)
    for second in range(25):
        clock.now = float(second)
        progress("verified", second, 25)
    assert _lines(log) == ["verified: 10 of 25 files", "verified: 20 of 25 files"]


def test_all_watchers_are_told():
    seen: list[tuple[str, int]] = []
    watch = told_to_all(
        lambda before, _: seen.append(("a", before.units)),
        lambda before, _: seen.append(("b", before.units)),
    )
    watch(BEFORE, _tally(1))
    assert seen == [("a", 1000), ("b", 1000)]


# ---------------------------------------------------------------- gauges and dashboards


def test_gauges_show_what_lines_say():
    tally = replace(_tally(20, io=3), seconds={"model": 5.0, "decode": 2.0}, actors=2)
    found = {(m.name, m.label): m.value for m in measures(BEFORE, tally, CHOSEN)}
    assert found == {
        ("sam2ray_units", ""): 1000,
        ("sam2ray_units_waiting", ""): 872,  # 885 wait, ten of those that failed are tried again
        ("sam2ray_units_ended", "ok"): 20,
        ("sam2ray_units_ended", "io"): 3,
        ("sam2ray_masks", ""): 1000,
        ("sam2ray_frames", ""): 20,
        ("sam2ray_stage_seconds", "model"): 5.0,
        ("sam2ray_stage_seconds", "decode"): 2.0,
        ("sam2ray_actors", ""): 2,
        ("sam2ray_elapsed_seconds", ""): 10.0,
    }


def test_every_gauge_is_fed():
    assert {measure.name for measure in measures(BEFORE, _tally(1), CHOSEN)} == set(GAUGES)


@pytest.mark.usefixtures("two_cpus")
def test_gauges_are_accepted_by_ray():
    RunGauges("/out", CHOSEN)(BEFORE, _tally(20, io=3))


def _expressions(dashboard: dict) -> Iterator[str]:
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            yield target["expr"]
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["query"]["query"]


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.name)
def test_a_dashboard_asks_only_for_what_runs_export(path: Path):
    known = {f"{PREFIX}{name}": label for name, (_, label) in GAUGES.items()}
    asked = set()
    for expression in _expressions(json.loads(path.read_text())):
        for name, _, labels in re.findall(r"(ray_\w+|sam2ray_\w+)(\{([^}]*)\})?", expression):
            assert name in known, expression
            asked.add(name)
            for label in re.findall(r"(\w+)\s*[=!]", labels):
                assert label in (OUTPUT_LABEL, known[name]), expression
        for labels in re.findall(r"by \(([^)]*)\)", expression):
            assert set(labels.split(", ")) <= {OUTPUT_LABEL, *filter(None, known.values())}
    assert asked == set(known)


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.name)
def test_panels_of_a_dashboard_do_not_overlap_and_have_titles(path: Path):
    dashboard = json.loads(path.read_text())
    taken: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert all(x < 24 for x, _ in cells)
        assert panel["title"]
        assert panel["description"]
        taken |= cells
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])


def test_there_is_a_dashboard():
    assert DASHBOARDS
