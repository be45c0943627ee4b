"""What an exception of the model means for its unit and for the process."""

from __future__ import annotations

import pytest
import torch

from sam2_core import ConfigError, ImageError, PromptError
from sam2ray.errors import UnitFailed
from sam2ray.records import ErrorClass
from sam2ray.stages.faults import failure_of, is_sticky

STICKY = RuntimeError("CUDA error: an illegal memory access was encountered")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (UnitFailed(ErrorClass.THROTTLED, "slow down"), "throttled"),
        (torch.OutOfMemoryError("CUDA out of memory"), "oom"),
        (MemoryError(), "oom"),
        (STICKY, "cuda"),
        (RuntimeError("CUDA error: device-side assert triggered"), "cuda"),
        (PromptError("a box without a corner"), "bad_prompt"),
        (ImageError("no picture"), "unsupported"),
        (ConfigError("no such setting"), "unsupported"),
        (KeyError("a bug"), "internal"),
        (RuntimeError("shapes do not match"), "internal"),
    ],
)
def test_every_exception_has_a_class(error, expected):
    assert failure_of(error).error_class.value == expected


def test_only_a_broken_device_sticks():
    assert is_sticky(STICKY)
    assert not is_sticky(torch.OutOfMemoryError("CUDA error: out of memory"))
    assert not is_sticky(RuntimeError("shapes do not match"))
