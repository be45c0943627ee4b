"""Pictures and videos of one batch: each kind is done in its way, and rows keep their order."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pytest
import torch
from label_bench import Bench, ledger, prepared, prompts
from make_clip import textured_picture
from small_models import lively_model

from sam2_core import ImageSegmenter, MaskGenerator, Prompt
from sam2ray.ledger import Process
from sam2ray.modes.pictures import AllMasks
from sam2ray.records import MASK_SCHEMA, Unit
from sam2ray.stages.columns import LABELLED_SCHEMA, unpack_rows
from sam2ray.stages.hands import Hands
from sam2ray.stages.label import BatchLabeller, PictureLabeller, one_by_one_if_need_be
from sam2ray.stages.outcome_rows import Stamp

SIZE_HW = (40, 56)
PICTURES = [textured_picture(*SIZE_HW, seed) for seed in range(3)]
PROMPT = {
    "mode": "prompt",
    "model": {"name": "nano", "image_size": 64},
    "prompts": {"coordinates": "pixels"},
}
POINT = prompts({"points": [[26, 17]]})


def units(*texts: str | None) -> list[Unit]:
    return [Unit(f"/in/{n}.jpg", "image", prompts=text) for n, text in enumerate(texts)]


def pixels_of(pictures) -> dict:
    return {
        "pixels": [picture.tobytes() for picture in pictures],
        "pixel_type": [picture.dtype.str for picture in pictures],
        "pixel_shape": [list(picture.shape) for picture in pictures],
        "is_resized": [False for _ in pictures],
        "height": [picture.shape[0] for picture in pictures],
        "width": [picture.shape[1] for picture in pictures],
    }


def bench(tmp_path, settings=PROMPT, **options) -> Bench:
    return Bench(lively_model(64), tmp_path / "out", settings, **options)


def test_pictures_are_labelled_as_the_core_does(tmp_path):
    rows = bench(tmp_path).label(units(POINT, None, POINT), **pixels_of(PICTURES))
    assert [row["masks"] for row in rows] == [1, 0, 1]
    assert [row["frames"] for row in rows] == [1, 1, 1]
    for row, picture in ((rows[0], PICTURES[0]), (rows[2], PICTURES[2])):
        (answer,) = ImageSegmenter(lively_model(64)).segment([picture], [[Prompt([(26, 17)], [1])]])
        assert row["found"]["area"].to_pylist() == [
            int(answer.masks[0, answer.predicted_iou[0].argmax()].sum())
        ]


def test_a_prompt_that_makes_no_sense_fails_its_picture_alone(tmp_path):
    bad = prompts({"points": [[9999, 0]]})
    rows = bench(tmp_path).label(units(POINT, bad, POINT), **pixels_of(PICTURES))
    assert [row["error_class"] for row in rows] == [None, "bad_prompt", None]
    assert [row["masks"] for row in rows] == [1, 0, 1]


@pytest.mark.parametrize("mode", ["track", "auto_track"])
def test_a_picture_is_nothing_to_follow_objects_through(tmp_path, mode):
    settings = PROMPT if mode == "track" else {"model": PROMPT["model"]}
    rows = bench(tmp_path, settings | {"mode": mode}).label(units(None), **pixels_of(PICTURES[:1]))
    assert (rows[0]["status"], rows[0]["error_class"]) == ("failed", "unsupported")
    assert f"mode {mode} follows objects through videos" in rows[0]["error_message"]


def test_a_suspect_is_labelled_alone_and_poison_not_at_all(tmp_path):
    of_run = units(POINT, POINT, POINT)
    book = ledger()
    for pid in range(90, 95):
        book.begin(Process("node", pid, "label"), [of_run[1].unit_id])
    rows = bench(tmp_path, ledger=book).label(of_run, **pixels_of(PICTURES))
    assert [row["error_class"] for row in rows] == [None, "poison", None]


def test_a_run_that_stops_skips_what_it_has_not_begun(tmp_path):
    made = bench(tmp_path)
    made.ledger.stop("SIGTERM was received", 1)
    assert [r["skipped"] for r in made.label(units(POINT), **pixels_of(PICTURES[:1]))] == [True]


class Pictures(NamedTuple):
    """A labeller of pictures whose two steps are whatever a test wants."""

    look_at: Callable
    write: Callable


def test_one_batch_is_written_down_while_the_model_looks_at_another():
    looked_twice, model = threading.Event(), threading.Lock()
    looks = []

    def look_at(table: pa.Table) -> pa.Table:
        assert model.acquire(blocking=False), "the model serves one batch at a time"
        looks.append(len(table))
        if len(looks) == 2:
            looked_twice.set()
        model.release()
        return table

    def write(_looked: pa.Table) -> pa.Table:
        assert looked_twice.wait(60), "the model waits until a batch is written"
        return LABELLED_SCHEMA.empty_table()

    label = BatchLabeller(Pictures(look_at, write), lambda table: table)
    empty = prepared([])
    with ThreadPoolExecutor(2) as pool:
        assert [len(table) for table in pool.map(label, [empty, empty])] == [0, 0]


def test_what_cannot_be_written_down_fails_its_picture_alone(tmp_path):
    def spoiled():
        raise ZeroDivisionError("a bug")

    class Spoiling(AllMasks):
        def look_at(self, items):
            return [spoiled, *super().look_at(items)[1:]]

    mode = Spoiling(MaskGenerator(lively_model(64)))
    hands = Hands(ledger(), Process("node", 1, "label"), 600.0)
    labeller = PictureLabeller(mode, hands, Stamp("m", "c", "r"), max_rows=100)
    table = prepared(units(None, None), **pixels_of(PICTURES[:2]))
    failed, done = labeller.write(labeller.look_at(table)).to_pylist()
    assert (failed["status"], failed["error_class"]) == ("failed", "internal")
    assert "a bug" in failed["error_message"]
    assert done["status"] == "ok"


def test_a_picture_with_too_many_masks_keeps_the_best_and_says_so():
    mode = AllMasks(MaskGenerator(lively_model(64)))
    hands = Hands(ledger(), Process("node", 1, "label"), 600.0)
    table = prepared(units(None), **pixels_of(PICTURES[:1]))

    def labelled(most: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        labeller = PictureLabeller(mode, hands, Stamp("m", "c", "r"), max_rows=most)
        (row,) = labeller.write(labeller.look_at(table)).to_pylist()
        return row, unpack_rows(row["rows"]).to_pylist()

    whole, rows = labelled(1000)
    assert (whole["error_class"], len(rows)) == (None, whole["masks"])
    cut, best = labelled(len(rows) - 2)
    assert (cut["status"], cut["error_class"], cut["masks"]) == ("ok", "partial", len(best))
    assert f"the best {len(rows) - 2} of {len(rows)} masks" in cut["error_message"]
    worst = sorted(row["predicted_iou"] for row in rows)[:2]
    assert best == [row for row in rows if row["predicted_iou"] not in worst]


@pytest.mark.parametrize(
    "kinds", ["image", "video", "image video", "video image", "video image frames image video"]
)
def test_kinds_are_told_apart_and_put_back_in_order(kinds):
    of_batch = [Unit(f"/in/{n}", kind) for n, kind in enumerate(kinds.split())]
    seen: dict[str, list[str]] = {"pictures": [], "videos": []}

    def labeller(name: str):
        def label(table: pa.Table) -> pa.Table:
            seen[name] += table["kind"].to_pylist()
            arrays = [
                table[field.name].cast(field.type)
                if field.name in ("unit_id", "kind")
                else pa.nulls(len(table), field.type)
                for field in LABELLED_SCHEMA
            ]
            return pa.table(arrays, schema=LABELLED_SCHEMA)

        return label

    pictures = Pictures(labeller("pictures"), lambda table: table)
    out = BatchLabeller(pictures, labeller("videos"))(prepared(of_batch))
    assert out["unit_id"].to_pylist() == [unit.unit_id for unit in of_batch]
    assert seen["pictures"] == [unit.kind for unit in of_batch if unit.kind == "image"]
    assert seen["videos"] == [unit.kind for unit in of_batch if unit.kind != "image"]


def test_whoever_spoils_a_batch_is_found_by_halves():
    asked = []

    def run(items):
        asked.append(list(items))
        if 5 in items:
            raise torch.OutOfMemoryError("too much")
        return [item * 10 for item in items]

    found = one_by_one_if_need_be(range(8), run, lambda error: type(error).__name__)
    assert found == [0, 10, 20, 30, 40, "OutOfMemoryError", 60, 70]
    assert asked == [[*range(8)], [0, 1, 2, 3], [4, 5, 6, 7], [4, 5], [4], [5], [6, 7]]
    assert one_by_one_if_need_be([], run, str) == []


class Narrow:
    """A mode on a device that holds so many pictures; one of them is too large for any."""

    def __init__(self, most: int) -> None:
        self.most, self.asked = most, list[int]()

    def look_at(self, items):
        self.asked.append(len(items))
        if len(items) > self.most or any(item.place.source_uri == "/in/huge.jpg" for item in items):
            raise torch.OutOfMemoryError("too much")
        return [MASK_SCHEMA.empty_table for _ in items]

    def labeller(self) -> PictureLabeller:
        hands = Hands(ledger(), Process("node", 1, "label"), 600.0)
        return PictureLabeller(self, hands, Stamp("m", "c", "r"), max_rows=9)


def looked_at(labeller: PictureLabeller, *names: object) -> list[dict[str, Any]]:
    these = [Unit(f"/in/{name}.jpg", "image") for name in names]
    table = prepared(these, **pixels_of(PICTURES[:1] * len(these)))
    return labeller.write(labeller.look_at(table)).to_pylist()


def test_what_did_not_fit_into_memory_is_not_tried_with_every_batch():
    mode = Narrow(3)
    labeller = mode.labeller()
    for _ in range(70):
        assert {row["status"] for row in looked_at(labeller, *range(8))} == {"ok"}
    assert mode.asked[:7] == [8, 4, 2, 2, 4, 2, 2]
    assert mode.asked[7:11] == [2, 2, 2, 2]  # by now it is known
    assert mode.asked.count(8) == 1
    assert mode.asked.count(4) == 3  # after 64 batches it was tried once more


def test_a_picture_that_fits_nowhere_leaves_others_their_batches():
    mode = Narrow(8)
    labeller = mode.labeller()
    rows = looked_at(labeller, 0, 1, "huge", 3)
    assert [row["error_class"] for row in rows] == [None, None, "oom", None]
    mode.asked.clear()
    looked_at(labeller, *range(8))
    assert mode.asked == [8]


def test_pixels_reach_the_model_as_they_were(tmp_path):
    """Resized bytes, resized floats and own pixels are told apart."""
    settings = {"mode": "embed", "model": PROMPT["model"]}
    side = 64
    own = np.ascontiguousarray(PICTURES[0])
    resized = np.ascontiguousarray(np.zeros((side, side, 3), np.uint8) + 90)
    floats = (resized / 255).astype(np.float32)
    columns = pixels_of([own, resized, floats])
    columns |= {"is_resized": [False, True, True], "height": [40, 9, 9], "width": [56, 7, 7]}
    first, second, third = bench(tmp_path, settings).label(units(None, None, None), **columns)
    by_hand = ImageSegmenter(lively_model(side)).embed([own]).embedding.coarse_BPC[0]
    values = np.array(first["found"]["embedding"][0].as_py(), np.float32)
    assert np.allclose(values, by_hand.flatten().numpy(), atol=2e-3)
    assert second["found"]["embedding"].equals(third["found"]["embedding"])
    assert (second["found"]["height"][0].as_py(), second["found"]["width"][0].as_py()) == (9, 7)
