"""The hierarchical vision transformer that encodes pixels: four stages at strides 4 to 32."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..config import ModelConfig
from ..layers.cpu import prefers_pieces, rows_per_piece
from ..layers.mlp import MLP
from ..layers.position import Derived
from ..layers.windows import merge_windows, partition_windows, pool_pairs

_NORM_EPS = 1e-6
_MLP_RATIO = 4


class WindowAttention(nn.Module):
    """Self-attention inside windows; queries may be pooled to half the side."""

    def __init__(self, dim: int, dim_out: int, heads: int, window: int, pools: bool) -> None:
        super().__init__()
        self.heads = heads
        self.window = window  # 0: the whole map
        self.pools = pools
        self.qkv = nn.Linear(dim, 3 * dim_out)
        self.out = nn.Linear(dim_out, dim_out)

    def forward(self, x_BHWC: Tensor) -> Tensor:
        """Mix each window's tokens: [B, H, W, C] -> [B, H', W', C']."""
        batch, height, width, _ = x_BHWC.shape
        qkv = self.qkv(x_BHWC)
        if self.window:
            # What fills up windows are zeros before this projection, so its bias behind it.
            qkv = partition_windows(qkv, self.window, self.qkv.bias)
        mixed = self._mix(qkv)
        if self.window:
            shrink = 2 if self.pools else 1
            mixed = merge_windows(mixed, batch, height // shrink, width // shrink)
        return self.out(mixed)

    def _mix(self, qkv_BHWC: Tensor) -> Tensor:
        query, key, value = qkv_BHWC.chunk(3, dim=-1)
        if self.pools:
            query = pool_pairs(query)
        height, width = query.shape[1:3]
        mixed = F.scaled_dot_product_attention(
            self._heads(query), self._heads(key), self._heads(value)
        )
        return mixed.transpose(1, 2).reshape(-1, height, width, self.out.in_features)

    def _heads(self, x_BHWC: Tensor) -> Tensor:
        return x_BHWC.flatten(1, 2).unflatten(-1, (self.heads, -1)).transpose(1, 2)


class HieraBlock(nn.Module):
    """One transformer block; the first of a stage doubles the channels and halves the map."""

    def __init__(self, dim: int, dim_out: int, heads: int, window: int, pools: bool) -> None:
        super().__init__()
        self.pools = pools
        self.norm1 = nn.LayerNorm(dim, eps=_NORM_EPS)
        self.attention = WindowAttention(dim, dim_out, heads, window, pools)
        self.norm2 = nn.LayerNorm(dim_out, eps=_NORM_EPS)
        self.mlp = MLP(dim_out, _MLP_RATIO * dim_out, dim_out, 2, F.gelu)
        self.widen = nn.Linear(dim, dim_out) if dim != dim_out else None

    def forward(self, x_BHWC: Tensor) -> Tensor:
        """[B, H, W, C] -> the same shape, or [B, H/2, W/2, 2C] at the start of a stage."""
        window = self.attention.window
        if not window or not prefers_pieces(x_BHWC):
            return self._advance(x_BHWC)
        # Windows do not meet, so bands of them go through the whole block one by one.
        rows = rows_per_piece(x_BHWC.shape[2] * self.mlp.widest) // window * window
        pictures = [
            torch.cat([self._advance(band) for band in one.split(max(window, rows), dim=1)], dim=1)
            for one in x_BHWC.split(1)
        ]
        return torch.cat(pictures) if len(pictures) > 1 else pictures[0]

    def _advance(self, x_BHWC: Tensor) -> Tensor:
        normed = self.norm1(x_BHWC)
        x = x_BHWC + self.attention(normed) if self.widen is None else self._change_stage(normed)
        return x + self.mlp(self.norm2(x))

    def _change_stage(self, normed: Tensor) -> Tensor:
        # Released weights project the shortcut from the normed input, not from the input.
        assert self.widen is not None
        shortcut = self.widen(normed)
        return (pool_pairs(shortcut) if self.pools else shortcut) + self.attention(normed)


class Hiera(nn.Module):
    """Patches -> four maps [B, H, W, C], finest first."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        dim = config.embed_dim
        self.patches = nn.Conv2d(3, dim, kernel_size=7, stride=4, padding=3)
        self.position = nn.Parameter(_small(1, dim, config.position_grid, config.position_grid))
        self.window_position = nn.Parameter(_small(1, dim, config.windows[0], config.windows[0]))
        self.blocks = nn.ModuleList(_blocks(config))
        self.stage_ends = [sum(config.stages[: i + 1]) - 1 for i in range(len(config.stages))]
        self._side = config.image_size // 4
        self._position_map = Derived(self._make_position_map)

    def embed_patches(self, pixels_B3SS: Tensor) -> Tensor:
        """Cut normalised pixels into 4 x 4 patches and add positions: [B, S/4, S/4, C]."""
        patches = self.patches(pixels_B3SS.to(self.patches.weight.dtype)).permute(0, 2, 3, 1)
        positions = self._position_map.of(self.position, self.window_position)
        return patches + positions.to(patches.dtype)

    def forward(self, x_BHWC: Tensor) -> list[Tensor]:
        """Run all blocks on embedded patches and keep the map at the end of each stage."""
        maps = []
        for index, block in enumerate(self.blocks):
            x_BHWC = block(x_BHWC)
            if index in self.stage_ends:
                maps.append(x_BHWC)
        return maps

    def _make_position_map(self, position: Tensor, window_position: Tensor) -> Tensor:
        """Stretch the coarse grid, tile the window over it: [1, S/4, S/4, C]."""
        stretched = F.interpolate(position.float(), size=(self._side, self._side), mode="bicubic")
        tiles = self._side // window_position.shape[-1]
        whole = stretched + window_position.float().tile(1, 1, tiles, tiles)
        return whole.permute(0, 2, 3, 1).contiguous()


def _blocks(config: ModelConfig) -> list[HieraBlock]:
    """Lay out the stages; the first block of a stage still uses the window of the stage before."""
    blocks = []
    dim, heads = config.embed_dim, config.heads
    window = config.windows[0]
    for stage, depth in enumerate(config.stages):
        for place in range(depth):
            starts = place == 0 and stage > 0
            dim_out = 2 * dim if starts else dim
            heads = 2 * heads if starts else heads
            is_global = len(blocks) in config.global_blocks
            blocks.append(HieraBlock(dim, dim_out, heads, 0 if is_global else window, starts))
            dim = dim_out
            window = config.windows[stage]
    return blocks


def _small(*shape: int) -> Tensor:
    return nn.init.trunc_normal_(torch.empty(*shape), std=0.02)
