"""Weights of a shape of `nano` -> weights of the row as it is now, that answer as before.

Blocks are added at the end of stages and add nothing until they have learned; layers of memory
attention that the row has no more are left out.

python jobs/training/grow.py OLD.safetensors 1,2,3,1 NEW.pt
"""

from __future__ import annotations

import re
import sys
from itertools import accumulate
from pathlib import Path

import torch
from torch import Tensor

from sam2_core import RELEASED, Sam2, export_checkpoint
from sam2_core.checkpoint_files import read_state

_BLOCK = re.compile(r"(image_encoder\.trunk\.blocks\.)(\d+)(\..*)")
_ENDINGS = re.compile(r"\.(attn\.proj|mlp\.layers\.1)\.(weight|bias)$")


def main(old: Path, stages: tuple[int, ...], target: Path) -> None:
    """Write the grown weights, and say what was added and what left out."""
    row = RELEASED["nano"]
    torch.manual_seed(0)
    grown = export_checkpoint(Sam2(row))["model"]
    known = {_moved(name, stages, row.stages): weight for name, weight in read_state(old).items()}
    added = sorted(grown.keys() - known.keys())
    for name in added:
        if _ENDINGS.search(name):
            grown[name] = torch.zeros_like(grown[name])
    for name in grown.keys() & known.keys():
        grown[name] = _fitting(name, known[name], grown[name])
    torch.save({"model": grown}, target)
    print(f"added: {', '.join(added)}\nleft out: {', '.join(sorted(known.keys() - grown.keys()))}")


def _moved(name: str, before: tuple[int, ...], after: tuple[int, ...]) -> str:
    """What a weight is called where stages have more blocks."""
    match = _BLOCK.fullmatch(name)
    if match is None:
        return name
    block = int(match[2])
    ends = [*accumulate(before)]
    stage = next(n for n, end in enumerate(ends) if block < end)
    return f"{match[1]}{block + sum(after[:stage]) - sum(before[:stage])}{match[3]}"


def _fitting(name: str, weight: Tensor, place: Tensor) -> Tensor:
    if weight.shape != place.shape:
        sys.exit(f"{name} has {tuple(weight.shape)}, and the row has {tuple(place.shape)}")
    return weight.to(place.dtype)


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), tuple(map(int, sys.argv[2].split(","))), Path(sys.argv[3]))
