"""What all formats share: what came of an export, and which labels there are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from ..dataset import Dataset

Watch = Callable[[int, int], None]
"""Called with how many files are done, and of how many."""


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written, and what could not be."""

    pictures: int
    masks: int
    skipped: Mapping[str, int] = field(default_factory=dict)  # units by reason


class CannotBeShown(Exception):
    """A unit that a format has no way to show; its text is the reason, a few words."""


def labels_in(data: Dataset) -> set[str | None]:
    """All labels of masks; None where there are masks without one."""
    seen: set[str | None] = set()
    for batch in data.masks(["label"]):
        seen.update(batch.column("label").unique().to_pylist())
    return seen
