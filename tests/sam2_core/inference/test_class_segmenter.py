"""Maps of classes at the pictures' own sizes, whatever the batch."""

from __future__ import annotations

import pytest
import torch
from make_clip import textured_picture
from small_models import lively_model

from ops import decode_run_lengths
from sam2_core import ClassHead, ClassMap, ClassSegmenter, ConfigError, resize_picture

NAMES = ("ground", "round", "angular", "thin")
PICTURES = [textured_picture(40, 56, 1), textured_picture(33, 90, 2), textured_picture(64, 64, 3)]


@pytest.fixture(scope="module")
def head() -> ClassHead:
    torch.manual_seed(3)
    return ClassHead.for_model(lively_model(64), NAMES, width=16).eval()


def test_pictures_of_any_size_are_mapped_alike_in_any_batch(head: ClassHead):
    maps = ClassSegmenter(lively_model(64), head).segment(PICTURES)
    assert [tuple(one.ids.shape) for one in maps] == [(40, 56), (33, 90), (64, 64)]
    one_by_one = ClassSegmenter(lively_model(64), head, batch=1).segment(PICTURES)
    for one, alone in zip(maps, one_by_one, strict=True):
        assert (one.ids != alone.ids).float().mean() < 0.01
    for one in maps:
        assert one.ids.dtype == torch.uint8
        assert int(one.areas.sum()) == one.ids.numel()
        seen = one.confidence[one.present]
        assert ((seen > 1 / len(NAMES)) & (seen <= 1)).all()
    assert len({number for one in maps for number in one.present}) > 1
    assert ClassSegmenter(lively_model(64), head).segment([]) == []


def test_a_picture_that_was_resized_elsewhere_is_mapped_at_its_own_size(head: ClassHead):
    segmenter = ClassSegmenter(lively_model(64), head)
    (own,) = segmenter.segment(PICTURES[1:2])
    (resized,) = segmenter.segment([resize_picture(PICTURES[1], 64, rounded=False)])
    assert torch.equal(own.ids, resized.ids)


def test_a_map_tells_its_classes_as_masks_and_run_lengths(head: ClassHead):
    (one,) = ClassSegmenter(lively_model(64), head).segment(PICTURES[:1])
    decoded = decode_run_lengths(one.run_lengths(one.present))
    for number, found in zip(one.present, decoded, strict=True):
        mask = one.mask(NAMES[number])
        assert torch.equal(found, mask)
        assert int(mask.sum()) == int(one.areas[number])
    assert NAMES[one.present[0]] in repr(one)
    with pytest.raises(ConfigError, match="No class is called 'sky'"):
        one.mask("sky")


def test_results_may_be_changed_and_kept(head: ClassHead):
    (one,) = ClassSegmenter(lively_model(64), head).segment(PICTURES[:1])
    assert isinstance(one, ClassMap)
    for tensor in (one.ids, one.areas, one.confidence):
        assert not tensor.is_inference()
    one.ids[0, 0] = 1


def test_what_does_not_go_together_is_refused(head: ClassHead):
    with pytest.raises(ConfigError, match="belongs to test at 64 px"):
        ClassSegmenter(lively_model(96), head)
    with pytest.raises(ConfigError, match="load_class_head"):
        ClassSegmenter(lively_model(64), "head.safetensors")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ConfigError, match="batch=0"):
        ClassSegmenter(lively_model(64), head, batch=0)
