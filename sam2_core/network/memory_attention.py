"""A frame's features read the memories of earlier frames, object by object in one batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..config import ModelConfig
from ..layers.position import sine_map
from ..layers.rotary import rotary_table, rotate

_POSITION_SHARE = 0.1  # of the sine positions that is added to the frame's features


@dataclass(frozen=True, slots=True, eq=False)
class MemoryTokens:
    """Memory of some rows of the batch, as tokens: spatial ones first, then those of pointers."""

    rows_N: Tensor
    tokens_NLC: Tensor
    positions_NLC: Tensor
    pointer_tokens: int


class RotaryAttention(nn.Module):
    """One head whose queries, and those keys that have a place, are rotated by it."""

    def __init__(self, dim: int, dim_keys: int) -> None:
        super().__init__()
        self.query = nn.Linear(dim, dim)
        self.key = nn.Linear(dim_keys, dim)
        self.value = nn.Linear(dim_keys, dim)
        self.out = nn.Linear(dim, dim)

    def to_self(self, x_NPC: Tensor, turn: Turn) -> Tensor:
        """Attend within a frame."""
        mixed = _attend(turn(self.query(x_NPC)), turn(self.key(x_NPC)), self.value(x_NPC))
        return self.out(mixed)

    def to_memory(self, query_NPC: Tensor, memory: MemoryTokens, turn: Turn) -> Tensor:
        """Attend to memory with queries that are projected and rotated already."""
        keys = self.key(memory.tokens_NLC + memory.positions_NLC)
        placed = keys.shape[1] - memory.pointer_tokens
        keys = torch.cat([turn(keys[:, :placed]), keys[:, placed:]], dim=1)
        return self.out(_attend(query_NPC, keys, self.value(memory.tokens_NLC)))


class Turn:
    """Rotation by the places of one feature map."""

    def __init__(self, cosines_PD: Tensor, sines_PD: Tensor) -> None:
        self._cosines, self._sines = cosines_PD, sines_PD

    def __call__(self, x_NLC: Tensor) -> Tensor:
        return rotate(x_NLC, self._cosines, self._sines)


def _attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    mixed = F.scaled_dot_product_attention(query[:, None], key[:, None], value[:, None])
    return mixed.squeeze(1)


class MemoryLayer(nn.Module):
    """Self-attention, attention to memory, and a feed-forward, each added to what came in."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        dim = config.hidden_dim
        self.norm1 = nn.LayerNorm(dim)
        self.self_attention = RotaryAttention(dim, dim)
        self.norm2 = nn.LayerNorm(dim)
        self.cross_attention = RotaryAttention(dim, config.memory_dim)
        self.norm3 = nn.LayerNorm(dim)
        self.widen = nn.Linear(dim, config.memory_mlp_dim)
        self.narrow = nn.Linear(config.memory_mlp_dim, dim)

    def attend_to_self(self, x_NPC: Tensor, turn: Turn) -> Tensor:
        """First third of the layer."""
        return x_NPC + self.self_attention.to_self(self.norm1(x_NPC), turn)

    def query_memory(self, x_NPC: Tensor, turn: Turn) -> Tensor:
        """What the layer asks of memory."""
        return turn(self.cross_attention.query(self.norm2(x_NPC)))

    def think(self, x_NPC: Tensor) -> Tensor:
        """Last third of the layer."""
        return x_NPC + self.narrow(F.relu(self.widen(self.norm3(x_NPC))))


class MemoryAttention(nn.Module):
    """Condition a frame on what is remembered of each object: [N, P, C]."""

    cosines: Tensor
    sines: Tensor
    positions: Tensor
    memory_positions: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(MemoryLayer(config) for _ in range(config.memory_layers))
        self.norm = nn.LayerNorm(config.hidden_dim)
        side = config.coarse_size
        angles = rotary_table(side, config.hidden_dim)
        constants = {
            "cosines": angles.cos(),
            "sines": angles.sin(),
            "positions": sine_map(side, config.hidden_dim),
            "memory_positions": sine_map(side, config.memory_dim),
        }
        for name, value in constants.items():
            self.register_buffer(name, value, persistent=False)

    def forward(
        self, pixels_BPC: Tensor, source_index_N: Tensor, memories: Sequence[MemoryTokens]
    ) -> Tensor:
        """Read memories; rows of `memories` together are exactly the N objects."""
        turn = Turn(self.cosines, self.sines)
        first, *others = self.layers
        x = (pixels_BPC + _POSITION_SHARE * self.positions).to(self.norm.weight.dtype)
        # Until the first look at memory, objects of a frame are alike: computed once per frame.
        x = first.attend_to_self(x, turn)
        query = first.query_memory(x, turn)
        x = first.think(x[source_index_N] + _look(first, query, source_index_N, memories, turn))
        rows = torch.arange(len(x), device=x.device)
        for layer in others:
            x = layer.attend_to_self(x, turn)
            x = layer.think(x + _look(layer, layer.query_memory(x, turn), rows, memories, turn))
        return self.norm(x)


def _look(
    layer: MemoryLayer,
    query_BPC: Tensor,
    query_index_N: Tensor,
    memories: Sequence[MemoryTokens],
    turn: Turn,
) -> Tensor:
    """Let every object's query meet its own memory; objects with equally long memories together."""
    if len(memories) == 1:
        return layer.cross_attention.to_memory(query_BPC[query_index_N], memories[0], turn)
    parts = [
        layer.cross_attention.to_memory(query_BPC[query_index_N[memory.rows_N]], memory, turn)
        for memory in memories
    ]
    order = torch.argsort(torch.cat([memory.rows_N for memory in memories]))
    return torch.cat(parts)[order]
