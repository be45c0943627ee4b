"""The mask decoder's two-way transformer: tokens read the image, then the image reads them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from torch import Tensor, nn

from ..config import DECODER_HEADS, DECODER_LAYERS, DECODER_MLP_DIM
from ..layers.attention import (
    Attention,
    gather_from,
    gather_projected,
    scatter_projected,
    scatter_to,
    split_heads,
)
from ..layers.mlp import MLP


@dataclass(frozen=True, slots=True, eq=False)
class SharedPixels:
    """Pixels that many prompts of one image start from, with what the first layer makes of them.

    Everything here depends on the image alone, so it is computed once per image and not once per
    prompt. Rows are images.
    """

    pixels_BPC: Tensor
    keys_BHPD: Tensor
    values_BHPD: Tensor
    queries_BHPD: Tensor

    def rows(self, chosen: slice) -> SharedPixels:
        """Some of the images, without a copy."""
        return SharedPixels(
            self.pixels_BPC[chosen],
            self.keys_BHPD[chosen],
            self.values_BHPD[chosen],
            self.queries_BHPD[chosen],
        )

    def pick(self, index_N: Tensor) -> SharedPixels:
        """One row a prompt."""
        return SharedPixels(
            pick_rows(self.pixels_BPC, index_N),
            pick_rows(self.keys_BHPD, index_N),
            pick_rows(self.values_BHPD, index_N),
            pick_rows(self.queries_BHPD, index_N),
        )


def pick_rows(x: Tensor, index_N: Tensor) -> Tensor:
    """Rows of x by index; where they are all the same row, it is shared without a copy."""
    if len(x) == 1:
        return x.expand(len(index_N), *x.shape[1:])
    # Looking into the index would make an accelerator wait.
    if index_N.device.type == "cpu" and len(index_N) and bool((index_N == index_N[0]).all()):
        return x.narrow(0, int(index_N[0]), 1).expand(len(index_N), *x.shape[1:])
    return x[index_N]


class TwoWayLayer(nn.Module):
    """Tokens attend to themselves and to the image, think, and the image attends to them."""

    def __init__(self, dim: int, is_first: bool) -> None:
        super().__init__()
        self.is_first = is_first
        self.self_attention = Attention(dim, DECODER_HEADS)
        self.norm1 = nn.LayerNorm(dim)
        self.read_image = Attention(dim, DECODER_HEADS, inner_dim=dim // 2)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = MLP(dim, DECODER_MLP_DIM, dim, 2)
        self.norm3 = nn.LayerNorm(dim)
        self.write_image = Attention(dim, DECODER_HEADS, inner_dim=dim // 2)
        self.norm4 = nn.LayerNorm(dim)

    def forward(
        self, tokens_NTC: Tensor, prompt_NTC: Tensor, pixels_NPC: Tensor, positions_PC: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Advance tokens and pixels, each prompt with pixels of its own."""
        tokens = self._attend_to_self(tokens_NTC, prompt_NTC)
        placed = pixels_NPC + positions_PC
        read = gather_from(self.read_image, tokens + prompt_NTC, placed, pixels_NPC)
        tokens = self._think(tokens, read)
        pixels = scatter_to(self.write_image, pixels_NPC, placed, tokens + prompt_NTC, tokens)
        return tokens, self.norm4(pixels)

    def forward_shared(
        self, tokens_NTC: Tensor, prompt_NTC: Tensor, shared: SharedPixels
    ) -> tuple[Tensor, Tensor]:
        """Advance tokens and pixels where prompts of an image still share their pixels."""
        tokens = self._attend_to_self(tokens_NTC, prompt_NTC)
        read = gather_projected(
            self.read_image, tokens + prompt_NTC, shared.keys_BHPD, shared.values_BHPD
        )
        tokens = self._think(tokens, read)
        pixels = scatter_projected(
            self.write_image, shared.pixels_BPC, shared.queries_BHPD, tokens + prompt_NTC, tokens
        )
        return tokens, self.norm4(pixels)

    def share(self, pixels_BPC: Tensor, positions_PC: Tensor) -> SharedPixels:
        """Project pixels once for all prompts of their image."""
        weight, dtype = self.read_image.key.weight, pixels_BPC.dtype
        pixels = pixels_BPC.to(weight)
        placed = pixels + positions_PC
        return SharedPixels(
            pixels_BPC,
            split_heads(self.read_image.key(placed), DECODER_HEADS).to(dtype),
            split_heads(self.read_image.value(pixels), DECODER_HEADS).to(dtype),
            split_heads(self.write_image.query(placed), DECODER_HEADS).to(dtype),
        )

    def _attend_to_self(self, tokens: Tensor, prompt: Tensor) -> Tensor:
        if self.is_first:  # tokens are the prompt still: no position, and nothing to add to
            return self.norm1(self.self_attention(tokens, tokens, tokens))
        placed = tokens + prompt
        return self.norm1(tokens + self.self_attention(placed, placed, tokens))

    def _think(self, tokens: Tensor, read: Tensor) -> Tensor:
        tokens = self.norm2(tokens + read)
        return self.norm3(tokens + self.mlp(tokens))


class TwoWayTransformer(nn.Module):
    """Two layers and a last look of the tokens at the image."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(TwoWayLayer(dim, i == 0) for i in range(DECODER_LAYERS))
        self.last_look = Attention(dim, DECODER_HEADS, inner_dim=dim // 2)
        self.norm = nn.LayerNorm(dim)

    def forward(
        self, prompt_NTC: Tensor, pixels: Tensor | SharedPixels, positions_PC: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Answer with tokens [N, T, C] and pixels [N, P, C]."""
        first, *others = self._layers()
        if isinstance(pixels, SharedPixels):
            tokens, own_pixels = first.forward_shared(prompt_NTC, prompt_NTC, pixels)
        else:
            tokens, own_pixels = first(prompt_NTC, prompt_NTC, pixels, positions_PC)
        for layer in others:
            tokens, own_pixels = layer(tokens, prompt_NTC, own_pixels, positions_PC)
        placed = own_pixels + positions_PC
        look = gather_from(self.last_look, tokens + prompt_NTC, placed, own_pixels)
        return self.norm(tokens + look), own_pixels

    def share(self, pixels_BPC: Tensor, positions_PC: Tensor) -> SharedPixels:
        """Prepare pixels that many prompts share."""
        return self._layers()[0].share(pixels_BPC, positions_PC)

    def _layers(self) -> list[TwoWayLayer]:
        return cast("list[TwoWayLayer]", list(self.layers))
