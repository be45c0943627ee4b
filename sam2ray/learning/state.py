"""What a training needs to go on: weights, their average, the optimizer, and where it stands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

FILE = "state.pt"


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a training stands: so many steps of this stage are done."""

    stage: int = 0
    step: int = 0
    best: float = float("-inf")  # of the examinations so far


def save_state(folder: Path, progress: Progress, parts: Mapping[str, Any]) -> None:
    """Write one file; `parts` are state dicts by name."""
    where = {"stage": progress.stage, "step": progress.step, "best": progress.best}
    torch.save({"progress": where, **parts}, folder / FILE)


def load_state(folder: Path) -> tuple[Progress, dict[str, Any]]:
    """Read what was written."""
    content = torch.load(folder / FILE, map_location="cpu", weights_only=True)
    return Progress(**content.pop("progress")), content
