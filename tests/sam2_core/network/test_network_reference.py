"""Our network beside the reference's, with the same weights, in fp32."""

from __future__ import annotations

import dataclasses
from functools import cache
from typing import Any

import pytest
import torch
from agreement import assert_close
from oracle import small, twins

from sam2_core.config import RELEASED, ModelConfig
from sam2_core.data import ImageEmbedding, PackedPrompts
from sam2_core.layers.windows import unnest
from sam2_core.network.sam2 import Sam2

pytestmark = pytest.mark.reference

SHAPES = [
    small("sam2.1_hiera_tiny", 256),
    small("sam2_hiera_small", 128),
    small("sam2.1_hiera_base_plus", 160),
    small("sam2.1_hiera_large", 96),
    dataclasses.replace(RELEASED["nano"], image_size=128),
]


@cache
def _tiny() -> tuple[Sam2, Any]:
    return twins(small("sam2.1_hiera_tiny", 128))


@pytest.mark.parametrize("config", SHAPES, ids=lambda c: f"{c.name}@{c.image_size}")
def test_features_equal_the_reference_at_every_level(config: ModelConfig) -> None:
    ours, reference = twins(config)
    pixels = torch.randn(2, 3, config.image_size, config.image_size)
    with torch.inference_mode():
        embedding = ours.embed_images(pixels)
        levels = reference.forward_image(pixels)["backbone_fpn"]
    side = config.coarse_size
    assert_close(embedding.coarse_map(), levels[2], "coarse level")
    middle = unnest(embedding.middle_BPQC.flatten(1, 2), side, side, depth=1)
    assert_close(middle, levels[1], "middle level")
    fine = unnest(embedding.fine_BPQC.flatten(1, 2), side, side, depth=2)
    assert_close(fine, levels[0], "fine level")


@pytest.mark.parametrize("with_mask", [False, True], ids=["points", "points and mask"])
@pytest.mark.parametrize("answer", ["three", "one", "stable"])
@pytest.mark.parametrize("count", [1, 7])
def test_decoded_masks_and_scores_equal_the_reference(
    count: int, answer: str, with_mask: bool
) -> None:
    config = small("sam2.1_hiera_tiny", 128)
    ours, reference = _tiny()
    points = torch.rand(count, 2, 2) * config.image_size
    labels = torch.randint(0, 2, (count, 2))
    side = config.low_res_size
    logits = 4 * torch.randn(count, side, side) if with_mask else None
    with torch.inference_mode():
        embedding = ours.embed_images(torch.randn(3, 3, config.image_size, config.image_size))
        for image in (0, 2):
            packed = _pack(points, labels, image, logits)
            prediction = ours.decode_masks(embedding, packed, answer)
            masks, scores, tokens, objects = _reference_decode(
                reference, embedding.rows(slice(image, image + 1)), points, labels, logits, answer
            )
            assert_close(prediction.logits_NMhw, masks, "mask logits")
            assert_close(prediction.predicted_iou_NM, scores, "predicted IoU")
            assert_close(prediction.tokens_NMC, tokens, "mask tokens")
            assert_close(prediction.object_score_N, objects[:, 0], "object score")


def test_prompts_of_many_images_decode_in_one_batch_as_they_do_alone() -> None:
    config = small("sam2.1_hiera_tiny", 128)
    ours, _ = _tiny()
    points, labels = torch.rand(9, 1, 2) * config.image_size, torch.ones(9, 1, dtype=torch.long)
    owners = torch.tensor([0, 0, 1, 2, 2, 2, 1, 0, 2])
    with torch.inference_mode():
        embedding = ours.embed_images(torch.randn(3, 3, config.image_size, config.image_size))
        together = ours.decode_masks(
            embedding, dataclasses.replace(_pack(points, labels, 0, None), image_index_N=owners)
        )
        for row, owner in enumerate(owners.tolist()):
            alone = ours.decode_masks(
                embedding.rows(slice(owner, owner + 1)),
                _pack(points[row : row + 1], labels[row : row + 1], 0, None),
            )
            assert_close(together.logits_NMhw[row], alone.logits_NMhw[0], f"row {row}", 1e-5)


def test_no_prompts_give_no_answers() -> None:
    config = small("sam2.1_hiera_tiny", 128)
    ours = Sam2(config).eval()
    with torch.inference_mode():
        embedding = ours.embed_images(torch.randn(1, 3, 128, 128))
        prediction = ours.decode_masks(
            embedding, _pack(torch.zeros(0, 1, 2), torch.zeros(0, 1, dtype=torch.long), 0, None)
        )
    assert prediction.logits_NMhw.shape == (0, 3, 32, 32)
    assert prediction.predicted_iou_NM.shape == (0, 3)


def _pack(
    points: torch.Tensor, labels: torch.Tensor, image: int, logits: torch.Tensor | None
) -> PackedPrompts:
    count = len(points)
    return PackedPrompts(
        torch.cat([points, torch.zeros(count, 1, 2)], dim=1),
        torch.cat([labels, torch.full((count, 1), -1)], dim=1),
        torch.full((count,), image),
        logits,
    )


def _reference_decode(
    reference: torch.nn.Module,
    embedding: ImageEmbedding,
    points: torch.Tensor,
    labels: torch.Tensor,
    logits: torch.Tensor | None,
    answer: str,
) -> tuple[torch.Tensor, ...]:
    decoder, encoder = reference.sam_mask_decoder, reference.sam_prompt_encoder
    decoder.dynamic_multimask_via_stability = answer == "stable"
    side = reference.image_size // 16
    sparse, dense = encoder(
        points=(points, labels.int()), boxes=None, masks=None if logits is None else logits[:, None]
    )
    return decoder(
        image_embeddings=embedding.coarse_map() + reference.no_mem_embed.view(1, -1, 1, 1),
        image_pe=encoder.get_dense_pe(),
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense,
        multimask_output=answer == "three",
        repeat_image=len(points) > 1,
        high_res_features=[
            unnest(embedding.fine_BPQC.flatten(1, 2), side, side, depth=2),
            unnest(embedding.middle_BPQC.flatten(1, 2), side, side, depth=1),
        ],
    )
