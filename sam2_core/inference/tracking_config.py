"""What tracking is steered by: the reference's names, with defaults that keep corrections."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..config import ModelConfig
from .memory_bank import BankRules
from .settings import require_kinds, require_setting

Direction = Literal["forward", "backward", "both"]
DIRECTIONS: tuple[Direction, ...] = ("forward", "backward", "both")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackingConfig:
    """How to track; names and defaults of the reference's video predictor, but for one.

    The reference's `add_all_frames_to_correct_as_cond=False` recomputes a corrected frame without
    its correction on the next propagation. True is the default here; False is there to compare.
    """

    fill_hole_area: int = 8  # in low-res pixels; 0: leave holes
    non_overlap_masks: bool = False
    binarize_mask_from_pts_for_mem_enc: bool = True
    max_cond_frames_in_attn: int = -1  # prompted frames recalled at once; -1: all
    memory_temporal_stride_for_eval: int = 1
    add_all_frames_to_correct_as_cond: bool = True
    clear_non_cond_mem_around_input: bool = False  # crashes in the reference
    stability_fallback: bool = True
    history_frames: int | None = None  # of a session, per object; None: all

    def __post_init__(self) -> None:
        require_kinds(self)
        limit, stride = self.max_cond_frames_in_attn, self.memory_temporal_stride_for_eval
        history = self.history_frames
        for name, holds, wanted in (
            ("fill_hole_area", self.fill_hole_area >= 0, "at least 0"),
            ("max_cond_frames_in_attn", limit == -1 or limit >= 2, "-1 or at least 2"),
            ("memory_temporal_stride_for_eval", stride >= 1, "at least 1"),
            ("history_frames", history is None or history >= 1, "None or at least 1"),
        ):
            require_setting(self, name, holds, wanted)

    def rules(self, model: ModelConfig) -> BankRules:
        """How far memory reaches with this model."""
        return BankRules(
            max_memories=model.max_memories,
            max_pointers=model.max_pointers,
            stride=self.memory_temporal_stride_for_eval,
            max_prompted=self.max_cond_frames_in_attn,
        )
