"""Rows of classes: those that are there, in their order, with what the core says of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from label_bench import masks_of
from make_clip import textured_picture
from small_models import lively_model

from sam2_core import ClassHead, ClassMap, ClassSegmenter
from sam2_core.inference.frame_sources import PictureList
from sam2ray.config import JobConfig
from sam2ray.errors import UsageError
from sam2ray.heads import skipped_classes
from sam2ray.modes.classes import ClassMasks
from sam2ray.modes.clips import FrameByFrame, FrameRows, OpenClip
from sam2ray.modes.mask_rows import RowPlace
from sam2ray.modes.pictures import PictureItem
from sam2ray.stages.label import best_rows, one_by_one_if_need_be
from sam2ray.stages.sampling import Sample

NAMES = ("ground", "round", "angular", "thin")
PICTURES = [textured_picture(40, 56, 1), textured_picture(33, 90, 2)]


def head(ground: str | None = "ground") -> ClassHead:
    torch.manual_seed(3)
    return ClassHead.for_model(lively_model(64), NAMES, ground, width=16).eval()


def items() -> list[PictureItem]:
    return [
        PictureItem(RowPlace(f"unit {n}", f"/in/{n}"), picture, picture.shape[:2], None)
        for n, picture in enumerate(PICTURES)
    ]


def mode(skipped: frozenset[int] = frozenset()) -> ClassMasks:
    return ClassMasks(ClassSegmenter(lively_model(64), head()), skipped)


def test_each_class_that_is_there_is_a_row():
    maps = ClassSegmenter(lively_model(64), head()).segment(PICTURES)
    tables = [to_rows() for to_rows in mode().look_at(items())]
    for number, (table, found) in enumerate(zip(tables, maps, strict=True)):
        assert table["label"].to_pylist() == [NAMES[one] for one in found.present]
        masks = np.stack([found.mask(NAMES[one]).numpy() for one in found.present])
        assert np.array_equal(masks_of(table), masks)
        assert table["area"].to_pylist() == masks.sum((1, 2)).tolist()
        expected = found.confidence[found.present].numpy()
        np.testing.assert_array_equal(table["object_score"].to_numpy(), expected)
        for row in table.to_pylist():
            assert (row["unit_id"], row["height"]) == (f"unit {number}", PICTURES[number].shape[0])
            left, top, width, height = row["bbox_xywh"]
            assert min(width, height) >= 1
            assert left + width <= row["width"]
            assert top + height <= row["height"]
            for name in ("object_id", "predicted_iou", "stability_score", "prompt_id", "point_xy"):
                assert row[name] is None, name


def test_skipped_classes_give_no_rows_and_too_many_only_the_surest():
    (whole, _) = (to_rows() for to_rows in mode().look_at(items()))
    labels, scores = whole["label"].to_pylist(), whole["object_score"].to_pylist()
    assert len(labels) > 1
    first = NAMES.index(labels[0])
    (some, _) = (to_rows() for to_rows in mode(frozenset({first})).look_at(items()))
    assert some["label"].to_pylist() == labels[1:]
    (none, _) = (to_rows() for to_rows in mode(frozenset(range(4))).look_at(items()))
    assert (len(none), none.schema) == (0, whole.schema)
    best = best_rows(whole, 1)
    assert best["label"].to_pylist() == [labels[int(np.argmax(scores))]]


def test_a_batch_that_is_too_large_is_halved():
    segmenter = ClassSegmenter(lively_model(64), head())
    whole, sizes = segmenter.segment, []

    def segment(images: list) -> list[ClassMap]:
        sizes.append(len(images))
        if len(images) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return whole(images)

    segmenter.segment = segment  # pyright: ignore[reportAttributeAccessIssue]
    found = one_by_one_if_need_be(items(), ClassMasks(segmenter, frozenset()).look_at, repr)
    assert sizes == [2, 1, 1]
    assert [len(to_rows()) > 0 for to_rows in found if not isinstance(to_rows, str)] == [True] * 2


def test_sampled_frames_of_a_video_have_rows_of_their_own():
    frames = [textured_picture(40, 56, seed) for seed in range(3)]
    sample = Sample(range(0, 6, 2), True)
    clip = OpenClip("unit", "/in/clip", PictureList(frames), sample, lambda number: number / 25)
    events = [*FrameByFrame(mode(), batch=2).label(iter([clip]), 1)]
    tables = [event.to_rows() for event in events if isinstance(event, FrameRows)]
    alone = ClassSegmenter(lively_model(64), head(), batch=2).segment(frames)
    assert [table["label"].to_pylist() for table in tables] == [
        [NAMES[one] for one in found.present] for found in alone
    ]
    assert [set(table["frame_index"].to_pylist()) for table in tables] == [{0}, {2}, {4}]
    assert tables[2]["timestamp_s"][0].as_py() == 4 / 25


def config(**semantic) -> JobConfig:
    return JobConfig.model_validate(
        {
            "mode": "semantic",
            "source": {"uri": "in"},
            "output": {"uri": "out"},
            "semantic": {"head": "head.safetensors", **semantic},
        }
    )


def test_the_ground_is_skipped_unless_others_are_named():
    told = head().config
    assert skipped_classes(config(), told) == {0}
    assert skipped_classes(config(), head(None).config) == frozenset()
    assert skipped_classes(config(skip=[]), told) == frozenset()
    assert skipped_classes(config(skip=["thin", "round"]), told) == {1, 3}
    with pytest.raises(UsageError, match="skip=rund: the head has no such class; did you mean rou"):
        skipped_classes(config(skip=["rund"]), told)
