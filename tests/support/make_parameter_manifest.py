"""The reference package -> tests/data/parameters.json.gz: {model: {official key: shape}}.

Run it where sam2==1.1.0 is installed: python tests/support/make_parameter_manifest.py
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

MANIFEST = Path(__file__).resolve().parents[1] / "data" / "parameters.json.gz"

_SIZES = {"tiny": "t", "small": "s", "base_plus": "b+", "large": "l"}
REFERENCE_CONFIGS = {
    f"{version}_hiera_{size}": f"configs/{version}/{version}_hiera_{letter}.yaml"
    for version in ("sam2.1", "sam2")
    for size, letter in _SIZES.items()
}

Shapes = dict[str, dict[str, list[int]]]


class _RampsOnCpu(TorchFunctionMode):
    """Hiera reads numbers off a linspace while it is built, which meta tensors do not have."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        device = {"device": "cpu"} if function is torch.linspace else {}
        return function(*args, **(kwargs or {}), **device)


def reference_model(name: str) -> nn.Module:
    """A released model as the reference package builds it, on the default device, no weights."""
    import sam2  # noqa: F401 tells hydra where the configs are
    from hydra import compose
    from hydra.utils import instantiate

    return instantiate(compose(config_name=REFERENCE_CONFIGS[name]).model, _recursive_=True)


def reference_shapes() -> Shapes:
    """What the reference package says today."""
    with torch.device("meta"), _RampsOnCpu():
        states = {name: reference_model(name).state_dict() for name in REFERENCE_CONFIGS}
    return {
        name: {key: list(value.shape) for key, value in state.items()}
        for name, state in states.items()
    }


def committed_shapes() -> Shapes:
    """What it said when the manifest was made."""
    return json.loads(gzip.decompress(MANIFEST.read_bytes()))


if __name__ == "__main__":
    content = json.dumps(reference_shapes(), separators=(",", ":"), sort_keys=True)
    MANIFEST.write_bytes(gzip.compress(content.encode(), mtime=0))
