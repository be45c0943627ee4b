"""Pictures of any kind become RGB arrays, and these normalised pixels at model resolution."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from ops import resize_frame_bicubic, resize_image_antialiased

from ..config import PIXEL_MEAN, PIXEL_STD
from ..errors import ImageError

RgbArray: TypeAlias = "np.ndarray[Any, np.dtype[np.uint8]]"


@dataclass(frozen=True, slots=True, eq=False)
class ResizedPicture:
    """A picture that is at the model's side already, [S, S, 3]: bytes, or floats in 0..1.

    `size_hw` is the picture's own size, which prompts and masks speak of.
    """

    pixels: np.ndarray[Any, Any]
    size_hw: tuple[int, int]


SizedPicture: TypeAlias = "RgbArray | ResizedPicture"
Picture: TypeAlias = "SizedPicture | Image.Image | str | os.PathLike[str]"

_DEEP_MODES = ("I;16", "I;16B", "I;16L", "I;16N", "I")
_DEEPEST = 65535  # sixteen bits, all set
_URL = re.compile(r"[a-z][a-z0-9+.-]+:/", re.IGNORECASE)  # pathlib makes one slash of two


def as_rgb(picture: Picture) -> RgbArray:
    """Bring a picture to HWC uint8 RGB as it is shown: rotated by EXIF, without alpha."""
    if isinstance(picture, str | os.PathLike):
        return read_image(picture)
    if isinstance(picture, Image.Image):
        try:
            return _pillow_to_rgb(picture)
        except (OSError, SyntaxError) as error:  # Pillow decodes late: now it is looked at
            raise ImageError(f"This Pillow image cannot be decoded ({error}).") from error
    if isinstance(picture, np.ndarray):
        return _array_to_rgb(picture)
    raise ImageError(
        f"A picture is a HWC uint8 array, a Pillow image or a path, not a {type(picture).__name__}."
    )


def read_image(path: str | os.PathLike[str]) -> RgbArray:
    """Read a picture file."""
    try:
        with Image.open(Path(path)) as image:
            return _pillow_to_rgb(image)
    except FileNotFoundError as error:
        raise ImageError(f"{os.fspath(path)}: {why_missing(path, 'no such file.')}") from error
    except ImageError as error:
        raise ImageError(f"{os.fspath(path)}: {error}") from error
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError) as error:
        raise ImageError(
            f"{os.fspath(path)}: not a picture that can be read ({error}). "
            "Open it in a viewer; if it shows there, convert it to PNG or JPEG."
        ) from error


def why_missing(path: str | os.PathLike[str], reason: str) -> str:
    """The reason why a path leads nowhere, or that it is none: a URL."""
    if not _URL.match(os.fspath(path)):
        return reason
    return "URLs are not read here: copy what it names to this machine and give its path."


def as_sized(picture: Picture) -> SizedPicture:
    """A picture in a form that knows its size: RGB as it is shown, or resized by somebody else."""
    if not isinstance(picture, ResizedPicture):
        return as_rgb(picture)
    if not isinstance(picture.pixels, np.ndarray):
        raise ImageError(
            f"A ResizedPicture holds an array, this one a {type(picture.pixels).__name__}."
        )
    shape, dtype = picture.pixels.shape, picture.pixels.dtype
    square = len(shape) == 3 and shape[0] == shape[1] and shape[2] == 3
    if not square or dtype not in (np.uint8, np.float32):
        raise ImageError(
            f"A ResizedPicture holds [S, S, 3] bytes or floats, this one {shape} of {dtype}."
        )
    return picture


def size_hw_of(picture: SizedPicture) -> tuple[int, int]:
    """Height and width of the picture itself."""
    if isinstance(picture, ResizedPicture):
        return picture.size_hw
    return picture.shape[0], picture.shape[1]


def all_as_sized(images: Iterable[Picture]) -> list[SizedPicture]:
    """Several pictures as they are worked on; a single one, whose rows look like some, is not."""
    _refuse_no_list(images)
    return [_numbered(number, image) for number, image in enumerate(images)]


def _numbered(number: int, image: Picture) -> SizedPicture:
    try:
        return as_sized(image)
    except ImageError as error:
        raise ImageError(f"Picture {number}: {error}") from error


def _refuse_no_list(images: object) -> None:
    single = None
    if isinstance(images, np.ndarray) and is_one_picture(images):
        single = f"an array of shape {images.shape}"
    elif isinstance(images, Image.Image | str | bytes | os.PathLike):
        single = f"of type {type(images).__name__}"
    if single is not None:
        raise ImageError(f"Pictures come as a list, and this is {single}: write [picture].")
    if not isinstance(images, Iterable) or isinstance(images, Mapping | Set):
        raise ImageError(f"Pictures come as a list, not as a {type(images).__name__}.")


def is_one_picture(array: np.ndarray[Any, Any]) -> bool:
    """Whether an array is a single picture, and not several of them or of their paths."""
    if array.ndim == 3:  # of grey pictures, [N, H, W], none is so narrow
        return array.shape[2] in (1, 3, 4)
    return array.ndim == 2 and array.dtype.kind in "biuf"


def _pillow_to_rgb(image: Image.Image) -> RgbArray:
    upright = ImageOps.exif_transpose(image)
    if upright.mode in _DEEP_MODES:
        # Pillow clips sixteen bits to eight where it should scale them.
        return _array_to_rgb(_sixteen_bits(np.asarray(upright)))
    if upright.mode == "F":
        return _array_to_rgb(np.asarray(upright))  # refused there, as nobody knows their range
    if upright.mode == "P" and "transparency" in upright.info:
        upright = upright.convert("RGBA")
    return np.array(_converted(upright))  # a copy: Pillow lends its own read-only


def _converted(image: Image.Image) -> Image.Image:
    try:
        return image.convert("RGB")
    except ValueError as error:
        raise ImageError(
            f"A Pillow image of mode {image.mode} cannot be turned into RGB ({error}): convert it "
            "to a mode that can, such as LA or RGBA."
        ) from error


def _sixteen_bits(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    least, most = int(array.min(initial=0)), int(array.max(initial=0))
    if least < 0 or most > _DEEPEST:
        raise ImageError(
            f"Its pixels are integers from {least} to {most}, and those of a picture have sixteen "
            f"bits, 0..{_DEEPEST}: scale them to 0..255 and convert them with .astype('uint8')."
        )
    return array.astype(np.uint16)


def _array_to_rgb(array: np.ndarray[Any, Any]) -> RgbArray:
    if array.dtype.kind == "u" and array.dtype.itemsize == 2:  # in either order of bytes
        array = ((array.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if array.dtype != np.uint8:
        raise ImageError(
            f"A picture array has dtype uint8 (or uint16), this one {array.dtype}: "
            "scale it to 0..255 and convert it with .astype('uint8')."
        )
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4) or 0 in array.shape:
        raise ImageError(
            f"A picture array has shape (height, width, 1, 3 or 4), this one {array.shape}."
        )
    return array.repeat(3, axis=2) if array.shape[2] == 1 else array[:, :, :3]


def images_to_pixels(images: Sequence[SizedPicture], size: int, device: torch.device) -> Tensor:
    """Pixels for the encoder, as the reference's image path makes them: [B, 3, S, S]."""
    resized = [
        _resized_already(image, size, device)
        if isinstance(image, ResizedPicture)
        else _resize_image(image, size, device)
        for image in images
    ]
    return normalise(torch.stack(resized))


