"""Videos in an actor: each commits itself once, whole or not at all, and has one row."""

from __future__ import annotations

import json
import tempfile
import time
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import pyarrow as pa
import pytest
import torch
import torchvision  # noqa: F401 what it loads makes a folder for temporary files, once
from bad_videos import BROKEN_OFF, FRAMES, UNUSABLE
from label_bench import Bench, ledger, prepared, prompts, units_of
from make_archive import box_mask, jpeg, rle, tar_bytes, write_files
from make_video import write_video
from small_models import lively_model

from sam2ray.errors import RootRefused
from sam2ray.ledger import Ledger, Process, Verdict
from sam2ray.modes.clips import ClipOver, FrameRows, take
from sam2ray.modes.mask_rows import mask_table
from sam2ray.sinks.result_files import MASKS, read_outcomes

EMBED = {
    "mode": "embed",
    "model": {"name": "nano", "image_size": 64},
    "resources": {"batch_size": 4, "video_lanes": 2},
    "fetch": {"attempts": 1},
}
TRACK = EMBED | {"mode": "track", "prompts": {"coordinates": "pixels"}}


def bench(tmp_path: Path, settings=EMBED, **options) -> Bench:
    return Bench(lively_model(64), tmp_path / "out", settings, **options)


def videos(tmp_path: Path, *lengths: int) -> list:
    folder = tmp_path / "in"
    folder.mkdir()
    for number, length in enumerate(lengths):
        write_video(folder / f"{number}.mp4", length)
    return units_of(folder)


def unit_for(path: Path):
    (unit,) = units_of(path)
    return unit


@pytest.fixture(autouse=True)
def nothing_is_left_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield
    assert list(folder.iterdir()) == []


@dataclass
class Scripted:
    """A mode that finds one mask a frame, and does on some frames what it is told."""

    on_frame: object = None  # called with the clip and the position before each frame
    folder: str = MASKS
    choice: str = "sampled"
    runs: list[list[str]] = field(default_factory=list)  # clips that each run began

    def label(self, clips, lanes):
        self.runs.append([])
        waiting = []
        while True:
            while len(waiting) < lanes and (clip := next(clips, None)) is not None:
                self.runs[-1].append(Path(clip.source_uri).name)
                positions = range(len(clip.sample.numbers))
                frames = zip(positions, clip.frames.read(positions), strict=False)
                waiting.append((clip, frames))
            if not waiting:
                return
            clip, frames = waiting.pop(0)
            found, error = take(frames, 1)
            if not found:
                yield ClipOver(clip, error)
                continue
            ((position, _),) = found
            if self.on_frame is not None:
                self.on_frame(clip, position)
            rows = partial(mask_table, clip.place(position), (2, 2), area=[position])
            yield FrameRows(clip, rows)
            waiting.append((clip, frames))


def scripted(tmp_path: Path, on_frame=None, settings=EMBED, **options) -> tuple[Bench, Scripted]:
    """A bench whose videos are labelled by a script."""
    made = bench(tmp_path, settings | {"mode": "auto"}, **options)
    mode = Scripted(on_frame)
    made.labeller.videos._mode = mode
    return made, mode


# ---------------------------------------------------------------- commits


def test_each_video_has_a_file_of_its_own_and_its_row_counts_only(tmp_path):
    units = videos(tmp_path, 5, 9, 3)
    made = bench(tmp_path)
    rows = made.label(units)
    assert [row["masks"] for row in rows] == [5, 9, 3]
    assert [row["frames"] for row in rows] == [5, 9, 3]
    assert all(row["is_committed"] and row["rows"] is None for row in rows)
    for row in rows:
        assert row["found"]["frame_index"].to_pylist() == list(range(row["frames"]))
        assert set(row["found"]["unit_id"].to_pylist()) == {row["unit_id"]}
    assert len([name for name in made.files() if name.startswith("embeddings/")]) == 3
    assert len([name for name in made.files() if name.startswith("units/")]) == 3


