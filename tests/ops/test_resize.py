"""Judges the resize paths by PIL, by torchvision, and by the kernels written out in numpy."""

from importlib import import_module

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import Resize

from ops import (
    downsample_mask_antialiased,
    resize_frame_bicubic,
    resize_image_antialiased,
    upsample_logits,
)


def linear_weights(source: int, target: int, *, antialias: bool) -> np.ndarray:
    """Return [target, source] weights of a triangle filter over pixel centres."""
    scale = source / target
    support = max(scale, 1.0) if antialias else 1.0
    centre = (np.arange(target)[:, None] + 0.5) * scale - 0.5
    if not antialias:
        centre = centre.clip(0, source - 1)
    weights = (1 - np.abs(np.arange(source) - centre) / support).clip(0)
    return weights / weights.sum(1, keepdims=True)


def resize_in_numpy(pixels: np.ndarray, size_hw: tuple[int, int], *, antialias: bool) -> np.ndarray:
    rows = linear_weights(pixels.shape[-2], size_hw[0], antialias=antialias)
    columns = linear_weights(pixels.shape[-1], size_hw[1], antialias=antialias)
    return rows @ pixels @ columns.T


def random_tensor(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("size_hw", [(37, 90), (16, 16), (5, 64), (1, 1)])
def test_images_are_resized_by_an_antialiased_triangle_filter(size_hw):
    image = random_tensor(3, *size_hw)
    found = resize_image_antialiased(image, 16)
    expected = resize_in_numpy(image.double().numpy(), (16, 16), antialias=True)
    assert found.shape == (3, 16, 16)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("size_hw", [(37, 90), (16, 16), (5, 64)])
def test_images_are_resized_to_the_bits_of_torchvision(size_hw):
    image = random_tensor(3, *size_hw)
    assert torch.equal(resize_image_antialiased(image, 16), Resize((16, 16))(image))


@pytest.mark.parametrize("size_hw", [(37, 90), (16, 16), (5, 64), (1, 1)])
def test_frames_are_resized_to_the_bits_of_pil_s_default(size_hw):
    frame = (random_tensor(*size_hw, 3) * 256).byte().numpy()
    found = resize_frame_bicubic(frame, 16)
    assert found.dtype == np.uint8
    assert found.shape == (16, 16, 3)
    # No filter is named here, as in the reference's loader of JPEG folders.
    assert np.array_equal(found, np.asarray(Image.fromarray(frame).resize((16, 16))))


def test_a_resized_frame_may_be_written_to():
    frame = resize_frame_bicubic(np.zeros((4, 4, 3), np.uint8), 4)
    frame[0, 0] = 255
    assert frame[0, 0].tolist() == [255, 255, 255]


@pytest.mark.parametrize("size_hw", [(40, 33), (8, 8), (3, 5)])
def test_logits_are_interpolated_without_antialias_even_downwards(size_hw):
    logits = random_tensor(2, 3, 8, 8)
    found = upsample_logits(logits, size_hw)
    expected = resize_in_numpy(logits.double().numpy(), size_hw, antialias=False)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-5)


def test_half_precision_logits_are_interpolated_in_float32():
    logits = random_tensor(1, 1, 4, 4).bfloat16()
    found = upsample_logits(logits, (9, 9))
    assert found.dtype == torch.float32
    assert torch.equal(found, upsample_logits(logits.float(), (9, 9)))


def test_masks_are_reduced_with_antialias():
    mask = (random_tensor(2, 1, 64, 48) < 0.3).float()
    found = downsample_mask_antialiased(mask, (16, 12))
    expected = resize_in_numpy(mask.double().numpy(), (16, 12), antialias=True)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-5)


def test_images_frames_masks_and_logits_of_8192_pixels_are_resized():
    rows, columns = random_tensor(8192), random_tensor(8192).flip(0)
    image = torch.outer(rows, columns)[None]
    small = [linear_weights(8192, 16, antialias=True) @ x.double().numpy() for x in (rows, columns)]
    expected = np.outer(*small)[None]
    np.testing.assert_allclose(resize_image_antialiased(image, 16).numpy(), expected, atol=1e-5)
    found = downsample_mask_antialiased(image[None], (16, 16))[0]
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-5)

    frame = np.broadcast_to((rows.numpy() * 255).astype(np.uint8)[:, None, None], (8192, 8192, 3))
    expected = np.asarray(Image.fromarray(frame).resize((16, 16)))
    assert np.array_equal(resize_frame_bicubic(frame, 16), expected)

    logits = torch.outer(rows[:8], columns[:8])[None, None]
    found = upsample_logits(logits, (8192, 8192))[0, 0]
    large = [linear_weights(8, 8192, antialias=False) @ x[:8].numpy() for x in (rows, columns)]
    assert found.shape == (8192, 8192)
    np.testing.assert_allclose(found[::97].numpy(), np.outer(*large)[::97], atol=1e-5)


def test_three_thousand_masks_and_logits_are_resized_at_once():
    logits = random_tensor(3000, 1, 8, 8)
    found = upsample_logits(logits, (20, 13))
    expected = resize_in_numpy(logits.double().numpy(), (20, 13), antialias=False)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-5)
    masks = (random_tensor(3000, 1, 24, 18) < 0.3).float()
    found = downsample_mask_antialiased(masks, (6, 9))
    expected = resize_in_numpy(masks.double().numpy(), (6, 9), antialias=True)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-5)


def test_no_logits_and_no_masks_are_resized_to_none():
    assert upsample_logits(torch.zeros(0, 3, 8, 8), (20, 30)).shape == (0, 3, 20, 30)
    assert downsample_mask_antialiased(torch.zeros(0, 1, 8, 8), (4, 4)).shape == (0, 1, 4, 4)


@pytest.mark.reference
@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")  # the reference uses it
def test_images_and_frames_reach_the_reference_s_model_size_with_its_bits(tmp_path):
    transforms = import_module("sam2.utils.transforms")
    misc = import_module("sam2.utils.misc")
    picture = (random_tensor(45, 70, 3) * 256).byte().numpy()
    image = torch.from_numpy(picture).permute(2, 0, 1) / 255
    normalise = transforms.SAM2Transforms(resolution=32, mask_threshold=0.0)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (normalise.mean, normalise.std))
    expected = normalise(picture)
    assert torch.equal((resize_image_antialiased(image, 32) - mean) / std, expected)

    Image.fromarray(picture).save(tmp_path / "0.png")
    expected, height, width = misc._load_img_as_tensor(str(tmp_path / "0.png"), 32)
    found = torch.from_numpy(resize_frame_bicubic(picture, 32) / 255.0).permute(2, 0, 1)
    assert torch.equal(found, expected)
    assert (height, width) == (45, 70)
