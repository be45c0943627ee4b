"""A head reads all levels where their pixels are, and knows which encoder it belongs to."""

from __future__ import annotations

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from small_models import lively_model

from sam2_core import ClassHead, ConfigError, HeadConfig, encoder_digest, export_checkpoint
from sam2_core.checkpoint import load_checkpoint
from sam2_core.data import ImageEmbedding
from sam2_core.inference.compilation import cast_weights
from sam2_core.layers.windows import unnest
from sam2_core.network.sam2 import Sam2

NAMES = ("ground", "round", "thin")
GOOD = {
    "classes": NAMES,
    "ground": "ground",
    "width": 16,
    "model": "nano",
    "image_size": 64,
    "encoder_sha256": "ab" * 32,
}


def own_copy(model: Sam2) -> Sam2:
    copy = Sam2(model.config).eval()
    copy.load_state_dict(model.state_dict())
    return copy


def test_a_head_is_convolutions_of_all_levels_at_stride_4():
    model = lively_model(64)
    head = ClassHead.for_model(model, NAMES, width=16).eval()
    with torch.no_grad():
        embedding = model.embed_images(torch.randn(2, 3, 64, 64))
        found = head(embedding)
        assert found.shape == (2, 3, 16, 16)
        levels = [level.weight for level in (head.coarse, head.middle, head.fine)]
        weight = torch.cat([level.flatten(1) for level in levels], dim=1)[:, :, None, None]
        bias = head.coarse.bias + head.middle.bias + head.fine.bias
        summed = F.conv2d(_side_by_side(embedding), weight, bias)
        expected = head.classify(head.mix(summed))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def _side_by_side(embedding: ImageEmbedding) -> torch.Tensor:
    """All levels at stride 4, their channels behind one another."""
    side = round(embedding.coarse_BPC.shape[1] ** 0.5)
    middle = unnest(embedding.middle_BPQC.flatten(1, 2), side, side, depth=1)
    fine = unnest(embedding.fine_BPQC.flatten(1, 2), side, side, depth=2)
    coarser = [
        F.interpolate(level, fine.shape[-2:], mode="bilinear", align_corners=False)
        for level in (embedding.coarse_map(), middle)
    ]
    return torch.cat([*coarser, fine], dim=1)


def test_a_picture_has_the_same_logits_in_any_batch():
    model = lively_model(64)
    head = ClassHead.for_model(model, NAMES, width=16).eval()
    with torch.no_grad():
        embedding = model.embed_images(torch.randn(3, 3, 64, 64))
        alone = head(embedding.rows(slice(1, 2)))
        torch.testing.assert_close(head(embedding)[1:2], alone, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"classes": ("one",)}, "2 to 255 names"),
        ({"classes": tuple(str(n) for n in range(256))}, "256 of them"),
        ({"classes": ["a", "b"]}, "2 of them"),
        ({"classes": ("a", "")}, "no name of a class"),
        ({"classes": ("a", "b\n")}, "no name of a class"),
        ({"classes": ("a", 7)}, "no name of a class"),
        ({"classes": ("a", "b", "a"), "ground": None}, "'a' is there twice"),
        ({"ground": "sky"}, "ground='sky'"),
        ({"width": 12}, "multiple of 8"),
        ({"width": True}, "multiple of 8"),
        ({"width": 1 << 40}, "up to 1024"),
        ({"image_size": 100}, "multiple of 32"),
        ({"model": ""}, "name of a model"),
        ({"encoder_sha256": "AB" * 32}, "64 digits"),
    ],
)
def test_a_config_that_makes_no_sense_is_refused(change: dict, words: str):
    with pytest.raises(ConfigError, match=words):
        HeadConfig(**GOOD | change)


def test_the_ground_is_one_of_the_classes_or_none():
    assert HeadConfig(**GOOD).ground_id == 0
    assert HeadConfig(**GOOD | {"ground": None}).ground_id is None


def test_a_digest_follows_what_embeds_pictures_and_nothing_else():
    model = own_copy(lively_model(64))
    before = encoder_digest(model)
    with torch.no_grad():
        model.mask_decoder.get_parameter("upscale1.weight").add_(1)
    assert encoder_digest(model) == before
    with torch.no_grad():
        model.pyramid.to_fine.weight[0, 0] += 1e-6
    assert encoder_digest(model) != before


def test_weights_that_were_cast_are_still_known_by_what_they_were():
    model = own_copy(lively_model(64))
    before = encoder_digest(model)
    cast_weights(model, torch.bfloat16)
    assert encoder_digest(model) == before
    other = lively_model(64, seed=1)
    load_checkpoint(model, export_checkpoint(other))
    assert encoder_digest(model) == encoder_digest(other) != before


def test_a_head_belongs_to_the_encoder_that_it_is_given():
    head = ClassHead.for_model(lively_model(64), NAMES)
    other = lively_model(64, seed=1)
    head.belong_to(other)
    assert head.config == dataclasses.replace(
        ClassHead.for_model(other, NAMES).config, encoder_sha256=encoder_digest(other)
    )
