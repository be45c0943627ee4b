"""What an actor does before its first unit: the same as with units, on noise."""

from __future__ import annotations

import pytest
import torch
from small_models import lively_model

from sam2_core import ClassHead
from sam2ray.config import JobConfig
from sam2ray.stages.warm_up import warm_up


def _config(mode: str) -> JobConfig:
    given = {
        "mode": mode,
        "source": {"uri": "in"},
        "output": {"uri": "out"},
        "masks": {"points_per_side": 4},
        "resources": {"batch_size": 2},
    }
    if mode in ("prompt", "track"):
        given["prompts"] = {"coordinates": "pixels"}
    if mode == "semantic":
        given["semantic"] = {"head": "head.safetensors"}
    return JobConfig.model_validate(given)


@pytest.mark.parametrize(
    ("mode", "verbs"),
    [
        ("embed", {"encoder": 2}),
        ("auto", {"encoder": 2, "mask_decoder": 2}),
        ("prompt", {"encoder": 2, "mask_decoder": 2}),
        ("track", {"encoder": 3, "mask_decoder": 3, "memory_encoder": 2}),
        ("auto_track", {"encoder": 5, "mask_decoder": 5, "memory_encoder": 2}),
    ],
)
def test_every_part_that_a_mode_needs_is_used_once(mode, verbs):
    model = lively_model(64)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    seen = dict.fromkeys(verbs, 0)

    def count(name):
        def hook(_module, arguments, _result):
            found = next(value for value in arguments if isinstance(value, torch.Tensor))
            seen[name] += len(found)

        return hook

    for name in verbs:
        getattr(model, name).register_forward_hook(count(name))
    warm_up(_config(mode), model)
    for name, least in verbs.items():
        assert seen[name] >= least, seen
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_a_head_is_used_once_too():
    model = lively_model(64)
    head, seen = ClassHead.for_model(model, ("ground", "thing"), width=16), []
    head.register_forward_hook(lambda _module, _arguments, logits: seen.append(len(logits)))
    warm_up(_config("semantic"), model, head)
    assert seen == [2]


def test_a_device_that_is_too_small_for_a_whole_batch_is_no_reason_to_end(monkeypatch):
    model = lively_model(64)

    def refuse(*_arguments):
        raise torch.OutOfMemoryError("CUDA out of memory")

    hook = model.encoder.register_forward_pre_hook(refuse)
    try:
        warm_up(_config("auto"), model)
    finally:
        hook.remove()  # the model is everybody's
