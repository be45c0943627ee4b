"""What learns, learns; what is frozen, stays; arithmetic and memory are a matter of speed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from sam2_core import CheckpointError, Sam2
from sam2ray.learning.labels.made_world import WorldLabels
from sam2ray.learning.labels.opening import Mixture
from sam2ray.learning.pupil import Averages, Diverged, Pupil, new_learner
from sam2ray.learning.samples import SampleMaker, clip_batch, picture_batch
from sam2ray.learning.train_config import TrainConfig
from sam2ray.learning.train_stage import Stage

MIXTURE = Mixture([WorldLabels(31, 64, False, 16)], [1.0], seed=5)


def config(stage: dict, **settings: object) -> TrainConfig:
    given = {
        "output": "unused",
        "model": {"name": "nano", "start": "scratch", "image_size": 64},
        "labels": [{"kind": "world"}],
        "stages": [{"name": "s", "steps": 5, "rate": 1e-3, "objects": 2, "batch": 2, **stage}],
        **settings,
    }
    return TrainConfig.model_validate(given)


def one_step(asked: TrainConfig) -> tuple[dict[str, float], dict[str, Tensor], dict[str, Tensor]]:
    """Figures of a step, and weights before and after it."""
    stage = asked.stages[0]
    learner = new_learner(asked, torch.device("cpu"))
    before = {name: w.detach().clone() for name, w in learner.model.named_parameters()}
    found = step_of(Pupil.at_stage(learner, Averages.of(learner), stage), stage)
    after = {name: w.detach().clone() for name, w in learner.model.named_parameters()}
    return found, before, after


def step_of(pupil: Pupil, stage: Stage) -> dict[str, float]:
    """Figures of a stage's first step."""
    maker = SampleMaker(MIXTURE, stage, 0, 64)
    is_clip = stage.learns_clips(0)
    rows = [(maker.clip if is_clip else maker.picture)(number) for number in range(stage.batch)]
    columns = {name: np.array([row[name] for row in rows]) for name in rows[0] if name != "skipped"}
    batch = clip_batch(columns) if is_clip else picture_batch(columns)
    return pupil.step(0, [(batch, len(batch.source_index_N))], torch.Generator().manual_seed(1))


