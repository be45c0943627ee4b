"""What an exception of the model means for its unit and for the process."""

from __future__ import annotations

import errno

import pytest
import torch

from sam2_core import ConfigError, ImageError, PromptError
from sam2ray.errors import BadAddress, StorageError, UnitFailed, UsageError
from sam2ray.records import ErrorClass
from sam2ray.stages.clip_frames import BrokenClip, as_broken
from sam2ray.stages.faults import failure_of, is_sticky

STICKY = RuntimeError("CUDA error: an illegal memory access was encountered")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (UnitFailed(ErrorClass.THROTTLED, "slow down"), "throttled"),
        (torch.OutOfMemoryError("CUDA out of memory"), "oom"),
        (MemoryError(), "oom"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "oom"),
        (STICKY, "cuda"),
        (RuntimeError("CUDA error: device-side assert triggered"), "cuda"),
        (PromptError("a box without a corner"), "bad_prompt"),
        (ImageError("no picture"), "unsupported"),
        (ConfigError("no such setting"), "unsupported"),
        (BadAddress("htp://: no storage"), "unsupported"),
        (KeyError("a bug"), "internal"),
        (RuntimeError("shapes do not match"), "internal"),
    ],
)
def test_every_exception_has_a_class(error, expected):
    assert failure_of(error).error_class.value == expected


def test_a_machine_without_memory_is_said_as_that_and_not_as_a_bug():
    with pytest.raises(RuntimeError) as raised:
        torch.empty(10**15)
    assert type(raised.value) is RuntimeError
    failure = failure_of(raised.value)
    assert failure.error_class.value == "oom"
    assert "needs more than the machine's memory" in failure.message


def test_only_a_broken_device_sticks():
    assert is_sticky(STICKY)
    assert not is_sticky(torch.OutOfMemoryError("CUDA error: out of memory"))
    assert not is_sticky(RuntimeError("shapes do not match"))


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device", "/tmp/sam2ray-1/clip.mp4"),
        OSError(errno.EMFILE, "Too many open files"),
        StorageError("the store does not write"),
        UsageError("a package is missing"),
    ],
)
def test_what_no_unit_is_to_blame_for_is_no_row(error):
    with pytest.raises(type(error)):
        failure_of(error)
    assert as_broken(error) is error


def test_errors_of_one_file_are_its_own():
    assert failure_of(OSError(errno.EIO, "Input/output error")).error_class.value == "internal"
    assert isinstance(as_broken(OSError(errno.EIO, "Input/output error")), BrokenClip)
