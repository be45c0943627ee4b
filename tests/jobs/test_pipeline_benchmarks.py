"""What is measured around the model: archives, diaries, rates, rows, and tiny whole runs."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco

from jobs.benchmarks import many_units, pipeline, pipeline_media
from jobs.benchmarks.many_listings import list_many
from jobs.benchmarks.mask_agreement import agreement
from jobs.benchmarks.pipeline_rows import Figure, keep
from jobs.benchmarks.pipeline_stage import Diary
from jobs.benchmarks.pipeline_times import Event, TooFewBatches, middle, part, profile, read_diary
from jobs.benchmarks.resident import watching_memory


def _steady(batches: int, count: int = 8, seconds: float = 1.0) -> list[Event]:
    return [Event("model", count, n * seconds, (n + 1) * seconds) for n in range(batches)]


def test_the_middle_of_a_steady_run_has_its_rate():
    window = middle(_steady(20))
    assert window.rate == pytest.approx(8.0)
    assert window.began >= 2.0
    assert window.ended <= 18.0


def test_a_slow_start_and_a_slow_end_are_not_in_the_middle():
    events = _steady(20)
    late = [Event("model", 8, e.began + 100, e.ended + 100) for e in events[1:19]]
    slow = [events[0], *late, Event("model", 8, 120, 400)]
    assert middle(slow).rate == pytest.approx(8.0)


def test_a_run_of_one_batch_has_no_middle():
    with pytest.raises(TooFewBatches):
        middle(_steady(1))


def test_tenths_are_parts_of_what_was_done():
    events = [Event("model", 1, n, n + 1) for n in range(100)]
    assert part(events, 0.0, 0.1).count == 9
    assert part(events, 0.9, 1.0).ended == 100


def test_seconds_are_put_down_to_where_they_went():
    events = []
    for n in range(20):
        start = 2.0 * n
        events.append(Event("ledger", 8, start, start + 0.1))
        events.append(Event("model", 8, start + 0.1, start + 1.2))
        events.append(Event("batch", 8, start, start + 1.5))
    window = middle(events)
    spent = profile(events, window, seconds_each=0.125)
    batches = window.seconds / 2
    assert spent.asleep == pytest.approx(batches)
    assert spent.late == pytest.approx(0.1 * batches)
    assert spent.ledger == pytest.approx(0.1 * batches)
    assert spent.inside == pytest.approx(0.3 * batches)
    assert spent.between == pytest.approx(0.5 * batches)
    assert "between batches 25.0 %" in str(spent)


def test_what_happens_beside_the_model_costs_nothing():
    events = []
    for n in range(20):  # of two batches in hand one is written down while the other is looked at
        events.append(Event("model", 8, float(n), n + 0.9))
        events.append(Event("ledger", 8, n + 0.8, n + 0.95))
        events.append(Event("batch", 8, n - 0.5, n + 1.4))
    spent = profile(events, middle(events), seconds_each=0.1)
    batches = middle(events).seconds
    assert spent.asleep == pytest.approx(0.8 * batches)
    assert spent.late == pytest.approx(0.1 * batches)
    assert spent.ledger == pytest.approx(0.05 * batches)
    assert spent.inside == pytest.approx(0.05 * batches)
    assert spent.between == pytest.approx(0.0)


def test_a_diary_is_read_as_it_was_written(tmp_path: Path):
    diary = Diary(tmp_path)
    with diary.writing("model", 3):
        pass
    (event,) = read_diary(tmp_path)
    assert (event.what, event.count) == ("model", 3)
    assert event.ended >= event.began


def test_made_archives_are_kept_and_are_what_they_say(tmp_path: Path):
    folder = pipeline_media.photographs(tmp_path, 2)
    first = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert pipeline_media.photographs(tmp_path, 2) == folder
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == first
    for path in folder.iterdir():
        assert Image.open(path).size == (1250, 800)
        assert path.stat().st_size > 150_000


def test_a_made_photograph_is_the_same_for_the_same_seed():
    one, same, other = (np.array(pipeline_media.photograph(seed, (40, 50))) for seed in (1, 1, 2))
    assert (one == same).all()
    assert (one != other).any()


def test_figures_are_appended_under_one_heading(tmp_path: Path):
    ledger = tmp_path / "rows.csv"
    for value in (1.0, 2.0):
        keep(Figure("what", "size", value, "unit", ">= 1", "a, note"), ledger)
    with ledger.open() as file:
        rows = list(csv.DictReader(file))
    assert [row["value"] for row in rows] == ["1.0", "2.0"]
    assert rows[0]["note"] == "a, note"


def test_a_peak_is_at_least_what_was_held():
    with watching_memory() as peak:
        held = np.ones(40 << 20, np.uint8)
    assert peak.mib > len(held) / 2**20


def _rle(*pixels: int) -> dict:
    mask = np.zeros((4, 5), np.uint8, order="F")
    mask.ravel(order="K")[list(pixels)] = 1
    rle = coco.encode(mask)
    return {"size": rle["size"], "counts": rle["counts"].decode()}


@pytest.mark.filterwarnings("ignore:__array__ implementation")
def test_masks_agree_by_the_best_that_each_finds_on_the_other_side():
    both = {"a.jpg": [_rle(0, 1), _rle(7)]}
    assert agreement(both, both).equal
    other = agreement(both, {"a.jpg": [_rle(0, 1)]})
    assert not other.equal
    assert other.iou == pytest.approx((1 + 0 + 1) / 3)
    assert (other.ours, other.theirs) == (2, 1)


def test_listings_of_any_size_go_through_all_steps(tmp_path: Path):
    steps = list_many(tmp_path, 600)
    assert steps[0].name == "list"
    notes = {step.name: step.note for step in steps}
    assert notes["list and merge again"] == "600 known, 0 added"
    assert notes["waves and standing when all is done"] == "600 ok"


def test_growth_is_that_of_the_largest_run_over_the_smallest():
    small = many_units.RunSeen(10, 100.0, 1.0, None, None)
    large = many_units.RunSeen(1000, 150.0, 9.0, 2.0, 2.2)
    growth, flat = many_units.figures_of_runs([small, large])
    assert (growth.value, growth.bar) == (50.0, "< 200")
    assert flat.value == pytest.approx(1.1)


@pytest.mark.slow
@pytest.mark.usefixtures("two_cpus")
def test_a_sleeping_stage_goes_through_the_whole_pipeline(tmp_path: Path):
    folder = pipeline_media.photographs(tmp_path / "made", 24)
    archive = pipeline.Archive("efficiency, pictures", folder, 24, "pictures")
    settings = ("resources.batch_size=2", "model.image_size=64")
    figure = pipeline.measure(archive, tmp_path / "out", 0.02, settings)
    assert 0.05 < figure.value <= 1.0
    assert "between batches" in figure.note
    assert len(list((tmp_path / "out" / "dataset" / "masks").iterdir())) == 1


@pytest.mark.slow
@pytest.mark.usefixtures("two_cpus")
def test_clips_are_measured_by_their_frames(tmp_path: Path):
    folder = pipeline_media.clips(tmp_path / "made", 2)
    archive = pipeline.Archive("efficiency, clips", folder, 2, "frames")
    figure = pipeline.measure(archive, tmp_path / "out", 0.005, ("model.image_size=64",))
    assert 0.0 < figure.value <= 1.0
    events = read_diary(tmp_path / "out" / "diary")
    frames = sum(event.count for event in events if event.what == "model")
    assert frames == 2 * pipeline_media.FRAMES_PER_CLIP


@pytest.mark.slow
@pytest.mark.usefixtures("two_cpus")
def test_many_tiny_units_come_from_shards(tmp_path: Path):
    seen = many_units.run_many(tmp_path, tmp_path / "out", 40, ("resources.batch_size=4",))
    assert seen.units == 40
    assert json.dumps([seen.first_ms, seen.last_ms])
