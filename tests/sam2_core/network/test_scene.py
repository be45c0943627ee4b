"""A scene is what prompts of some images share: made once, and worth as much as the images."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from agreement import assert_close
from small_models import lively_model

from sam2_core import Sam2
from sam2_core.data import ImageEmbedding, MaskPrediction, PackedPrompts

SIDE = 64


@pytest.fixture(autouse=True)
def _inference() -> Iterator[None]:
    with torch.inference_mode():
        yield


@pytest.fixture(scope="module")
def model() -> Sam2:
    return lively_model(SIDE)


@pytest.fixture(scope="module")
def embedding(model: Sam2) -> ImageEmbedding:
    random = torch.Generator().manual_seed(0)
    with torch.inference_mode():
        return model.embed_images(torch.randn(3, 3, SIDE, SIDE, generator=random))


def _clicks(owners: list[int], with_masks: bool = False) -> PackedPrompts:
    random = torch.Generator().manual_seed(1)
    count = len(owners)
    return PackedPrompts(
        torch.rand(count, 2, 2, generator=random) * SIDE,
        torch.tensor([1, -1]).expand(count, 2),
        torch.tensor(owners, dtype=torch.long),
        torch.randn(count, SIDE // 4, SIDE // 4, generator=random) if with_masks else None,
    )


def _same(found: MaskPrediction, expected: MaskPrediction) -> None:
    assert_close(found.logits_NMhw, expected.logits_NMhw, "logits", 1e-5)
    assert_close(found.predicted_iou_NM, expected.predicted_iou_NM, "scores", 1e-5)
    assert_close(found.object_score_N, expected.object_score_N, "object score", 1e-5)


@pytest.mark.parametrize("with_masks", [False, True], ids=["points", "points and masks"])
@pytest.mark.parametrize("maskless_prompts", [0, 100])
@pytest.mark.parametrize("owners", [[0, 0, 1, 2, 2, 2], [1], []])
def test_prompts_are_answered_alike_by_a_scene_and_by_its_images(
    model: Sam2,
    embedding: ImageEmbedding,
    owners: list[int],
    maskless_prompts: int,
    with_masks: bool,
) -> None:
    prompts = _clicks(owners, with_masks)
    scene = model.scene(embedding, maskless_prompts)
    _same(model.decode_masks(scene, prompts), model.decode_masks(embedding, prompts))


def test_some_images_of_a_scene_are_the_scene_of_these_images(
    model: Sam2, embedding: ImageEmbedding
) -> None:
    inside = model.scene(embedding, 100).rows(slice(1, 3))
    assert len(inside) == 2
    _same(
        model.decode_masks(inside, _clicks([0, 1, 1])),
        model.decode_masks(
            embedding, replace(_clicks([0, 1, 1]), image_index_N=torch.tensor([1, 2, 2]))
        ),
    )


def test_some_images_of_a_scene_are_no_copies(model: Sam2, embedding: ImageEmbedding) -> None:
    scene = model.scene(embedding, 100)
    inside = scene.rows(slice(1, 2))
    assert scene.shared is not None
    assert inside.shared is not None
    for part, whole in (
        (inside.coarse_BPC, scene.coarse_BPC),
        (inside.fine_BPQC, scene.fine_BPQC),
        (inside.shared.keys_BHPD, scene.shared.keys_BHPD),
    ):
        assert part.untyped_storage().data_ptr() == whole.untyped_storage().data_ptr()


def test_objects_that_recall_keep_the_finer_levels_of_their_images(
    model: Sam2, embedding: ImageEmbedding
) -> None:
    recalled = model.recall(embedding, [], torch.tensor([2, 0, 2, 1]))
    scene = model.scene(recalled, 0)
    assert (len(scene), len(scene.fine_BPQC)) == (4, 3)
    every = model.decode_masks(recalled, _clicks([0, 1, 2, 3]))
    prompts = replace(_clicks([0, 1, 2, 3]).rows(slice(1, 4)), image_index_N=torch.arange(3))
    _same(model.decode_masks(scene.rows(slice(1, 4)), prompts), every.rows(slice(1, 4)))


@pytest.mark.parametrize(
    ("owners", "with_masks", "shares"),
    [([0, 1, 2, 0], False, True), ([0, 1, 2], False, False), ([0, 1, 2, 0], True, False)],
)
def test_pixels_are_shared_only_where_more_prompts_than_images_read_them(
    model: Sam2,
    embedding: ImageEmbedding,
    owners: list[int],
    with_masks: bool,
    shares: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    transformer, calls = model.mask_decoder.transformer, []
    share = transformer.share
    monkeypatch.setattr(transformer, "share", lambda *maps: calls.append(maps) or share(*maps))
    model.decode_masks(embedding, _clicks(owners, with_masks))
    assert len(calls) == shares
