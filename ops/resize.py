"""Resizes images, frames, logits and masks by the very kernels that the reference uses."""

# N,M masks  H,W and h,w pixels  S side of the model's square input
# The kernels differ in their results: an image, a video frame and a mask each have their own.

import numpy as np
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate


def resize_image_antialiased(image_3HW: Tensor, size: int) -> Tensor:
    """Resize an image to [3, S, S], bilinear with antialias: floats in 0..1 exactly, or bytes."""
    return _resize_antialiased(image_3HW[None], (size, size))[0]


def resize_frame_bicubic(frame_HWC: np.ndarray, size: int) -> np.ndarray:
    """Resize a uint8 video frame to [S, S, 3] by PIL's bicubic filter, rounded to uint8."""
    frame = Image.fromarray(frame_HWC)
    return np.array(frame.resize((size, size), Image.Resampling.BICUBIC))


def upsample_logits(logits_NMhw: Tensor, size_hw: tuple[int, int]) -> Tensor:
    """Resize mask logits to float32 [N, M, H, W], bilinear, without antialias even downwards."""
    return interpolate(logits_NMhw.float(), size_hw, mode="bilinear", align_corners=False)


def downsample_mask_antialiased(mask_N1HW: Tensor, size_hw: tuple[int, int]) -> Tensor:
    """Resize a float mask to [N, 1, h, w], bilinear with antialias."""
    return _resize_antialiased(mask_N1HW, size_hw)


def _resize_antialiased(image_NCHW: Tensor, size_hw: tuple[int, int]) -> Tensor:
    return interpolate(image_NCHW, size_hw, mode="bilinear", align_corners=False, antialias=True)
