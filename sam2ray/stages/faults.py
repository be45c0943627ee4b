"""Exceptions of the model and its device -> why a unit failed, or that the device is broken."""

from __future__ import annotations

import errno

import torch

from sam2_core import PromptError, Sam2Error

from ..errors import UnitFailed, failure_by_surprise, is_of_the_job
from ..records import ErrorClass, Failure

_NO_HOST_MEMORY = "DefaultCPUAllocator: can't allocate memory"  # torch has no class for it
# After one of these, every later call in the process fails as well.
_STICKY = ("CUDA error", "device-side assert", "illegal memory access", "an illegal instruction")


def failure_of(error: Exception) -> Failure:
    """The row that an exception becomes; what no unit is to blame for is raised again."""
    if is_of_the_job(error):
        raise error
    if isinstance(error, UnitFailed):
        return Failure(error.error_class, error.message)
    if is_out_of_memory(error):
        whose = "the device's" if isinstance(error, torch.OutOfMemoryError) else "the machine's"
        return Failure(
            ErrorClass.OOM,
            f"alone in its batch it needs more than {whose} memory: {error or 'out of memory'}",
        )
    if is_sticky(error):
        return Failure(ErrorClass.CUDA, str(error))
    if isinstance(error, PromptError):
        return Failure(ErrorClass.BAD_PROMPT, str(error))
    if isinstance(error, Sam2Error):
        return Failure(ErrorClass.UNSUPPORTED, str(error))
    return failure_by_surprise(error)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether there was no memory for it, on the device or on its machine; smaller may fit."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return True
    return isinstance(error, RuntimeError) and _NO_HOST_MEMORY in str(error)


def is_sticky(error: BaseException) -> bool:
    """Whether the device is of no more use to this process."""
    out_of_memory = isinstance(error, torch.OutOfMemoryError)
    return not out_of_memory and any(word in str(error) for word in _STICKY)
