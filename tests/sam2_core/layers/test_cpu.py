"""The orders a CPU prefers give what the plain ones give."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from small_models import lively_model
from torch import Tensor

from sam2_core import RELEASED, build_sam2
from sam2_core.layers import cpu
from sam2_core.layers.cpu import attend_by_columns, prefers_pieces
from sam2_core.layers.mlp import MLP
from sam2_core.layers.rotary import rotary_table, rotate


@pytest.fixture
def tiny_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces so small that every test cuts many."""
    monkeypatch.setattr(cpu, "_PIECE", 1 << 12)
    monkeypatch.setattr(cpu, "_SCORES", 1 << 12)


def _numbers(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


@pytest.mark.usefixtures("tiny_pieces")
@pytest.mark.parametrize(("count", "length"), [(1, 1), (7, 5), (300, 33), (64, 4000), (3, 4096)])
@pytest.mark.parametrize("width", [8, 16])
@torch.no_grad()
def test_attention_by_columns_is_attention(count: int, length: int, width: int) -> None:
    query, key, value = _numbers(count, 16), _numbers(length, 16), _numbers(length, width)
    expected = torch.softmax(query @ key.T / 4, dim=1) @ value
    assert torch.allclose(attend_by_columns(query, key, value), expected, atol=1e-5)


@torch.inference_mode()
def test_more_keys_than_the_place_for_scores_holds_are_attended_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cpu, "_SCORES", 100)
    monkeypatch.setattr(cpu, "_place", cpu._Place())
    query, key, value = _numbers(3, 4), _numbers(250, 4), _numbers(250, 2)
    expected = torch.softmax(query @ key.T / 2, dim=1) @ value
    assert torch.allclose(attend_by_columns(query, key, value), expected, atol=1e-5)


@torch.inference_mode()
def test_other_defaults_of_dtype_and_device_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    query, key, value = _numbers(3, 4), _numbers(20, 4), _numbers(20, 2)
    expected = torch.softmax(query @ key.T / 2, dim=1) @ value
    monkeypatch.setattr(cpu, "_place", cpu._Place())
    torch.set_default_dtype(torch.float64)
    try:
        with torch.device("meta"):
            found = attend_by_columns(query, key, value)
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.allclose(found, expected, atol=1e-5)


def test_threads_do_not_write_into_each_others_scores() -> None:
    keys = [_numbers(2000, 16) + n for n in range(8)]

    @torch.inference_mode()
    def attend(key: Tensor) -> Tensor:
        return attend_by_columns(key[:500], key, key)

    expected = [attend(key) for key in keys]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(5):
            for found, one in zip(pool.map(attend, keys), expected, strict=True):
                assert torch.equal(found, one)


@pytest.mark.usefixtures("tiny_pieces")
def test_an_mlp_in_pieces_is_the_mlp() -> None:
    mlp, x = MLP(8, 64, 6, 2), _numbers(5, 40, 8)
    with torch.no_grad():
        found = mlp(x)
    assert found.shape == (5, 40, 6)
    assert torch.allclose(found, mlp(x), atol=1e-6)


def test_both_ways_of_rotating_agree() -> None:
    angles, x = rotary_table(3, 8), _numbers(2, 27, 8)
    plain = rotate(x, angles.cos(), angles.sin())
    with torch.no_grad():
        assert torch.allclose(rotate(x.clone(), angles.cos(), angles.sin()), plain, atol=1e-6)


def test_pieces_are_for_fp32_on_a_cpu_without_gradients() -> None:
    x = torch.zeros(1)
    assert not prefers_pieces(x)
    with torch.no_grad():
        assert prefers_pieces(x)
        assert not prefers_pieces(x.bfloat16())
        assert not prefers_pieces(x.to("meta"))


@pytest.fixture(params=["nano", "sam2.1_hiera_tiny"])
def pixels_and_model(request: pytest.FixtureRequest) -> Iterator[tuple[Tensor, torch.nn.Module]]:
    if request.param == "nano":
        yield _numbers(2, 3, 96, 96), lively_model(96)
    else:  # its windows of 14 do not divide the map
        config = dataclasses.replace(RELEASED[request.param], name="test", image_size=160)
        yield _numbers(1, 3, 160, 160), build_sam2(config)


@pytest.mark.usefixtures("tiny_pieces")
def test_the_encoder_in_bands_is_the_encoder(
    pixels_and_model: tuple[Tensor, torch.nn.Module],
) -> None:
    pixels, model = pixels_and_model
    whole = model.embed_images(pixels)
    with torch.inference_mode():
        banded = model.embed_images(pixels)
    for name in ("coarse_BPC", "middle_BPQC", "fine_BPQC"):
        torch.testing.assert_close(
            getattr(banded, name), getattr(whole, name), rtol=1e-4, atol=1e-5
        )