def test_a_row_says_what_the_video_is_and_what_it_took(tmp_path):
    (unit,) = videos(tmp_path, 5)
    (row,) = bench(tmp_path).label([replace(unit, user={"a": "b"})])
    wanted = {
        "kind": "video",
        "width": 128,
        "height": 48,
        "fps": 25.0,
        "frames": 5,
        "etag": unit.version,
        "model": "test",
        "config_id": "config",
        "run_id": "run",
        "attempt": 1,
        "status": "ok",
        "error_class": None,
        "user": [("a", "b")],
    }
    assert {name: row[name] for name in wanted} == wanted
    assert all(row[f"{step}_s"] > 0 for step in ("fetch", "decode", "model", "pack"))


def test_the_footer_says_the_same_as_the_row(tmp_path):
    units = videos(tmp_path, 5)
    made = bench(tmp_path)
    (row,) = made.label(units)
    (outcome,) = read_outcomes(made.store, made.name_of(row)).to_pylist()
    assert outcome == {name: row[name] for name in outcome}


def test_a_unit_whose_file_exists_is_read_from_there_and_not_done_again(tmp_path):
    units = videos(tmp_path, 5, 6)
    first = bench(tmp_path).label(units)
    for unit in units:
        Path(unit.source_uri).unlink()
    again = bench(tmp_path).label(units)
    for one, other in zip(first, again, strict=True):
        assert one.pop("found").equals(other.pop("found"))
        assert one == other


def test_another_attempt_is_another_file(tmp_path):
    units = videos(tmp_path, 4)
    made = bench(tmp_path)
    made.label(units)
    table = prepared(units)
    at = table.schema.get_field_index("attempt")
    table = table.set_column(at, "attempt", pa.array([2], pa.int32()))
    (row,) = made.labeller(table).to_pylist()
    assert row["attempt"] == 2
    assert len(made.files()) == 4


def test_nothing_is_committed_once_another_run_holds_the_output(tmp_path):
    units = videos(tmp_path, 4)
    made = bench(tmp_path)
    made.store.put("_sam2ray/lease/000007.json", json.dumps({}).encode())
    with pytest.raises(RootRefused):
        made.label(units)
    assert made.files() == ["_sam2ray/lease/000007.json"]


def test_a_video_without_masks_leaves_its_row_to_the_sink(tmp_path):
    units = videos(tmp_path, 4)
    settings = EMBED | {"mode": "auto", "masks": {"points_per_side": 2, "pred_iou_thresh": 1.0}}
    made = bench(tmp_path, settings)
    (row,) = made.label(units)
    assert (row["status"], row["masks"], row["frames"]) == ("ok", 0, 4)
    assert not row["is_committed"]
    assert made.files() == []


def test_a_video_that_nobody_asks_about_is_not_even_fetched(tmp_path):
    units = videos(tmp_path, 4)
    Path(units[0].source_uri).unlink()
    (row,) = bench(tmp_path, TRACK).label(units)
    assert (row["status"], row["masks"], row["frames"]) == ("ok", 0, 0)


def test_a_video_that_was_found_damaged_fails_though_nobody_asks_about_it(tmp_path):
    (unit,) = videos(tmp_path, 3)
    damaged = replace(unit, fault="truncated: of the 9 bytes of 'a.mp4', 3 are there")
    (row,) = bench(tmp_path, TRACK).label([damaged])
    assert (row["status"], row["error_class"]) == ("failed", "truncated")
    assert row["error_message"] == "of the 9 bytes of 'a.mp4', 3 are there"


def test_more_rows_than_memory_should_hold_go_to_the_file_as_they_come(tmp_path, monkeypatch):
    from sam2ray.stages import unit_rows

    monkeypatch.setattr(unit_rows, "_TABLES", 3)
    units = videos(tmp_path, 10)
    made, _ = scripted(tmp_path)
    (row,) = made.label(units)
    assert row["found"]["area"].to_pylist() == list(range(10))


