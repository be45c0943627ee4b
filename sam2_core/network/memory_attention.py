"""A frame's features read the memories of earlier frames, object by object in one batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..config import ModelConfig
from ..layers.cpu import attend_by_columns, prefers_pieces
from ..layers.mlp import StreamNorm
from ..layers.position import sine_map
from ..layers.rotary import rotary_table, rotate

_POSITION_SHARE = 0.1  # of the sine positions that is added to the frame's features


@dataclass(frozen=True, slots=True, eq=False)
class MemoryTokens:
    """Memory of some rows of the batch, as tokens: those with a place, and those of pointers."""

    rows_N: Tensor
    placed_NLC: Tensor
    placed_positions_NLC: Tensor
    pointers_NLC: Tensor
    pointer_positions_NLC: Tensor

    def tensors(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """All but the rows."""
        return (
            self.placed_NLC,
            self.placed_positions_NLC,
            self.pointers_NLC,
            self.pointer_positions_NLC,
        )

    def one_by_one(self) -> Iterator[MemoryTokens]:
        """Split into memories of a single row."""
        for n in range(len(self.rows_N)):
            yield MemoryTokens(self.rows_N[n : n + 1], *(x[n : n + 1] for x in self.tensors()))


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
        placed = turn(self.key(memory.placed_NLC + memory.placed_positions_NLC))
        pointers = self.key(memory.pointers_NLC + memory.pointer_positions_NLC)
        keys = torch.cat([placed, pointers], dim=1)
        bare = torch.cat([memory.placed_NLC, memory.pointers_NLC], dim=1)
        if prefers_pieces(bare):
            # Shares sum to one, so what is mixed can be projected, a quarter as wide before.
            return self.out(self.value(_attend(query_NPC, keys, bare)))
        return self.out(_attend(query_NPC, keys, self.value(bare)))


class Turn:
    """Rotation by the places of one feature map."""

    def __init__(self, cosines_PD: Tensor, sines_PD: Tensor) -> None:
        self._cosines, self._sines = cosines_PD, sines_PD

    def __call__(self, x_NLC: Tensor) -> Tensor:
        """Rotate [N, L, C], where L is the map any number of times over."""
        return rotate(x_NLC, self._cosines, self._sines)


def _attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    if prefers_pieces(query):
        rows = zip(query, key, value, strict=True)
        return torch.stack([attend_by_columns(*row) for row in rows])
    mixed = F.scaled_dot_product_attention(query[:, None], key[:, None], value[:, None])
    return mixed.squeeze(1)


class MemoryLayer(nn.Module):
    """Self-attention, attention to memory, and a feed-forward, each added to what came in."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        dim = config.hidden_dim
        self.norm1 = StreamNorm(dim)
        self.self_attention = RotaryAttention(dim, dim)
        self.norm2 = StreamNorm(dim)
        self.cross_attention = RotaryAttention(dim, config.memory_dim)
        self.norm3 = StreamNorm(dim)
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
        return x_NPC + self.narrow(F.relu(self.widen(self.norm3(x_NPC)), inplace=True))


class MemoryAttention(nn.Module):
    """Condition a frame on what is remembered of each object: [N, P, C]."""

    cosines: Tensor
    sines: Tensor
    positions: Tensor
    memory_positions: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(MemoryLayer(config) for _ in range(config.memory_layers))
        self.norm = StreamNorm(config.hidden_dim)
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
        x = pixels_BPC.float() + _POSITION_SHARE * self.positions
        # Until the first look at memory, objects of a frame are alike: computed once per frame.
        x = self._layers()[0].attend_to_self(x, turn)
        query = self._layers()[0].query_memory(x, turn)
        if not prefers_pieces(query):
            return self._read(x, query, source_index_N, memories, turn)
        alone = [one for memory in memories for one in memory.one_by_one()]
        parts = [self._read(x, query, source_index_N[one.rows_N], [one], turn) for one in alone]
        return torch.cat(parts)[torch.argsort(torch.cat([one.rows_N for one in alone]))]

    def _read(
        self,
        pixels_BPC: Tensor,
        query_BPC: Tensor,
        source_index_N: Tensor,
        memories: Sequence[MemoryTokens],
        turn: Turn,
    ) -> Tensor:
        """Go on from the first look at memory, each object with pixels of its own."""
        first, *others = self._layers()
        seen = _look(first, query_BPC, source_index_N, memories, turn)
        x = first.think(pixels_BPC[source_index_N] + seen)
        rows = torch.arange(len(x), device=x.device)
        for layer in others:
            x = layer.attend_to_self(x, turn)
            x = layer.think(x + _look(layer, layer.query_memory(x, turn), rows, memories, turn))
        return self.norm(x)

    def _layers(self) -> list[MemoryLayer]:
        return cast("list[MemoryLayer]", list(self.layers))


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
