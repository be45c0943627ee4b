"""The small feed-forward pieces against torch's own."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sam2_core.layers.mlp import MLP, ChannelNorm, TokenConv


def _tokens(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("layers", [1, 2, 3, 5])
def test_an_mlp_has_an_activation_between_its_layers_and_none_after_the_last(layers: int) -> None:
    mlp = MLP(6, 10, 4, layers)
    mlp.layers[-1].bias.data -= 1  # so that what comes out may be negative
    x = _tokens(2, 3, 6)
    expected = x
    for number, layer in enumerate(mlp.layers):
        expected = F.linear(expected, layer.weight, layer.bias)
        if number < layers - 1:
            expected = expected.clamp(min=0)
    assert torch.allclose(mlp(x), expected, atol=1e-6)
    assert (mlp(x) < 0).any()
    widths = [(layer.in_features, layer.out_features) for layer in mlp.layers]
    assert widths[0][0] == 6
    assert widths[-1][1] == 4
    assert all(a[1] == b[0] == 10 for a, b in pairwise(widths))


def test_an_mlp_may_have_another_activation() -> None:
    mlp = MLP(6, 10, 4, 2, F.gelu)
    x = _tokens(5, 6)
    assert torch.allclose(mlp(x), mlp.layers[1](F.gelu(mlp.layers[0](x))), atol=1e-6)


@pytest.mark.parametrize("shape", [(2, 5, 7), (2, 5, 7, 3), (0, 4), (1, 1)])
def test_a_token_conv_is_a_one_by_one_convolution_over_the_last_dimension(
    shape: tuple[int, ...],
) -> None:
    conv = TokenConv(8, 3)
    plain = nn.Conv2d(8, 3, kernel_size=1)
    plain.load_state_dict(conv.state_dict())  # same names and shapes: checkpoints fit both
    x = _tokens(*shape, 8)
    found = conv(x)
    assert found.shape == (*shape, 3)
    as_map = x.reshape(1, -1, 1, 8).permute(0, 3, 1, 2)
    if as_map.numel():
        expected = plain(as_map).permute(0, 2, 3, 1).reshape(found.shape)
        assert torch.allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("learning", [True, False])
@pytest.mark.parametrize("channels", [1, 4, 6])
@pytest.mark.parametrize("layout", ["pixels", "planes"])
def test_the_channel_norm_is_over_channels_at_every_place(
    channels: int, layout: str, *, learning: bool
) -> None:
    norm = ChannelNorm(channels)
    with torch.no_grad():
        norm.weight.copy_(torch.arange(channels) + 1.0)
        norm.bias.copy_(torch.arange(channels) - 2.0)
    x = _tokens(2, 3, 4, channels) * 5 + 1
    if layout == "planes":
        x = x.permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1)
    kept = x.clone()
    mean = x.mean(-1, keepdim=True)
    spread = (x - mean).square().mean(-1, keepdim=True)
    expected = (x - mean) / torch.sqrt(spread + 1e-6) * norm.weight + norm.bias
    with torch.set_grad_enabled(learning):
        found = norm(x)
    assert torch.allclose(found, expected, atol=1e-5)
    assert torch.equal(x, kept)


@pytest.mark.parametrize("learning", [True, False])
def test_the_channel_norm_adds_a_millionth_not_a_hundred_thousandth(*, learning: bool) -> None:
    x = torch.tensor([[1e-3, -1e-3]])
    with torch.set_grad_enabled(learning):
        found = ChannelNorm(2)(x)
    assert found[0, 0].item() == pytest.approx(1e-3 / (1e-6 + 1e-6) ** 0.5, rel=1e-4)
