"""Weights of a training -> the file that comes with the package: fp16, as small as they go.

python jobs/training/ship.py nano/weights/best.pt sam2_core/weights/nano.safetensors
"""

from __future__ import annotations

import sys
from hashlib import sha256
from pathlib import Path

import torch
from safetensors.torch import save

from sam2_core.checkpoint_files import read_state


def main(trained: Path, target: Path) -> None:
    """Write the file, and say what `sam2_core/shipped.py` has to know of it."""
    halves = {name: weight.half().contiguous() for name, weight in read_state(trained).items()}
    spoiled = [name for name, weight in halves.items() if not bool(torch.isfinite(weight).all())]
    if spoiled:
        sys.exit(f"{trained}: too large for fp16: {', '.join(spoiled)}")
    content = save(halves)
    target.write_bytes(content)
    print(f"{target}: {len(content):,} bytes, SHA-256 {sha256(content).hexdigest()}")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*map(Path, sys.argv[1:]))
