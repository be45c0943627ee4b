"""Who is new on a key frame, and who is gone: decided from run lengths, scores and numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ops import RunLengths, run_iou


@dataclass(frozen=True, slots=True, kw_only=True)
class DiscoveryRules:
    """How objects come and go."""

    key_every_frames: int
    new_below_iou: float
    retire_after_absent_frames: int
    max_objects: int  # at a time

    def is_key(self, position: int) -> bool:
        """Whether all masks of a frame are looked for."""
        return position % self.key_every_frames == 0

    def is_gone(self, absent_frames: int) -> bool:
        """Whether an object that was not seen for so long is followed no further."""
        return absent_frames >= self.retire_after_absent_frames


def choose_new(
    found: RunLengths,
    scores: Sequence[float],
    tracked: RunLengths,
    *,
    below_iou: float,
    room: int,
) -> list[int]:
    """Which found masks are new objects: best first, at most `room`.

    A mask is new if its IoU with every tracked object is below the limit, those included that have
    just been chosen.
    """
    if room <= 0 or not len(found):
        return []
    with_tracked = run_iou(found, tracked)
    overlap_N = with_tracked.amax(dim=1) if len(tracked) else with_tracked.new_zeros(len(found))
    between_NN = run_iou(found, found)
    chosen: list[int] = []
    for place in sorted(range(len(found)), key=lambda place: -scores[place]):
        if overlap_N[place] < below_iou:
            chosen.append(place)
            if len(chosen) == room:
                break
            overlap_N = overlap_N.maximum(between_NN[place])
    return chosen