# ---------------------------------------------------------------- batches


def test_pictures_and_videos_of_a_batch_keep_their_order(tmp_path):
    folder = tmp_path / "in"
    write_files(folder, ["b.jpg", "d.jpg"])
    (folder / "clip").mkdir()
    for name in ("a.mp4", "c.mp4"):
        write_video(folder / name, 3)
    write_files(tmp_path / "frames" / "clip", ["0.jpg", "1.jpg"])
    units = [*units_of(folder), *units_of(tmp_path / "frames", "frames")]
    units.sort(key=lambda unit: unit.unit_id)
    assert {unit.kind for unit in units} == {"image", "video", "frames"}
    shapes = [[16, 24, 3] if unit.kind == "image" else None for unit in units]
    pixels = [bytes(16 * 24 * 3) if shape else None for shape in shapes]
    rows = bench(tmp_path).label(
        units,
        pixels=pixels,
        pixel_shape=shapes,
        pixel_type=["|u1"] * 5,
        is_resized=[False] * 5,
        height=[shape and 16 for shape in shapes],
        width=[shape and 24 for shape in shapes],
    )
    assert [row["kind"] for row in rows] == [unit.kind for unit in units]
    assert [row["masks"] for row in rows] == [
        {"image": 1, "video": 3, "frames": 2}[unit.kind] for unit in units
    ]
    assert all(row["is_committed"] == (row["kind"] != "image") for row in rows)
    assert all((row["rows"] is not None) == (row["kind"] == "image") for row in rows)


def test_a_free_lane_takes_the_next_video(tmp_path):
    lengths = [9, 2, 2, 2, 2]
    units = videos(tmp_path, *lengths)
    open_now: set[str] = set()
    together: list[set[str]] = []

    def look(clip, position):
        open_now.add(clip.source_uri)
        together.append(set(open_now))
        if position + 1 == len(clip.sample.numbers):
            open_now.discard(clip.source_uri)

    made, _ = scripted(tmp_path, look)
    rows = made.label(units)
    assert [row["masks"] for row in rows] == lengths
    assert max(map(len, together)) == 2
    assert len(together[-1] | {units[0].source_uri}) == 2, "the long one ran beside all others"


def test_shards_and_stores_are_fetched_and_cleaned_up(tmp_path):
    clip = write_video(tmp_path / "clip.mp4", 6).read_bytes()
    members = [(f"{number}.mp4", clip) for number in range(5)]
    (tmp_path / "x.tar").write_bytes(tar_bytes(members))
    rows = bench(tmp_path).label(units_of(tmp_path / "x.tar"))
    assert [row["masks"] for row in rows] == [6] * 5


# ---------------------------------------------------------------- failures