def moved(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    return {name.partition(".")[0] for name in before if not before[name].equal(after[name])}


@pytest.mark.parametrize(
    ("stage", "learns", "stays"),
    [
        ({"learn": "dense"}, {"encoder", "pyramid"}, {"mask_decoder", "memory_attention"}),
        ({"learn": "pictures", "corrections": 1}, {"encoder", "mask_decoder"}, {"memory_encoder"}),
        (
            {"learn": "pictures", "corrections": 1, "parts": {"encoder": 0.0}},
            {"mask_decoder"},
            {"encoder", "pyramid"},
        ),
        (
            {"learn": "clips", "corrections": 1, "frames": 3},
            {"encoder", "mask_decoder", "memory_encoder", "memory_attention"},
            set(),
        ),
    ],
)
def test_a_stage_moves_what_it_names_and_nothing_else(stage: dict, learns: set, stays: set):
    found, before, after = one_step(config(stage))
    assert np.isfinite(found["loss"])
    changed = moved(before, after)
    assert learns <= changed
    assert not stays & changed


def test_gradients_of_what_a_stage_freezes_are_gone_and_count_in_no_norm():
    both = {"learn": "pictures", "corrections": 0, "batch": 1}
    first, second = (
        Stage.model_validate({"name": "s", "steps": 5, "clip_norm": 1e9, **both, **more})
        for more in ({}, {"parts": {"encoder": 0.0}})
    )
    learner = new_learner(config(both), torch.device("cpu"))
    averages = Averages.of(learner)
    step_of(Pupil.at_stage(learner, averages, first), first)
    pupil = Pupil.at_stage(learner, averages, second)
    assert all(weight.grad is None for weight in learner.parameters())
    found = step_of(pupil, second)
    assert all(weight.grad is None for weight in learner.model.encoder.parameters())
    learned = [w.grad for w in learner.parameters() if w.requires_grad and w.grad is not None]
    norm = torch.stack([gradient.norm() for gradient in learned]).norm()
    assert found["gradient_norm"] == pytest.approx(norm.item(), rel=1e-5)


def test_activations_that_are_made_twice_give_the_same_step():
    stage = {"learn": "clips", "corrections": 1, "frames": 3}
    plain, _, after = one_step(config(stage))
    saved, _, same = one_step(config(stage, save_memory=True))
    assert saved["loss"] == pytest.approx(plain["loss"], rel=1e-5)
    for name, weight in after.items():
        torch.testing.assert_close(same[name], weight, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("learn", ["pictures", "clips"])
def test_activations_are_made_twice_in_bf16_too(learn: str):
    stage = {"learn": learn, "corrections": 1, "frames": 3, "precision": "bf16"}
    plain, _, _ = one_step(config(stage))
    saved, before, after = one_step(config(stage, save_memory=True))
    assert saved["loss"] == pytest.approx(plain["loss"], rel=1e-2)
    assert moved(before, after)


@pytest.mark.parametrize("learn", ["dense", "pictures", "clips"])
def test_bf16_gives_nearly_the_same_loss(learn: str):
    stage = {"learn": learn, "corrections": 0, "frames": 3, "box_chance": 0.0, "mask_chance": 0.0}
    exact, _, _ = one_step(config(stage))
    quick, before, after = one_step(config({**stage, "precision": "bf16"}))
    assert quick["loss"] == pytest.approx(exact["loss"], rel=0.1)
    assert moved(before, after)


def test_a_batch_without_objects_teaches_nothing():
    asked = config({"learn": "pictures"})
    learner = new_learner(asked, torch.device("cpu"))
    pupil = Pupil.at_stage(learner, Averages.of(learner), asked.stages[0])
    rows = {
        "pixels": np.zeros((1, 64, 64, 3), np.uint8),
        "ids": np.zeros((1, 64, 64), np.int16),
        "cover": np.zeros((1, 2, 64, 64), np.uint8),
        "objects": np.array([0]),
    }
    found = pupil.step(0, [(picture_batch(rows), 1.0)], torch.Generator())
    assert found["loss"] == 0


def test_what_a_stage_freezes_goes_on_as_its_average():
    asked = config({"learn": "pictures", "corrections": 0})
    learner = new_learner(asked, torch.device("cpu"))
    averages = Averages.of(learner)
    stage = asked.stages[0]
    pupil = Pupil.at_stage(learner, averages, stage)
    for _ in range(3):
        step_of(pupil, stage)
    frozen = stage.model_copy(update={"parts": {"encoder": 0.0}})
    assert any(not average.equal(w) for w, average in _encoder(learner.model, averages))
    Pupil.at_stage(learner, averages, frozen)
    assert all(average.equal(w) for w, average in _encoder(learner.model, averages))


def _encoder(model: Sam2, averages: Averages) -> list[tuple[Tensor, Tensor]]:
    names = [name for name, _ in model.named_parameters() if name.startswith("encoder.")]
    weights = dict(model.named_parameters())
    return [(weights[name], averages.model.weights[name]) for name in names]


def test_a_training_that_learns_nothing_any_more_ends_with_words():
    asked = config({"learn": "pictures", "corrections": 0, "batch": 1})
    learner = new_learner(asked, torch.device("cpu"))
    pupil = Pupil.at_stage(learner, Averages.of(learner), asked.stages[0])
    found = step_of(pupil, asked.stages[0])
    assert found["lost"] == 0
    with torch.no_grad():
        learner.model.mask_decoder.iou_token.fill_(float("nan"))
    assert [step_of(pupil, asked.stages[0])["lost"] for _ in range(19)] == [1.0] * 19
    with pytest.raises(Diverged, match=r"20 steps in a row.*lower rate than 0\.001"):
        step_of(pupil, asked.stages[0])


def test_two_batches_that_make_one_step_teach_what_one_of_both_does():
    asked = config({"learn": "dense", "batch": 4, "dense_clicks": 100_000})
    maker = SampleMaker(MIXTURE, asked.stages[0], 0, 64)
    rows = [maker.picture(number) for number in range(4)]
    columns = {name: np.array([row[name] for row in rows]) for name in rows[0] if name != "skipped"}
    whole = picture_batch(columns)
    halves = [
        picture_batch({name: column[part] for name, column in columns.items()})
        for part in (slice(0, 2), slice(2, 4))
    ]
    losses, weights = [], []
    for parts in ([(whole, 8.0)], [(half, 4.0) for half in halves]):
        learner = new_learner(asked, torch.device("cpu"))
        learner.head.requires_grad_(False)
        pupil = Pupil.at_stage(learner, Averages.of(learner), asked.stages[0])
        losses.append(pupil.step(0, parts, torch.Generator().manual_seed(1))["loss"])
        weights.append([w.grad for w in learner.parameters() if w.grad is not None])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    for own, other in zip(*weights, strict=True):
        torch.testing.assert_close(own, other, rtol=1e-3, atol=1e-5)


def test_who_goes_on_needs_no_weights_to_begin_with(tmp_path: Path):
    """They may have moved away: the checkpoint holds all."""
    gone = {"name": "nano", "start": "weights", "checkpoint": str(tmp_path / "gone.pt")}
    asked = config({"learn": "pictures"}, model={**gone, "image_size": 64})
    with pytest.raises(CheckpointError, match=r"gone\.pt"):
        new_learner(asked, torch.device("cpu"))
    going_on = new_learner(asked, torch.device("cpu"), goes_on=True)
    kept = new_learner(config({"learn": "pictures"}), torch.device("cpu"))
    going_on.load_state_dict(kept.state_dict())
