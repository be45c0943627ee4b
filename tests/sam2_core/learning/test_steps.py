"""Steps of learning: loss for loss those of the reference, and they teach something."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from oracle import twins
from torch import Tensor

from sam2_core import RELEASED, build_sam2
from sam2_core.learning.clips import ClipInteraction, ClipPlan, Clips, drawn_plan, follow
from sam2_core.learning.interaction import next_clicks
from sam2_core.learning.lessons import ClipBatch, Learner, Lesson
from sam2_core.learning.losses import LossConfig, true_iou
from sam2_core.learning.pictures import (
    Interaction,
    _with_a_click,
    first_prompts,
    interact,
    total,
)
from sam2_core.learning.world import World

SIDE, FRAMES = 96, 5
SMALL = dataclasses.replace(RELEASED["nano"], name="small", image_size=SIDE)
STEADY = Interaction(box_chance=0, corrections=2, careless_chance=0, middle_chance=1)


def _clips(count: int = 2, frames: int = FRAMES) -> tuple[Tensor, Tensor, Tensor]:
    """Normalised frames [T, B, 3, S, S], targets [T, N, S, S], and the clip of each object."""
    world, pixels, targets, source = World(11, size=SIDE), [], [], []
    for number in range(count):
        clip = world.clip(number, frames)
        pixels.append(torch.from_numpy(clip.frames).permute(0, 3, 1, 2) / 128 - 1)
        for thing in clip[0].object_ids(40)[:2]:
            targets.append(torch.from_numpy(clip.masks(thing)))
            source.append(number)
    return torch.stack(pixels, 1), torch.stack(targets, 1), torch.tensor(source)


def _clip_batch(frames: int) -> ClipBatch:
    clip = World(11, size=SIDE).clip(0, frames)
    masks = [torch.from_numpy(clip.masks(thing)) for thing in clip[0].object_ids(40)[:2]]
    cover = torch.stack(masks).to(torch.uint8) * 255
    return ClipBatch(torch.from_numpy(clip.frames)[None], cover, torch.zeros(2, dtype=torch.long))


def _seen_by_reference(reference: Any, pixels: Tensor, targets: Tensor, source: Tensor) -> Any:
    frames, count = pixels.shape[:2]
    given = SimpleNamespace(
        num_frames=frames,
        masks=targets,
        flat_img_batch=pixels.flatten(0, 1),
        flat_obj_to_img_idx=[frame * count + source for frame in range(frames)],
    )
    told = reference.prepare_prompt_inputs(reference.forward_image(given.flat_img_batch), given)
    return told, reference.forward_tracking(told, given)


@pytest.mark.reference
@pytest.mark.parametrize("by_mask", [True, False])
@pytest.mark.parametrize("everywhere", [True, False])
def test_a_clip_costs_what_it_costs_the_reference_loss_for_loss(by_mask: bool, everywhere: bool):
    loss_fns = pytest.importorskip("training.loss_fns")
    settings = {
        "_target_": "training.model.sam2.SAM2Train",
        "prob_to_use_pt_input_for_eval": float(not by_mask),
        "num_init_cond_frames_for_eval": 2,
        "num_frames_to_correct_for_eval": 3 if everywhere else 2,
        "num_correction_pt_per_frame": STEADY.corrections,
        "add_all_frames_to_correct_as_cond": True,
    }
    extra = [f"++model.{name}={value}" for name, value in settings.items()]
    ours, reference = twins(SMALL, postprocess=False, extra=extra)
    pixels, targets, source = _clips()
    with torch.no_grad():
        told, theirs = _seen_by_reference(reference, pixels, targets, source)
    plan = ClipPlan(
        by_mask, tuple(told["init_cond_frames"]), tuple(told["frames_to_add_correction_pt"])
    )
    assert len(plan.prompted) == 2
    with torch.enable_grad():  # memories are kept in bf16 where nothing is learned
        clips = Clips([ours.embed_images(frame) for frame in pixels], [*targets], source)
        how = ClipInteraction(clicks=STEADY)
        answers = follow(ours, clips, plan, how, torch.Generator())
    config = LossConfig()
    weights = {"loss_mask": 20, "loss_dice": 1, "loss_iou": 1, "loss_class": 1}
    judge = loss_fns.MultiStepMultiMasksAndIous(
        weights, supervise_all_iou=True, iou_use_l1_loss=True, pred_obj_scores=True
    )
    for frame, (answer, output) in enumerate(zip(answers, theirs, strict=True)):
        expected = judge([output], targets[frame][None])
        found = answer.losses(targets[frame], config, len(source))
        for name, loss in (
            ("loss_mask", found.focal),
            ("loss_dice", found.dice),
            ("loss_iou", found.iou),
            ("loss_class", found.presence),
        ):
            wanted = torch.as_tensor(expected[name]).reshape(())
            torch.testing.assert_close(loss, wanted, atol=1e-4, rtol=1e-4, msg=f"{frame} {name}")


@pytest.mark.parametrize("by_mask", [True, False])
def test_all_that_takes_part_in_a_clip_learns_from_it(by_mask: bool):
    model = build_sam2(SMALL)
    pixels, targets, source = _clips(frames=3)
    clips = Clips([model.embed_images(frame) for frame in pixels], [*targets], source)
    plan = ClipPlan(by_mask, (0,), () if by_mask else (0, 2))
    how = ClipInteraction(clicks=Interaction(box_chance=0, corrections=1))
    answers = follow(model, clips, plan, how, torch.Generator().manual_seed(0))
    losses = [a.losses(t, LossConfig(), len(source)) for a, t in zip(answers, targets, strict=True)]
    total(losses).total(LossConfig()).backward()
    idle = {name for name, weight in model.named_parameters() if weight.grad is None}
    # Nothing reads this one; and keys that are all shifted alike change no attention.
    idle = {n for n in idle if n != "no_memory_position" and not n.endswith(".key.bias")}
    if by_mask:  # the pictures themselves are asked nothing, and no answer is ambiguous
        idle = {n for n in idle if not n.startswith(("prompt_encoder.", "mask_decoder."))}
        assert idle <= {"no_memory"}
    else:
        idle = {n for n in idle if not n.startswith("prompt_encoder.point_kinds")}
        assert idle <= {"mask_to_logits.weight", "mask_to_logits.bias"}


def test_small_targets_are_prompted_where_they_are():
    targets = torch.zeros(1, 24, 24, dtype=torch.bool)
    targets[0, 5, 7] = True
    source, generator = torch.zeros(1, dtype=torch.long), torch.Generator()
    click = first_prompts(targets, source, SIDE, Interaction(box_chance=0), generator)
    assert click.coords_NT2[0, 0].tolist() == [29.5, 21.5]
    assert click.labels_NT.tolist() == [[1, -1]]
    box = first_prompts(targets, source, SIDE, Interaction(box_chance=1), generator)
    assert box.coords_NT2[0, :2].tolist() == [[29.5, 21.5]] * 2
    assert box.labels_NT.tolist() == [[2, 3, -1]]


def test_pictures_are_learned_by_heart():
    torch.manual_seed(0)
    model = build_sam2(SMALL)
    picture = World(12, size=SIDE).picture(1)
    ids = picture.object_ids(60)[:3]
    targets = torch.from_numpy(picture.masks(ids))
    pixels = torch.from_numpy(picture.pixels.copy()).permute(2, 0, 1)[None] / 128 - 1
    source = torch.zeros(len(ids), dtype=torch.long)
    how = Interaction(corrections=1, through_answers=False)
    config = LossConfig(focal=2, blank_absent=False)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    generator = torch.Generator().manual_seed(1)

    def costs() -> Tensor:
        answers = interact(model, model.embed_images(pixels), targets, source, how, generator)
        return answers.losses(targets, config, len(ids)).total(config)

    def mean_iou() -> float:
        answers = interact(model, model.embed_images(pixels), targets, source, how, generator)
        masks = answers.steps[-1].logits_NMhw[:, 0]
        masks = torch.nn.functional.interpolate(masks[None], (SIDE, SIDE), mode="bilinear")[0] > 0
        return true_iou(masks.flatten(1), targets.flatten(1)).mean().item()

    def asked() -> tuple[float, float]:
        """Costs and IoU over some prompts: clicks and boxes are not answered alike."""
        with torch.no_grad():
            return sum(costs().item() for _ in range(6)), sum(mean_iou() for _ in range(6)) / 6

    cost_before, iou_before = asked()
    for _ in range(150):
        optimizer.zero_grad()
        costs().backward()
        optimizer.step()
    cost, iou = asked()
    assert cost < 0.6 * cost_before
    assert iou > iou_before + 0.15


def test_plans_are_what_they_may_be():
    how = ClipInteraction(most_prompted=3, most_corrected=4)
    plans = [drawn_plan(how, 8, torch.Generator().manual_seed(seed)) for seed in range(200)]
    assert {len(plan.prompted) for plan in plans} == {1, 2, 3}
    assert {plan.by_mask for plan in plans} == {True, False}
    for plan in plans:
        assert plan.prompted[0] == 0
        assert sorted(plan.order(8)) == list(range(8))
        assert len(plan.corrected) <= 4
        if not plan.by_mask:
            assert set(plan.prompted) <= set(plan.corrected)
    short = [drawn_plan(how, 2, torch.Generator().manual_seed(seed)) for seed in range(20)]
    assert all(sorted(plan.order(2)) == [0, 1] for plan in short)


@pytest.mark.parametrize("frames", [1, 2])
def test_a_clip_whose_every_frame_was_given_as_masks_teaches_nothing_and_ends_no_training(
    frames: int,
):
    learner = Learner(build_sam2(SMALL))
    batch = _clip_batch(frames)
    clips = ClipInteraction(mask_chance=1.0, most_prompted=2)
    for seed in range(4):  # of two frames, sometimes one is prompted, sometimes both
        generator = torch.Generator().manual_seed(seed)
        outcome = learner(batch, Lesson(clips=clips), 1.0, generator)
        outcome.loss.backward()
        assert torch.isfinite(outcome.loss)
        weights = learner.model.memory_attention.parameters()
        learned = any(w.grad is not None and bool(w.grad.any()) for w in weights)
        assert learned == ("followed_iou" in outcome.figures)
        learner.zero_grad(set_to_none=True)


def test_a_single_frame_is_a_clip():
    plan = drawn_plan(ClipInteraction(), 1, torch.Generator())
    assert plan.prompted == (0,)
    points, _ = next_clicks(torch.ones(1, 4, 4, dtype=torch.bool), None, torch.Generator())
    assert points.shape == (1, 2)


@pytest.mark.parametrize(("chance", "least", "most"), [(0, 0, 0), (0.5, 20, 44), (1, 64, 64)])
def test_so_many_clicks_as_are_wanted_are_in_the_middle(chance: float, least: int, most: int):
    targets = torch.zeros(1, SIDE, SIDE, dtype=torch.bool)
    targets[0, 20:61, 30:71] = True
    how = Interaction(box_chance=0, middle_chance=chance)
    draws = (torch.Generator().manual_seed(seed) for seed in range(64))
    points = [first_prompts(targets, torch.zeros(1), SIDE, how, draw).coords_NT2 for draw in draws]
    in_the_middle = sum(point[0, 0].tolist() == [50, 40] for point in points)
    assert least <= in_the_middle <= most


def test_a_careless_click_is_anywhere_though_others_are_in_the_middle():
    model = build_sam2(SMALL)
    targets = torch.zeros(1, SIDE, SIDE, dtype=torch.bool)
    targets[0, 20:61, 30:71] = True
    source = torch.zeros(1, dtype=torch.long)
    how = Interaction(box_chance=0, middle_chance=1, careless_chance=1, corrections=1)
    draw = torch.Generator().manual_seed(0)
    with torch.inference_mode():
        scene = model.scene(model.embed_images(torch.zeros(1, 3, SIDE, SIDE)), 0)
        first = first_prompts(targets, source, SIDE, how, draw)
        answer = model.decode_masks(scene, first, "three")
        second = _with_a_click(model, first, answer, targets, how, draw)
    assert second.coords_NT2[0, 0].tolist() == [50, 40]
    assert second.coords_NT2[0, 1].tolist() != [50, 40]
