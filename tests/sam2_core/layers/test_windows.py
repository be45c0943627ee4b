"""Windows, cells and nested order, against loops that a child could follow."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import conv_transpose2d, max_pool2d

from sam2_core.layers.windows import merge_windows, nest, partition_windows, pool_pairs, unnest

MAPS = [(2, 8, 8), (1, 16, 8), (3, 5, 7), (2, 1, 9), (1, 14, 14)]
FILLER = torch.tensor([1.0, -2.0, 3.0])


def _map(batch: int, height: int, width: int, channels: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(height * width)
    return torch.randn(batch, height, width, channels, generator=generator)


@pytest.mark.parametrize("shape", MAPS)
@pytest.mark.parametrize("size", [1, 2, 4, 7])
def test_merging_undoes_partitioning(shape: tuple[int, int, int], size: int) -> None:
    x = _map(*shape)
    assert torch.equal(merge_windows(partition_windows(x, size, FILLER), *shape), x)


@pytest.mark.parametrize("shape", MAPS)
@pytest.mark.parametrize("size", [2, 4, 7])
def test_windows_are_cut_row_by_row_and_filled_up(shape: tuple[int, int, int], size: int) -> None:
    x = _map(*shape)
    _, height, width = shape
    expected = []
    for image in x:
        for top in range(0, height, size):
            for left in range(0, width, size):
                window = FILLER.repeat(size, size, 1)
                cut = image[top : top + size, left : left + size]
                window[: cut.shape[0], : cut.shape[1]] = cut
                expected.append(window)
    assert torch.equal(partition_windows(x, size, FILLER), torch.stack(expected))


def test_pooled_windows_are_merged_into_the_pooled_map() -> None:
    """A stage's first block pools inside its windows and merges with half their size."""
    x = _map(2, 8, 12)
    pooled = pool_pairs(partition_windows(x, 4, FILLER))
    assert torch.equal(merge_windows(pooled, 2, 4, 6), pool_pairs(x))


@pytest.mark.parametrize("shape", [(2, 8, 8), (1, 2, 2), (3, 4, 10)])
def test_pooling_pairs_is_max_pooling(shape: tuple[int, int, int]) -> None:
    x = _map(*shape)
    expected = max_pool2d(x.permute(0, 3, 1, 2), kernel_size=2, stride=2).permute(0, 2, 3, 1)
    assert torch.equal(pool_pairs(x), expected)


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("coarse", [(1, 1), (2, 3), (4, 4)])
def test_nested_order_is_coarse_cell_then_quadrant_by_quadrant(
    depth: int, coarse: tuple[int, int]
) -> None:
    side = 2**depth
    x = _map(2, coarse[0] * side, coarse[1] * side)
    nested = nest(x, depth)
    assert nested.shape == (2, coarse[0] * coarse[1], *[4] * depth, 3)
    flat = nested.reshape(2, coarse[0] * coarse[1], 4**depth, 3)
    for row in range(coarse[0]):
        for column in range(coarse[1]):
            for place in range(4**depth):
                y, x_place, step, rest = row * side, column * side, side, place
                for level in range(depth):
                    step //= 2
                    quadrant, rest = divmod(rest, 4 ** (depth - 1 - level))
                    y += step * (quadrant // 2)
                    x_place += step * (quadrant % 2)
                found = flat[:, row * coarse[1] + column, place]
                assert torch.equal(found, x[:, y, x_place])


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("coarse", [(1, 1), (2, 3), (4, 4)])
def test_unnesting_undoes_nesting(depth: int, coarse: tuple[int, int]) -> None:
    side = 2**depth
    x = _map(2, coarse[0] * side, coarse[1] * side)
    back = unnest(nest(x, depth).reshape(2, -1, 3), *coarse, depth)
    assert torch.equal(back, x.permute(0, 3, 1, 2))


def test_in_nested_order_a_transposed_convolution_is_a_product() -> None:
    """The reason for the order."""
    x = _map(2, 3, 5, channels=4)
    weight = torch.randn(4, 6, 2, 2, generator=torch.Generator().manual_seed(1))
    product = x.flatten(1, 2) @ weight.permute(0, 2, 3, 1).reshape(4, -1)
    grown = unnest(product.reshape(2, -1, 6), 3, 5, depth=1)
    expected = conv_transpose2d(x.permute(0, 3, 1, 2), weight, stride=2)
    assert torch.allclose(grown, expected, atol=1e-5)
