"""Losses against the reference's own training code, and what they say of perfect answers."""

from __future__ import annotations

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from sam2_core.learning.losses import LossConfig, Losses, losses_of, true_iou
from sam2_core.learning.pictures import enlarged


def _made_up(masks: int, seed: int, side: int = 12) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    targets = torch.rand(5, side, side, generator=draw) < 0.3
    targets[3] = False  # an object that is not there
    logits = 4 * torch.randn(5, masks, side, side, generator=draw)
    return (
        logits,
        torch.rand(5, masks, generator=draw),
        torch.randn(5, generator=draw),
        targets,
    )


@pytest.mark.reference
@pytest.mark.parametrize("masks", [1, 3])
@pytest.mark.parametrize("every_iou", [True, False])
@pytest.mark.parametrize("absolute_iou", [True, False])
def test_each_loss_is_that_of_the_reference(masks: int, every_iou: bool, absolute_iou: bool):
    loss_fns = pytest.importorskip("training.loss_fns")
    weights = {"loss_mask": 20, "loss_dice": 1, "loss_iou": 1, "loss_class": 1}
    reference = loss_fns.MultiStepMultiMasksAndIous(
        weights,
        supervise_all_iou=every_iou,
        iou_use_l1_loss=absolute_iou,
        pred_obj_scores=True,
    )
    steps = [_made_up(masks, seed) for seed in (1, 2)]
    targets = steps[0][3]
    # The reference blanks masks elsewhere: see test_steps.
    config = LossConfig(every_iou=every_iou, absolute_iou=absolute_iou, blank_absent=False)
    outputs = {
        "multistep_pred_multimasks_high_res": [step[0] for step in steps],
        "multistep_pred_ious": [step[1] for step in steps],
        "multistep_object_score_logits": [step[2][:, None] for step in steps],
    }
    theirs = reference([outputs], targets[None])
    one, other = (losses_of(*step[:3], targets, config, len(targets)) for step in steps)
    ours = one + other
    for name, loss in (
        ("loss_mask", ours.focal),
        ("loss_dice", ours.dice),
        ("loss_iou", ours.iou),
        ("loss_class", ours.presence),
        ("core_loss", ours.total(config)),
    ):
        torch.testing.assert_close(loss, torch.as_tensor(theirs[name]).reshape(()))


def _perfect(masks: int) -> Losses:
    *_, targets = _made_up(1, 3)
    logits = torch.where(targets, 60.0, -60.0)[:, None].expand(-1, masks, -1, -1)
    present = targets.flatten(1).any(1)
    score = torch.where(present, 60.0, -60.0)
    return losses_of(logits, torch.ones(5, masks), score, targets, LossConfig(), 5)


@pytest.mark.parametrize("masks", [1, 3])
def test_a_perfect_answer_costs_nothing(masks: int):
    assert _perfect(masks).total(LossConfig()) < 1e-3


def test_of_three_masks_only_the_best_is_blamed_for_its_shape():
    logits, iou, score, targets = _made_up(3, 4)
    logits[:, 1] = torch.where(targets, 9.0, -9.0)
    logits.requires_grad_()
    config = LossConfig(iou=0, presence=0, blank_absent=False)
    losses_of(logits, iou, score, targets, config, 5).total(config).backward()
    assert logits.grad is not None
    blamed = logits.grad.flatten(2).abs().sum(-1) > 0
    assert blamed[:, [0, 2]].any() == torch.tensor(False)
    assert blamed[:, 1].tolist() == [True, True, True, False, True]


def test_shares_that_are_whole_teach_what_masks_teach():
    logits, iou, score, targets = _made_up(3, 7)
    by_mask = losses_of(logits, iou, score, targets, LossConfig(), 5)
    by_share = losses_of(logits, iou, score, targets.float(), LossConfig(), 5)
    assert by_mask.total(LossConfig()) == by_share.total(LossConfig())


def test_of_shares_a_finer_outline_is_learned_than_of_small_masks():
    at = torch.arange(64.0)
    disc = ((at - 30.3).square() + (at[:, None] - 33.7).square() < 13.6**2)[None]
    shares = F.avg_pool2d(disc[:, None].float(), 4)[:, 0]
    found = {}
    for kind, targets in (("shares", shares), ("masks", shares >= 0.5)):
        logits = torch.zeros(1, 1, 16, 16, requires_grad=True)
        optimizer = torch.optim.Adam([logits], 0.2)
        config = LossConfig(focal_alpha=0.5, focal_gamma=0, blank_absent=False)
        for _ in range(80):
            optimizer.zero_grad()
            told = torch.ones(1, 1), torch.ones(1), targets, config, 1.0
            losses_of(logits, *told).total(config).backward()
            optimizer.step()
        mask = enlarged(logits.detach(), 64) > 0
        found[kind] = float(true_iou(mask.flatten(2), disc[:, None].flatten(2)))
    assert found["shares"] > 0.95 > found["masks"], found


def test_the_others_learn_their_shape_where_they_are_told_to():
    logits, iou, score, targets = _made_up(3, 8)
    plain = LossConfig(iou=0, presence=0, blank_absent=False)
    every = dataclasses.replace(plain, others=0.5)
    given = logits.clone().requires_grad_()
    judged = losses_of(given, iou, score, targets, every, 5)
    alone = [losses_of(logits[:, [n]], iou[:, [n]], score, targets, plain, 5) for n in range(3)]
    best = losses_of(logits, iou, score, targets, plain, 5)
    mean = sum(one.dice.item() for one in alone) / 3
    assert judged.dice.item() == pytest.approx(best.dice.item() + 0.5 * mean, rel=1e-5)
    judged.total(every).backward()
    assert given.grad is not None
    assert given.grad[targets.flatten(1).any(1)].flatten(2).any(-1).all()


def test_a_batch_may_be_judged_in_parts():
    made, config = _made_up(3, 5), LossConfig()
    whole = losses_of(*made, config, 5)
    parts = [losses_of(*(x[rows] for x in made), config, 5) for rows in (slice(2), slice(2, 5))]
    torch.testing.assert_close((parts[0] + parts[1]).total(config), whole.total(config))


def test_what_is_taken_for_absent_teaches_its_mask_nothing_unless_it_is_told_to():
    logits, iou, score, targets = _made_up(1, 6)
    score = -score.abs()
    for blank_absent, learns in ((True, False), (False, True)):
        config = LossConfig(iou=0, presence=0, blank_absent=blank_absent)
        given = logits.clone().requires_grad_()
        losses_of(given, iou, score, targets, config, 5).total(config).backward()
        assert given.grad is not None
        assert given.grad.any().item() is learns
