"""What a session knows of one object: its prompts, its answers, and its memory."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from ..data import ObjectPrediction
from .object_steps import Bank
from .prompts import CheckedPrompt


@dataclass(frozen=True, slots=True, eq=False)
class PendingAnswer:
    """An answer that is shown, but does not count as memory before the next propagation."""

    shown: ObjectPrediction
    features_PC: Tensor
    pointer_C: Tensor
    conditions: bool  # will count as prompted; else it is forgotten when its frame is tracked again


@dataclass(slots=True, eq=False)
class SessionObject:
    """All that a session knows of one object; tensors are on the host."""

    object_id: int
    bank: Bank
    prompts: dict[int, CheckedPrompt] = field(default_factory=dict)
    pending: dict[int, PendingAnswer] = field(default_factory=dict)
    shown: dict[int, ObjectPrediction] = field(default_factory=dict)
    went_backward: dict[int, bool] = field(default_factory=dict)  # every frame ever tracked

    def last_seen(self, frame: int) -> ObjectPrediction | None:
        """The latest answer on a frame."""
        if frame in self.pending:
            return self.pending[frame].shown
        return self.shown.get(frame)
