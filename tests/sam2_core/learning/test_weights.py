"""What learns and how fast, the average of it, and activations that are made twice."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn

from sam2_core import RELEASED, build_sam2
from sam2_core.errors import ConfigError
from sam2_core.learning.weights import (
    PARTS,
    AveragedWeights,
    LearningRates,
    make_activations_twice,
    parameter_groups,
    part_of,
)
from sam2_core.network.sam2 import Sam2

SMALL = dataclasses.replace(RELEASED["nano"], name="small", image_size=64)


def _rates(model: Sam2, rates: LearningRates) -> dict[str, tuple[float, float]]:
    names = {id(weight): name for name, weight in model.named_parameters()}
    return {
        names[id(weight)]: (group["lr"], group["weight_decay"])
        for group in parameter_groups(model, rates)
        for weight in group["params"]
    }


@pytest.mark.parametrize("version", ["2.0", "2.1"])
def test_every_weight_belongs_to_a_part_and_learns_once(version):
    model = build_sam2(dataclasses.replace(SMALL, version=version))
    names = [name for name, _ in model.named_parameters()]
    assert {part_of(name) for name in names} == set(PARTS)
    assert sorted(_rates(model, LearningRates())) == sorted(names)


def test_a_part_with_factor_0_is_frozen_and_others_have_their_own_pace():
    model = build_sam2(SMALL)
    rates = _rates(model, LearningRates(rate=1e-3, parts={"encoder": 0, "memory": 0.1}))
    assert not any(part_of(name) == "encoder" for name in rates)
    assert not any(w.requires_grad for w in (*model.encoder.parameters(),))
    assert {rate for name, (rate, _) in rates.items() if part_of(name) == "memory"} == {1e-4}
    assert {rate for name, (rate, _) in rates.items() if part_of(name) == "decoder"} == {1e-3}


def test_early_blocks_learn_more_slowly():
    rates = _rates(build_sam2(SMALL), LearningRates(rate=1.0, encoder_decay=0.5))
    count = sum(SMALL.stages)
    assert rates["encoder.patches.weight"][0] == 0.5 ** (count + 1)
    for block in range(count):
        assert rates[f"encoder.blocks.{block}.norm1.weight"][0] == 0.5 ** (count - block)
    assert rates["mask_decoder.iou_token"][0] == 1.0


def test_only_matrices_decay():
    rates = _rates(build_sam2(SMALL), LearningRates(weight_decay=0.2))
    assert rates["encoder.blocks.0.attention.qkv.weight"][1] == 0.2
    assert rates["encoder.patches.weight"][1] == 0.2
    for name in (
        *("encoder.blocks.0.attention.qkv.bias", "encoder.blocks.0.norm1.weight"),
        *("encoder.position", "temporal_encoding", "mask_decoder.mask_tokens"),
    ):
        assert rates[name][1] == 0, name


def test_a_part_that_is_none_is_refused():
    with pytest.raises(ConfigError, match="'backbone'"):
        LearningRates(parts={"backbone": 0})


def test_the_average_follows_and_is_lent_for_a_while():
    torch.manual_seed(0)
    model = nn.Linear(2, 2)
    average = AveragedWeights(model, decay=0.9)
    seen = [model.weight.detach().clone()]
    for _ in range(200):
        with torch.no_grad():
            model.weight += 1
        average.update(model)
        seen.append(model.weight.detach().clone())
    # Of a steady climb the average lags by decay / (1 - decay) steps.
    torch.testing.assert_close(average.weights["weight"], seen[-1] - 9, atol=0.01, rtol=0)
    with average.in_place_of(model):
        torch.testing.assert_close(model.weight, average.weights["weight"])
    torch.testing.assert_close(model.weight, seen[-1])
    other = AveragedWeights(model, decay=0.9)
    other.load_state_dict(average.state_dict())
    assert other.steps == 200
    torch.testing.assert_close(other.weights, average.weights)


def test_activations_made_twice_change_no_gradient():
    torch.manual_seed(0)
    model, pixels = build_sam2(SMALL), torch.randn(2, 3, 64, 64)

    def gradients() -> list[torch.Tensor]:
        model.zero_grad()
        model.embed_images(pixels).coarse_BPC.square().sum().backward()
        return [w.grad.clone() for w in model.encoder.parameters() if w.grad is not None]

    before = gradients()
    make_activations_twice(model)
    torch.testing.assert_close(gradients(), before)
    assert before
