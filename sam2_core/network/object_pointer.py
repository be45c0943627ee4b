"""Object pointers: one vector an object and frame, made of a mask token, cut into memory tokens."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..config import ModelConfig
from ..layers.mlp import MLP
from ..layers.position import sine_times

_LAYERS = 3


class ObjectPointer(nn.Module):
    """Make pointers, and say how old they are when they are read."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        dim = config.hidden_dim
        self.memory_dim = config.memory_dim
        self.project = MLP(dim, dim, dim, _LAYERS)
        self.absent = nn.Parameter(0.02 * torch.randn(1, dim))
        knows_age = config.pointers_know_their_age
        self.project_age = nn.Linear(dim, config.memory_dim) if knows_age else None

    def forward(self, tokens_NC: Tensor, present_N: Tensor) -> Tensor:
        """Turn tokens into pointers; an absent object has one and the same pointer."""
        return torch.where(present_N[:, None], self.project(tokens_NC.float()), self.absent)

    def encode_age(self, ages_NQ: Tensor, reach: int) -> Tensor:
        """Encode how many frames ago each pointer was made: [N, Q, memory_dim].

        Ages count in units of the longest possible one, which is shorter in clips under 16 frames.
        """
        if self.project_age is None:
            return torch.zeros(
                *ages_NQ.shape, self.memory_dim, device=ages_NQ.device, dtype=torch.float32
            )
        times = ages_NQ.float() / max(reach - 1, 1)
        return self.project_age(sine_times(times, self.project_age.in_features))
