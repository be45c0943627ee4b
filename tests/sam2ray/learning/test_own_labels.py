"""Outputs of sam2ray as labels: what their rows say of pictures, videos and folders of frames."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from made_outputs import Ended, Output, picture
from make_labels import WORLD, masks_of, pictures, write_frames
from PIL import Image

from ops import encode_run_lengths
from sam2_core.learning.world import LabelledClip
from sam2ray.errors import UsageError
from sam2ray.learning.labels import BadLabels
from sam2ray.learning.labels import clip_sources as sources
from sam2ray.learning.labels.opening import open_labels
from sam2ray.learning.labels.own_outputs import OwnLabels
from sam2ray.learning.labels.splits import Split
from sam2ray.learning.train_config import Labels
from sam2ray.modes.mask_rows import RowPlace, rows_of_runs
from sam2ray.readers.sources import open_source
from sam2ray.records import Unit
from sam2ray.sinks.result_files import EMBEDDINGS
from sam2ray.storage import LocalStore

SIZE = (96, 96)
FRAMES = 8
CLIP = WORLD.clip(2, frames=FRAMES)
OBJECTS = CLIP[0].object_ids(16)[:3]

Shown = Mapping[int, Mapping[int, np.ndarray]]  # masks by frame and object


def shown_of(clip: LabelledClip = CLIP) -> dict[int, dict[int, np.ndarray]]:
    """All that is seen of the first objects."""
    return {
        frame: {one: mask for one in OBJECTS if (mask := clip[frame].masks([one])[0]).any()}
        for frame in range(len(clip))
    }


def rows_of_clip(unit: Unit, shown: Shown, scores: Mapping[tuple[int, int], float]) -> pa.Table:
    """Rows as a run writes them: what is not seen has none."""
    tables = []
    for frame, masks in shown.items():
        if masks:
            runs = encode_run_lengths(torch.from_numpy(np.stack([*masks.values()])))
            rated = [scores.get((frame, one), 0.9) for one in masks]
            place = RowPlace(unit.unit_id, unit.source_uri, frame)
            tables.append(rows_of_runs(place, runs, SIZE, object_id=[*masks], predicted_iou=rated))
    return pa.concat_tables(tables)


def unit_at(place: Path, **how: str) -> Unit:
    (unit,) = open_source(str(place), **how).all_units()
    assert isinstance(unit, Unit)
    return unit


def film(folder: Path, kind: str = "video") -> Unit:
    """The clip as a video, or as a folder of pictures."""
    if kind == "video":
        folder.mkdir(parents=True)
        return unit_at(write_frames(folder / "film.mp4", CLIP.frames))
    (folder / "film").mkdir(parents=True)
    for number, pixels in enumerate(CLIP.frames):
        Image.fromarray(pixels).save(folder / "film" / f"{number + 7}.png")
    return unit_at(folder / "film", kind="frames")


def labels_of(folder: Path, ended: list[Ended], *assigned: str, min_score: float = 0.0):
    output = Output(LocalStore(folder / "out"), ("mode=track", *assigned))
    output.list([one.unit for one in ended], "1")
    output.commit(ended)
    output.finish()
    return OwnLabels.opened(str(folder / "out"), min_score, {})


def labels_of_clip(
    folder: Path,
    shown: Shown,
    *assigned: str,
    kind: str = "frames",
    scores: Mapping[tuple[int, int], float] | None = None,
    min_score: float = 0.0,
) -> OwnLabels:
    unit = film(folder / "in", kind)
    ended = Ended(unit, rows=rows_of_clip(unit, shown, scores or {}), frames=FRAMES)
    return labels_of(folder, [ended], *assigned, min_score=min_score)


def test_frames_whose_masks_are_of_no_objects_are_pictures(tmp_path: Path):
    shown = {frame: masks for frame, masks in shown_of().items() if frame in (1, 4, 6)}
    worse = {(4, OBJECTS[0]): 0.2}
    source = labels_of_clip(tmp_path, shown, "mode=auto", scores=worse, min_score=0.5)
    assert (source.pictures, source.clips) == (16, 0)
    middle = source.picture(0)
    np.testing.assert_array_equal(middle.pixels, CLIP.frames[4])
    np.testing.assert_array_equal(np.asarray(middle.masks), CLIP[4].masks(OBJECTS[1:]))
    seen = {source.picture(number).pixels.tobytes() for number in range(16)}
    assert seen == {CLIP.frames[frame].tobytes() for frame in (1, 4, 6)}


def test_all_frames_of_a_video_are_held_out_or_none_is(tmp_path: Path):
    shown = {frame: masks for frame, masks in shown_of().items() if frame in (1, 4, 6)}
    labels_of_clip(tmp_path, shown, "mode=auto")
    told = {"kind": "masks", "uri": str(tmp_path / "out"), "hold_out_every": 3}
    source = OwnLabels.opened(str(tmp_path / "out"), 0.0, {})
    sides = [Split(3, held_out).numbers(source.picture_names()) for held_out in (False, True)]
    assert sorted(map(len, sides)) == [0, 16]
    side = Labels.model_validate({**told, "held_out": bool(sides[1])})
    assert open_labels(side, {}, 96).pictures == 16


@pytest.mark.parametrize("kind", ["video", "frames"])
def test_a_clip_comes_with_its_objects_from_a_video_and_from_a_folder(tmp_path, kind: str):
    source = labels_of_clip(tmp_path, shown_of(), kind=kind)
    assert (source.pictures, source.clips) == (0, 1)
    found = source.clip(0, 3, 0.5)
    first = int(0.5 * (FRAMES - 3 + 1))
    expected = [CLIP[n].masks(OBJECTS) for n in range(first, first + 3)]
    np.testing.assert_array_equal(found.masks, expected)
    difference = np.abs(np.stack(found.frames).astype(int) - CLIP.frames[first : first + 3])
    assert difference.mean() < (5 if kind == "video" else 1e-9)
    with source.whole_clip(0) as whole:
        assert [*whole.annotated] == [*range(FRAMES)]
        np.testing.assert_array_equal(whole.annotated[5], CLIP[5].masks(OBJECTS))
        assert not isinstance(whole.frames, list)
        assert whole.frames.length() == FRAMES
        shown = next(whole.frames.read(range(6, 7)))
        assert np.abs(np.asarray(shown).astype(int) - CLIP.frames[6]).mean() < 5


def test_who_is_gone_for_some_frames_is_absent_there_and_not_left_out(tmp_path):
    shown = shown_of()
    for frame in (0, 3, 4, 5):
        shown[frame] = {}
    source = labels_of_clip(tmp_path, shown)
    drawn = [source.clip(0, 4, start) for start in np.linspace(0, 0.99, 9)]
    for found in drawn:
        assert len(found.frames) == 4
        assert found.masks[0].shape[0] > 0
        assert np.asarray(found.masks[0]).any()
    assert any(not np.asarray(masks).any() for found in drawn for masks in found.masks)
    with source.whole_clip(0) as whole:
        assert [*whole.annotated] == [*range(1, FRAMES)]
        assert not np.asarray(whole.annotated[4]).any()
        np.testing.assert_array_equal(whole.annotated[6], CLIP[6].masks(OBJECTS))


@pytest.mark.parametrize("assigned", ["decode.video.every_nth=2", "decode.video.fps=3"])
def test_of_frames_that_a_run_passed_over_nothing_is_said(tmp_path, assigned: str):
    shown = {frame: masks for frame, masks in shown_of().items() if frame % 2 == 0}
    source = labels_of_clip(tmp_path, shown, assigned)
    with source.whole_clip(0) as whole:
        assert [*whole.annotated] == [0, 2, 4, 6]
    np.testing.assert_array_equal(source.clip(0, 2, 0.0).frames[1], CLIP.frames[2])


def test_an_object_with_a_bad_mask_is_left_out_of_the_frames_around_it(tmp_path):
    bad = {(2, OBJECTS[0]): 0.3, (6, OBJECTS[0]): 0.2, (6, OBJECTS[1]): 0.2, (6, OBJECTS[2]): 0.2}
    source = labels_of_clip(tmp_path, shown_of(), scores=bad, min_score=0.5)
    np.testing.assert_array_equal(source.clip(0, 2, 0.0).masks[0], CLIP[0].masks(OBJECTS))
    np.testing.assert_array_equal(source.clip(0, 3, 0.0).masks[0], CLIP[0].masks(OBJECTS[1:]))
    with pytest.raises(BadLabels, match=r"no object is rated 0\.5 or better on frames 6 to 7"):
        source.clip(0, 2, 0.99)


def test_good_masks_of_a_picture_are_chosen_before_any_is_read(tmp_path):
    (made,) = pictures(1)
    Image.fromarray(made.pixels).save(tmp_path / "a.png")
    unit, masks = unit_at(tmp_path / "a.png"), masks_of(made)
    runs = encode_run_lengths(torch.from_numpy(masks))
    scores = np.linspace(0, 0.9, len(masks)).astype(np.float32)
    place = RowPlace(unit.unit_id, unit.source_uri)
    rows = rows_of_runs(place, runs, SIZE, predicted_iou=[*scores[:-1], None])
    rows = changed(rows, "rle_counts", 0, "no run lengths")
    source = labels_of(tmp_path, [Ended(unit, rows=rows)], "mode=auto", min_score=0.4)
    good = [*(scores[:-1] >= 0.4), True]
    np.testing.assert_array_equal(source.picture(0).masks, masks[good])
    none = labels_of(tmp_path / "none", [Ended(unit, rows=rows[:2])], "mode=auto", min_score=0.99)
    assert len(none.picture(0).masks) == 0


def changed(rows: pa.Table, column: str, row: int, value: object) -> pa.Table:
    values = rows[column].to_pylist()
    values[row] = value
    place = rows.column_names.index(column)
    return rows.set_column(place, rows.field(column), pa.array(values, rows.field(column).type))


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("rle_counts", None, "a mask has no rle_counts"),
        ("rle_counts", "~~", "is no COCO RLE character"),
        ("height", 20, "96 x 20 pixels"),
        ("width", None, "None x 96 pixels"),
    ],
)
def test_rows_that_somebody_corrected_badly_cost_themselves_alone(tmp_path, column, value, words):
    unit = film(tmp_path / "in", "frames")
    rows = changed(rows_of_clip(unit, shown_of(), {}), column, 1, value)
    source = labels_of(tmp_path, [Ended(unit, rows=rows, frames=FRAMES)])
    found, (bad, *others) = source.clip(0, 2, 0.0), rows["object_id"].to_pylist()[1::-1]
    for masks, frame in zip(found.masks, CLIP, strict=False):
        np.testing.assert_array_equal(masks, frame.masks([o for o in OBJECTS if o != bad]))
    assert bad not in others
    (why,) = found.left_out
    assert f"frame 0: object {bad}: " in why
    assert words in why
    with source.whole_clip(0) as whole, pytest.raises(BadLabels, match=f"frame 0: .*{words}"):
        whole.annotated[0]
    undamaged = source.clip(0, 2, 0.99)
    assert len(undamaged.masks[0]) == len(OBJECTS)
    assert not undamaged.left_out
    (made,) = pictures(1)
    Image.fromarray(made.pixels).save(tmp_path / "a.png")
    alone, runs = (
        unit_at(tmp_path / "a.png"),
        encode_run_lengths(torch.from_numpy(masks_of(made))),
    )
    rows = rows_of_runs(RowPlace(alone.unit_id, alone.source_uri), runs, SIZE)
    source = labels_of(
        tmp_path / "alone", [Ended(alone, rows=changed(rows, column, 1, value))], "mode=auto"
    )
    picture = source.picture(0)
    np.testing.assert_array_equal(picture.masks, np.delete(masks_of(made), 1, axis=0))
    (why,) = picture.left_out
    assert "annotation 1: " in why
    assert words in why
    nothing = Ended(alone, rows=changed(rows[1:2], column, 0, value))
    source = labels_of(tmp_path / "nothing", [nothing], "mode=auto")
    with pytest.raises(BadLabels, match=f"{words}.*it has no better one"):
        source.picture(0)


@pytest.mark.parametrize("frame", [None, -1])
def test_a_mask_of_no_frame_costs_its_clip(tmp_path, frame: int | None):
    unit = film(tmp_path / "in", "frames")
    rows = changed(rows_of_clip(unit, shown_of(), {}), "frame_index", 1, frame)
    source = labels_of(tmp_path, [Ended(unit, rows=rows, frames=FRAMES)])
    with pytest.raises(BadLabels, match="one that is of no frame"):
        source.clip(0, 2, 0.0)


def test_what_is_no_clip_any_more_says_so(tmp_path, monkeypatch):
    folder = labels_of_clip(tmp_path / "a", shown_of())
    (tmp_path / "a" / "in" / "film" / "9.png").write_bytes(b"no picture")
    for ask in (lambda: folder.clip(0, 2, 0.0), lambda: folder.whole_clip(0).__enter__()):
        with pytest.raises(BadLabels, match="film: io: it changed since it was indexed"):
            ask()
    shutil.rmtree(tmp_path / "a" / "in" / "film")
    with pytest.raises(BadLabels, match="film"):
        folder.clip(0, 2, 0.0)
    video = labels_of_clip(tmp_path / "b", shown_of(), kind="video")
    monkeypatch.setattr(sources, "_MOST_SIDE", 95)
    for ask in (lambda: video.clip(0, 2, 0.0), lambda: video.whole_clip(0).__enter__()):
        with pytest.raises(BadLabels, match=r"film\.mp4: .*a side of 96 pixels"):
            ask()


def test_a_broken_picture_of_a_folder_costs_the_frames_around_it(tmp_path):
    unit = film(tmp_path / "in", "frames")
    (tmp_path / "in" / "film" / "12.png").write_bytes(b"no picture")
    unit = unit_at(tmp_path / "in" / "film", kind="frames")
    ended = Ended(unit, rows=rows_of_clip(unit, shown_of(), {}), frames=FRAMES)
    source = labels_of(tmp_path, [ended])
    assert len(source.clip(0, 4, 0.0).frames) == 4
    with pytest.raises(BadLabels, match=r"frame 5, 12\.png: .*not a picture"):
        source.clip(0, 3, 0.99)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (("mode=embed",), "has embeddings and no masks"),
        (("mode=semantic", "semantic.head=head.safetensors"), "has masks of classes, and not of"),
    ],
)
def test_an_output_without_masks_of_objects_has_no_labels(tmp_path, settings, words: str):
    output = Output(LocalStore(tmp_path), settings)
    output.list([picture(1)], "1")
    output.commit([Ended(picture(1))], folder=EMBEDDINGS)
    with pytest.raises(UsageError, match=words):
        OwnLabels.opened(str(tmp_path), 0.0, {})