def test_a_bad_video_fails_alone(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for name, (write, _) in UNUSABLE.items():
        write(folder / name)
    write_video(folder / "good.mp4", 5)
    units = units_of(folder)
    made = bench(tmp_path)
    for row in made.label(units):
        name = Path(row["source_uri"]).name
        if name == "good.mp4":
            assert (row["status"], row["masks"], row["is_committed"]) == ("ok", 5, True)
            continue
        assert (row["status"], row["error_class"]) == ("failed", UNUSABLE[name][1])
        assert row["error_message"]
        assert (row["masks"], row["is_committed"], row["rows"]) == (0, False, None)
    assert len(made.files()) == 2


def test_each_video_is_told_of_when_it_ends_though_others_take_longer(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    write_video(folder / "0.mp4", 2)
    (folder / "1.mp4").write_bytes(b"no video at all" * 100)
    write_video(folder / "2.mp4", 9)
    seen = []

    def look(clip, position):
        seen.append((Path(clip.source_uri).name, position, dict(made.ledger.tally().ended)))

    made, _ = scripted(tmp_path, look)
    made.label(units_of(folder))
    assert seen[0] == ("0.mp4", 0, {}) or seen[0][2] == {"unsupported": 1}
    name, _, ended = seen[-1]
    assert name == "2.mp4"
    assert sum(ended.values()) == 2
    assert ended["ok"] == 1


@pytest.mark.filterwarnings("ignore:.*packets announce")
@pytest.mark.parametrize("settings", [EMBED, TRACK], ids=["embed", "track"])
def test_of_a_video_that_breaks_off_what_came_before_is_committed(tmp_path, settings):
    folder = tmp_path / "in"
    folder.mkdir()
    for name, write in BROKEN_OFF.items():
        write(folder / name)
    text = prompts({"mask": rle(box_mask(48, 128, (10, 5, 100, 40)))})
    made = bench(tmp_path, settings)
    for row in made.label([replace(unit, prompts=text) for unit in units_of(folder)]):
        assert (row["status"], row["error_class"]) == ("ok", "partial")
        assert row["retryable"] is None
        assert row["error_message"]
        assert 5 < row["frames"] < FRAMES
        assert row["is_committed"]
        assert row["masks"] == len(row["found"]) > 0


@pytest.mark.filterwarnings("ignore:.*packets announce")
@pytest.mark.parametrize("name", BROKEN_OFF)
@pytest.mark.parametrize(
    "settings",
    [
        TRACK,
        TRACK | {"tracking": {"direction": "backward"}},
        TRACK | {"tracking": {"direction": "both"}},
        TRACK | {"decode": {"video": {"max_frames": 4}}},
        TRACK | {"mode": "prompt"},
    ],
    ids=["forward", "backward", "both", "first frames", "prompt"],
)
def test_prompts_behind_a_break_cost_no_prompt_before_it(tmp_path, settings, name):
    BROKEN_OFF[name](tmp_path / name)
    mask = {"mask": rle(box_mask(48, 128, (10, 5, 100, 40)))}
    text = prompts(
        mask | {"object_id": 4, "frame": 2},
        mask | {"object_id": 7, "frame": 22},
        mask | {"object_id": 4, "frame": 23},
    )
    made = bench(tmp_path, settings)
    (row,) = made.label([replace(unit_for(tmp_path / name), prompts=text)])
    assert (row["status"], row["error_class"]) == ("ok", "partial")
    assert row["frames"] > 0
    assert row["masks"] == len(row["found"]) > 0
    assert set(row["found"]["object_id"].to_pylist()) == {4}
    assert max(row["found"]["frame_index"].to_pylist()) < 22
    end = "were left out: object 7 on frame 22, object 4 on frame 23."
    assert row["error_message"].endswith(end)
    assert len(row["error_message"]) > 2 * len(end), "it says first why"


def test_a_clip_that_breaks_off_before_all_its_prompts_fails(tmp_path):
    for name in ("cut.mp4", "one broken frame.mp4"):
        BROKEN_OFF[name](tmp_path / name)
        text = prompts(*({"box": [10, 5, 100, 40], "frame": frame} for frame in (21, 22)))
        made = bench(tmp_path, TRACK)
        (row,) = made.label([replace(unit_for(tmp_path / name), prompts=text)])
        assert row["status"] == "failed"
        assert row["error_class"] in ("truncated", "corrupt")
        assert made.files() == []


def test_a_store_that_fails_in_the_middle_is_no_partial_video(tmp_path):
    folder = write_files(tmp_path / "in", [f"{number}.jpg" for number in range(40)])
    units = units_of(folder, "frames")

    def lose(clip, position):
        if position == 1:  # the next ones are at hand already
            for file in folder.iterdir():
                file.unlink()

    made, _ = scripted(tmp_path, lose, EMBED | {"fetch": {"attempts": 1, "threads": 1}})
    (row,) = made.label(units)
    assert (row["status"], row["retryable"], row["masks"]) == ("failed", True, 0)
    assert row["error_class"] == "not_found"
    assert made.files() == []


def test_a_model_that_fails_over_one_video_spares_the_others(tmp_path):
    units = videos(tmp_path, 4, 4, 4, 4, 4)

    def fail(clip, position):
        if clip.source_uri.endswith("2.mp4") and position == 2:
            raise torch.OutOfMemoryError("of 80 GiB")

    made, mode = scripted(tmp_path, fail)
    rows = made.label(units)
    assert [row["status"] for row in rows] == ["ok", "ok", "failed", "ok", "ok"]
    assert [row["masks"] for row in rows] == [4, 4, 0, 4, 4]
    assert (rows[2]["error_class"], rows[2]["retryable"]) == ("oom", True)
    begun = [name for run in mode.runs for name in run]
    assert begun.count("0.mp4") == 1, "what was committed is not done again"
    assert ["2.mp4"] in mode.runs
    assert len([name for name in made.files() if name.startswith("masks/")]) == 4


def test_a_bug_of_ours_is_a_row_and_not_the_end_of_the_job(tmp_path):
    units = videos(tmp_path, 3, 3)

    def fail(clip, position):
        if clip.source_uri.endswith("1.mp4"):
            raise KeyError("a bug")

    made, _ = scripted(tmp_path, fail)
    ok, failed = made.label(units)
    assert ok["status"] == "ok"
    assert failed["error_class"] == "internal"
    assert "KeyError" in failed["error_message"]


class Exited(BaseException):
    pass


@pytest.fixture
def exits(monkeypatch: pytest.MonkeyPatch) -> None:
    def leave(code: int) -> None:
        raise Exited(code)

    monkeypatch.setattr("os._exit", leave)


def test_a_broken_device_ends_the_process_so_that_videos_run_alone(tmp_path, exits):
    units = videos(tmp_path, 3, 3)

    def fail(clip, position):
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    made, _ = scripted(tmp_path, fail)
    with pytest.raises(Exited):
        made.label(units)


def test_alone_it_ends_the_process_too_and_the_next_one_refuses_it(tmp_path, exits):
    units = videos(tmp_path, 3, 3)

    def fail(clip, position):
        if clip.source_uri.endswith("0.mp4"):
            raise RuntimeError("CUDA error: an illegal memory access was encountered")

    book = ledger()
    for pid in (1, 2):  # first with its neighbour, then alone
        made, _ = scripted(tmp_path, fail, ledger=book, pid=pid)
        with pytest.raises(Exited):
            made.label(units)
    made, mode = scripted(tmp_path, fail, ledger=book, pid=3)
    broken, done = made.label(units)
    assert (broken["status"], broken["error_class"], broken["retryable"]) == (
        "failed",
        "cuda",
        True,
    )
    assert done["status"] == "ok"
    assert mode.runs == [["1.mp4"]]


# ---------------------------------------------------------------- the ledger


def test_suspects_run_alone_one_after_the_other(tmp_path):
    units = videos(tmp_path, 3, 3, 3)
    book = ledger()
    dead = Process("node", 99, "label")
    book.begin(dead, [units[0].unit_id, units[2].unit_id])
    made, mode = scripted(tmp_path, ledger=book)
    rows = made.label(units)
    assert [row["masks"] for row in rows] == [3, 3, 3]
    assert mode.runs == [["0.mp4"], ["2.mp4"], ["1.mp4"]]


def test_poison_and_endless_videos_are_not_opened(tmp_path):
    units = videos(tmp_path, 3)
    book = ledger()
    for pid in range(90, 95):
        book.begin(Process("node", pid, "label"), [units[0].unit_id])
    made, mode = scripted(tmp_path, ledger=book)
    (row,) = made.label(units)
    assert (row["status"], row["error_class"]) == ("failed", "poison")
    assert mode.runs == []


def test_units_are_let_go_when_they_are_done(tmp_path):
    units = videos(tmp_path, 3, 3)
    made, _ = scripted(tmp_path)
    made.label(units)
    assert made.ledger.begin(Process("node", 2, "label"), [u.unit_id for u in units]) == (
        [Verdict.TOGETHER] * 2
    )


@pytest.fixture
def looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sam2ray.stages.hands._LOOK_AT_LEDGER_EVERY_S", 0.0)


def test_a_video_in_the_middle_is_given_up_when_the_run_stops(tmp_path, looks_often):
    units = videos(tmp_path, 3, 20, 20, 20)
    book = ledger()

    def stop(clip, position):
        if position == 6:
            book.stop("SIGTERM was received", 1)

    made, mode = scripted(tmp_path, stop, ledger=book)
    rows = made.label(units)
    assert [row["skipped"] for row in rows] == [False, True, True, True]
    assert [row["is_committed"] for row in rows] == [True, False, False, False]
    assert [name for run in mode.runs for name in run] == ["0.mp4", "1.mp4", "2.mp4"]
    assert len(made.files()) == 2


def test_a_run_that_stops_takes_no_video(tmp_path):
    units = videos(tmp_path, 3)
    made, mode = scripted(tmp_path)
    made.ledger.stop("enough", 1)
    (row,) = made.label(units)
    assert row["skipped"]
    assert mode.runs == []


def test_the_ledger_is_not_asked_for_every_frame(tmp_path):
    asked = []

    class Counting(Ledger):
        def is_stopping(self) -> bool:
            asked.append(1)
            return super().is_stopping()

    made, _ = scripted(
        tmp_path, ledger=Counting(lambda _: True, stop_window=9, max_failed_fraction=1.0, actors=1)
    )
    made.label(videos(tmp_path, 30))
    assert 1 <= len(asked) <= 3


def test_a_video_is_watched_while_it_is_fetched_and_labelled_and_not_while_it_waits(tmp_path):
    units = videos(tmp_path, 6, 6, 6)
    begun: list[set[str]] = []
    settled: list[set[str]] = []

    def look(clip, position):
        if position == 0:
            begun.append(set(made.hands._open))
        if position == 5:  # by now, or soon, those behind the next are there and wait
            until = time.monotonic() + 60
            while len(made.hands._open) > 2 and time.monotonic() < until:
                time.sleep(0.01)
            settled.append(set(made.hands._open))

    made, _ = scripted(tmp_path, look)
    made.label(units)
    assert all(unit.unit_id in seen for unit, seen in zip(units, begun, strict=True))
    assert [len(seen) for seen in settled] == [2, 2, 1], "this one, and one taken ahead of its turn"
    assert not made.hands._open


# ---------------------------------------------------------------- limits


def test_a_video_with_too_many_masks_ends_there_and_says_so(tmp_path):
    units = videos(tmp_path, 40, 4)
    made, _ = scripted(tmp_path, settings=EMBED | {"output": {"max_masks_per_unit": 7}})
    full, whole = made.label(units)
    assert (full["status"], full["error_class"], full["masks"]) == ("ok", "partial", 7)
    assert "output.max_masks_per_unit=7" in full["error_message"]
    assert full["frames"] == 8
    assert full["found"]["area"].to_pylist() == list(range(7))
    assert (whole["masks"], whole["error_message"]) == (4, None)


def test_rows_of_images_that_failed_before_pass_through(tmp_path):
    folder = write_files(tmp_path / "in", {"a.jpg": jpeg()})
    write_video(folder / "b.mp4", 3)
    picture, video = units_of(folder)
    failed, skipped = bench(tmp_path).label(
        [picture, video],
        error_class=["corrupt", None],
        error_message=["no end", None],
        skipped=[None, True],
    )
    assert (failed["error_class"], failed["error_message"]) == ("corrupt", "no end")
    assert skipped["skipped"]