def resize_picture(picture: RgbArray, size: int, *, rounded: bool) -> ResizedPicture:
    """What images_to_pixels makes of a picture, apart from it: exact, or rounded to bytes."""
    pixels = _resize_image(picture, size, torch.device("cpu")).permute(1, 2, 0)
    if rounded:
        pixels = pixels.mul(255).round_().to(torch.uint8)
    return ResizedPicture(pixels.contiguous().numpy(), size_hw_of(picture))


def refuse_other_side(image: SizedPicture, size: int) -> None:
    """Refuse a picture that was resized for another model."""
    if isinstance(image, ResizedPicture) and image.pixels.shape != (size, size, 3):
        raise ImageError(
            f"A ResizedPicture of shape {image.pixels.shape} does not fit a model of {size} px."
        )


def _resized_already(image: ResizedPicture, size: int, device: torch.device) -> Tensor:
    refuse_other_side(image, size)
    pixels = torch.from_numpy(np.require(image.pixels, requirements=["C", "W"])).to(device)
    is_whole = pixels.dtype == torch.uint8
    return (pixels.float().div_(255) if is_whole else pixels).permute(2, 0, 1)


def _resize_image(image: RgbArray, size: int, device: torch.device) -> Tensor:
    # Eight bits travel to the device, four times less than floats.
    # torch takes no array that it may not write to, which those of files often are.
    pixels = torch.from_numpy(np.require(image, requirements=["C", "W"])).to(device)
    return resize_image_antialiased(pixels.permute(2, 0, 1).float().div_(255), size)


def frames_to_pixels(frames: Sequence[SizedPicture], size: int, device: torch.device) -> Tensor:
    """Pixels for the encoder, as the reference's video path makes them: [B, 3, S, S]."""
    resized = [
        frame
        if isinstance(frame, ResizedPicture)
        else ResizedPicture(resize_frame_bicubic(frame, size), size_hw_of(frame))
        for frame in frames
    ]
    return normalise(torch.stack([_resized_already(frame, size, device) for frame in resized]))


def normalise(pixels_B3SS: Tensor) -> Tensor:
    """Shift and scale channels in 0..1 to what the encoder was trained on; in place."""
    mean = torch.tensor(PIXEL_MEAN, device=pixels_B3SS.device).view(3, 1, 1)
    std = torch.tensor(PIXEL_STD, device=pixels_B3SS.device).view(3, 1, 1)
    return pixels_B3SS.sub_(mean).div_(std)
