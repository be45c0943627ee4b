"""Exceptions of the model and its device -> why a unit failed, or the end of the process."""

from __future__ import annotations

import os

import torch

from sam2_core import PromptError, Sam2Error

from ..errors import UnitFailed
from ..records import ErrorClass, Failure

EXIT_OF_BROKEN_DEVICE = 71
# After one of these, every later call in the process fails as well.
_STICKY = ("CUDA error", "device-side assert", "illegal memory access", "an illegal instruction")


class Device:
    """Whether what the model runs on is still of use."""

    def __init__(self) -> None:
        self._is_broken = False

    def failure_of(self, error: Exception) -> Failure:
        """The row that an exception becomes; a broken device is noted."""
        failure = failure_of(error)
        self._is_broken |= failure.error_class is ErrorClass.CUDA
        return failure

    def require(self) -> None:
        """End this process if its device is broken: a fresh one has a fresh context."""
        if self._is_broken:
            os._exit(EXIT_OF_BROKEN_DEVICE)


def failure_of(error: Exception) -> Failure:
    """The row that an exception becomes."""
    if isinstance(error, UnitFailed):
        return Failure(error.error_class, error.message)
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return Failure(ErrorClass.OOM, f"alone in its batch it needs too much memory: {error}")
    if is_sticky(error):
        return Failure(ErrorClass.CUDA, str(error))
    if isinstance(error, PromptError):
        return Failure(ErrorClass.BAD_PROMPT, str(error))
    if isinstance(error, Sam2Error):
        return Failure(ErrorClass.UNSUPPORTED, str(error))
    return Failure(ErrorClass.INTERNAL, f"{type(error).__name__}: {error}")


def is_sticky(error: BaseException) -> bool:
    """Whether the device is of no more use to this process."""
    out_of_memory = isinstance(error, torch.OutOfMemoryError)
    return not out_of_memory and any(word in str(error) for word in _STICKY)


def exit_with_broken_device() -> None:
    """End this process, as what it held is going to run alone from now on."""
    os._exit(EXIT_OF_BROKEN_DEVICE)
