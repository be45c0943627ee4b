"""Which frames an object remembers, and which of them it recalls on a frame; plain Python.

Values are opaque here: tests keep strings in a bank, the tracker keeps tensors.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, TypeVar

Features = TypeVar("Features")
Pointer = TypeVar("Pointer")


@dataclass(frozen=True, slots=True, kw_only=True)
class BankRules:
    """How far memory reaches."""

    max_memories: int = 7  # rows of the temporal encoding: one for prompted frames, six for others
    max_pointers: int = 16
    stride: int = 1  # of all but the latest memory
    max_prompted: int = -1  # prompted frames recalled at once; -1: all


class Recalled(NamedTuple):
    """One frame that is recalled, with the row of the temporal encoding, or its age in frames."""

    tag: int
    frame: int


@dataclass(frozen=True, slots=True)
class Recollection:
    """What is recalled on one frame."""

    memories: tuple[Recalled, ...]  # tag: row of the temporal encoding
    pointers: tuple[Recalled, ...]  # tag: age in frames, in the direction of tracking


def recollect(
    frame: int,
    prompted: Sequence[int],
    tracked: Container[int],
    *,
    backward: bool = False,
    reach: int = 16,
    rules: BankRules | None = None,
    pointed: Container[int] | None = None,
) -> Recollection:
    """Choose what to recall on a frame: memories of `tracked` frames and pointers of `pointed`.

    Pointers are kept longer than memories; where `pointed` is left out, they are kept alike.
    Prompted frames count as one memory at any distance, past and future; of the others the latest
    six. Pointers come from prompted frames of the past and from the reach - 1 frames before.
    """
    rules = rules or BankRules()
    sign = -1 if backward else 1
    chosen = nearest_prompted(frame, prompted, rules.max_prompted)

    def known(other: int, kept: Container[int]) -> bool:
        """Whether an ordinary frame is kept; a prompted one over the limit is one, too."""
        return other not in chosen and (other in kept or other in prompted)

    memories = [Recalled(rules.max_memories - 1, other) for other in chosen]
    for age in range(rules.max_memories - 1, 0, -1):
        other = earlier_frame(frame, age, backward, rules.stride)
        if known(other, tracked):
            memories.append(Recalled(age - 1, other))
    pointers = [
        Recalled((frame - other) * sign, other) for other in chosen if (frame - other) * sign >= 0
    ]
    kept = tracked if pointed is None else pointed
    ages = (age for age in range(1, reach) if known(frame - age * sign, kept))
    pointers += [Recalled(age, frame - age * sign) for age in ages]
    return Recollection(tuple(memories), tuple(pointers))


def earlier_frame(frame: int, age: int, backward: bool, stride: int) -> int:
    """The frame of the age-th latest memory: the one before, then every stride-th."""
    if age == 1:
        return frame + 1 if backward else frame - 1
    if backward:
        return -(-(frame + 2) // stride) * stride + (age - 2) * stride
    return (frame - 2) // stride * stride - (age - 2) * stride


def nearest_prompted(frame: int, prompted: Sequence[int], limit: int) -> list[int]:
    """Up to `limit` prompted frames: nearest before, nearest not before, then by distance."""
    if limit < 0 or len(prompted) <= limit:
        return list(prompted)
    before = max((other for other in prompted if other < frame), default=None)
    after = min((other for other in prompted if other >= frame), default=None)
    chosen = [other for other in (before, after) if other is not None]
    others = sorted(
        (other for other in prompted if other not in chosen), key=lambda other: abs(other - frame)
    )
    return chosen + others[: max(0, limit - len(chosen))]


@dataclass(slots=True)
class MemoryBank(Generic[Features, Pointer]):
    """What one object remembers, frame by frame."""

    rules: BankRules = field(default_factory=BankRules)
    features: dict[int, Features] = field(default_factory=dict)
    pointers: dict[int, Pointer] = field(default_factory=dict)
    prompted: list[int] = field(default_factory=list)  # in the order of the prompts

    def remember(self, frame: int, features: Features, pointer: Pointer) -> None:
        """Keep a tracked frame; a prompted one stays prompted."""
        self.features[frame] = features
        self.pointers[frame] = pointer

    def remember_prompted(self, frame: int, features: Features, pointer: Pointer) -> None:
        """Keep a prompted frame; it is never forgotten by `keep_only`."""
        self.remember(frame, features, pointer)
        if frame not in self.prompted:
            self.prompted.append(frame)

    def demote(self, frame: int) -> None:
        """Make a prompted frame an ordinary one."""
        self.prompted.remove(frame)

    def forget(self, frame: int) -> None:
        """Drop a frame that is not prompted."""
        if frame not in self.prompted:
            self.features.pop(frame, None)
            self.pointers.pop(frame, None)

    def recollect(self, frame: int, *, backward: bool, reach: int) -> Recollection:
        """What to recall on a frame, of what is at hand."""
        return recollect(
            frame,
            self.prompted,
            self.features,
            pointed=self.pointers,
            backward=backward,
            reach=reach,
            rules=self.rules,
        )

    def keep_only(
        self, next_frame: int, *, backward: bool, turning_point: int | None = None
    ) -> None:
        """Forget what no later frame recalls: the ring of a pass.

        `turning_point` is the frame where another pass will start in the other direction.
        """
        for kept, reach in (
            (self.features, self.memory_reach),
            (self.pointers, self.rules.max_pointers - 1),
        ):
            spans = [self.span(next_frame, reach, backward)]
            if turning_point is not None:
                spans.append(self.span(turning_point, reach, not backward))
            _retain(kept, spans, self.prompted)

    @property
    def memory_reach(self) -> int:
        """How many frames back the oldest recalled memory can lie."""
        return (self.rules.max_memories - 1) * self.rules.stride

    @staticmethod
    def span(next_frame: int, reach: int, backward: bool) -> range:
        """The frames up to `reach` back from next_frame."""
        if backward:
            return range(next_frame + 1, next_frame + reach + 1)
        return range(next_frame - reach, next_frame)


def _retain(kept: dict[int, Any], spans: Sequence[range], prompted: Container[int]) -> None:
    for frame in [f for f in kept if f not in prompted and not any(f in span for span in spans)]:
        del kept[frame]
