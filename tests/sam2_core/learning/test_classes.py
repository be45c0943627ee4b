"""Classes are learned, unknown pixels teach nothing, and mIoU is what its definition says."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from sam2_core import RELEASED, ClassHead, build_sam2
from sam2_core.learning.classes import (
    ClassLossConfig,
    class_iou,
    class_losses,
    confusion,
    mean_iou,
)
from sam2_core.learning.lessons import ClassBatch, Learner, Lesson
from sam2_core.learning.shapes import HELD_OUT, KINDS, TRAINED
from sam2_core.learning.weights import LearningRates, parameter_groups
from sam2_core.learning.world import World
from sam2_core.network.class_head import UNKNOWN

SMALL = dataclasses.replace(RELEASED["nano"], name="small", image_size=64)
NAMES = ("a", "b", "c", "d")


def test_miou_by_hand():
    truths = torch.tensor([[0, 0, 0, 1], [1, 1, UNKNOWN, UNKNOWN]])
    answers = torch.tensor([[0, 0, 1, 1], [1, 2, 3, 0]])
    counts = confusion(answers, truths, 4)
    assert counts.tolist() == [[2, 1, 0, 0], [0, 2, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    ious = class_iou(counts).tolist()
    assert ious[:3] == [2 / 3, 2 / 4, 0.0]  # c is answered and never true: it counts 0
    assert math.isnan(ious[3])  # d is nowhere: it does not count
    assert mean_iou(counts) == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)
    assert math.isnan(mean_iou(torch.zeros(4, 4, dtype=torch.int64)))


def test_counts_of_pictures_add_up_and_bytes_do_not_overflow():
    truths = torch.randint(0, 200, (2, 30, 40), dtype=torch.uint8)
    answers = torch.randint(0, 200, (2, 30, 40), dtype=torch.uint8)
    parts = [confusion(a, t, 200) for a, t in zip(answers, truths, strict=True)]
    assert torch.equal(sum(parts), confusion(answers, truths, 200))


def test_losses_are_those_of_the_known_pixels():
    logits = torch.randn(2, 4, 6, 6, requires_grad=True)
    truths = torch.randint(0, 4, (2, 6, 6))
    truths[:, 3:] = UNKNOWN
    found = class_losses(logits, truths, NAMES, ClassLossConfig(), pixels=36)
    expected = F.cross_entropy(logits[:, :, :3], truths[:, :3])
    torch.testing.assert_close(found.cross_entropy, expected)
    found.total(ClassLossConfig()).backward()
    assert logits.grad is not None
    assert not logits.grad[:, :, 3:].any()
    nothing = torch.full_like(truths, UNKNOWN)
    silent = class_losses(logits, nothing, NAMES, ClassLossConfig(dice=1.0), pixels=1)
    assert silent.total(ClassLossConfig(dice=1.0)).item() == 0


def test_weights_of_classes_weigh_their_pixels():
    logits, truths = torch.zeros(1, 4, 1, 2), torch.tensor([[[0, 3]]])
    plain = class_losses(logits, truths, NAMES, ClassLossConfig(), 1)
    weighed = class_losses(logits, truths, NAMES, ClassLossConfig(weights={"d": 3.0}), 1)
    assert weighed.cross_entropy.item() == pytest.approx(2 * plain.cross_entropy.item())


def test_dice_by_hand():
    logits = torch.tensor([[9.0, -9.0], [-9.0, 9.0]]).log_softmax(1)
    right, wrong = torch.tensor([[[0, 1]]]), torch.tensor([[[1, 1]]])
    maps = logits.T.reshape(1, 2, 1, 2)
    config = ClassLossConfig(dice=1.0)
    assert class_losses(maps, right, NAMES[:2], config, 2).dice.item() == pytest.approx(0, abs=1e-4)
    # b: one pixel of two, chances 0 and 1: 1 - (2 + 1) / (1 + 2 + 1)
    assert class_losses(maps, wrong, NAMES[:2], config, 2).dice.item() == pytest.approx(
        1 / 4, abs=1e-4
    )


def test_every_family_of_the_world_is_of_a_kind():
    assert set(KINDS) == {*TRAINED, *HELD_OUT}
    made = World(3, size=64).picture(2)
    assert len(made.families) >= made.ids.max()
    assert set(made.families) <= set(TRAINED)


def _batch(count: int, seed: int) -> ClassBatch:
    """Things of the made world on its ground."""
    made = [World(seed, size=64).picture(number) for number in range(count)]
    pixels = torch.from_numpy(np.stack([one.pixels for one in made]))
    ids = torch.from_numpy(np.stack([one.ids[1::4, 1::4] > 0 for one in made]).astype(np.uint8))
    return ClassBatch(pixels, ids)


@pytest.mark.parametrize("encoder", [0.0, 1.0])
def test_a_head_is_learned_and_a_frozen_encoder_stays_and_computes_no_gradients(encoder: float):
    torch.manual_seed(0)
    model = build_sam2(SMALL)
    rates = LearningRates(parts={"encoder": encoder, "prompts": 0, "decoder": 0, "memory": 0})
    parameter_groups(model, rates)
    learner = Learner(model, classes=ClassHead.for_model(model, ("ground", "thing"), "ground", 16))
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    learns = [weight for weight in learner.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(learns, lr=1e-3)
    batch, seen = _batch(4, seed=5), []
    for _ in range(30):
        outcome = learner(batch, Lesson(), batch.count, torch.Generator())
        optimizer.zero_grad()
        outcome.loss.backward()
        optimizer.step()
        seen.append(float(outcome.figures["class_iou"]))
    assert seen[-1] > seen[0] + 0.1
    moved = {n for n, w in model.state_dict().items() if not torch.equal(w, before[n])}
    assert bool(moved) == bool(encoder)
    assert all(name.startswith(("encoder.", "pyramid.")) for name in moved)
    assert all((w.grad is None) == (not encoder) for w in model.encoder.parameters())
