"""What tells one encoder's weights from another's: heads on top of it belong to one."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256

import torch
from torch import Tensor

from .sam2 import Sam2

_PARTS = ("encoder.", "pyramid.")  # all that `embed_images` computes with


def encoder_digest(model: Sam2) -> str:
    """SHA-256 of the weights that embed pictures, in fp32 as they were before any cast."""
    return model.encoder_sha256 or digest_of_encoder(model.state_dict())


def digest_of_encoder(tensors: Mapping[str, Tensor]) -> str:
    """The same of tensors under our names."""
    sha = sha256()
    for name in sorted(name for name in tensors if name.startswith(_PARTS)):
        weight = tensors[name].detach().to("cpu", torch.float32)
        sha.update(f"{name} {list(weight.shape)}\n".encode())
        sha.update(weight.numpy().tobytes())
    return sha.hexdigest()
