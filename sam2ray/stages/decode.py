"""The bytes of a picture -> pixels for the model; the bytes come from anywhere and may be hostile.

What a file is, its first bytes say (see sniff). Its size is read from the header and judged before
any pixel is decoded. Each format is opened by its own Pillow class: nothing else of Pillow can be
reached, none of it guesses, and its process-wide limit MAX_IMAGE_PIXELS is left as it is.
"""

from __future__ import annotations

import re
import struct
import threading
import warnings
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image, features
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.Jpeg2KImagePlugin import Jpeg2KImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.PpmImagePlugin import PpmImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from ops import resize_image_antialiased
from sam2_core.errors import ImageError
from sam2_core.inference.preprocess import as_rgb

from ..errors import UnitFailed, UsageError
from ..records import ErrorClass
from .endings import ends_early
from .sniff import HEAD_BYTES, describe, sniff

DecodeMode = Literal["rounded", "exact", "scaled"]

_LEAST_BYTES = 8  # fewer make no picture of any format: "P4 1 1\n" and one byte of pixels
_MESSAGE_CHARACTERS = 300  # what Pillow says may quote the file
_ORIENTATION, _TILE_WIDTH, _TILE_HEIGHT = 0x0112, 322, 323  # tags of EXIF and TIFF
_SIDEWAYS = (5, 6, 7, 8)  # orientations in which a picture is shown with its sides swapped

_OPENERS: dict[str, Callable[[BytesIO], ImageFile]] = {
    "JPEG": JpegImageFile,  # of several pictures in one file (MPO), this is the first
    "PNG": PngImageFile,
    "GIF": GifImageFile,
    "TIFF": TiffImageFile,
    "BMP": BmpImageFile,
    "JPEG 2000": Jpeg2KImageFile,
    "PPM": PpmImageFile,
}
if features.check("webp"):
    _OPENERS["WebP"] = WebPImageFile
try:
    from PIL.AvifImagePlugin import AvifImageFile
except ImportError:  # before Pillow 11.3
    pass
else:
    _OPENERS["AVIF"] = AvifImageFile

# All that Pillow lets out on damaged or hostile bytes, as found by mutating files: its parsers are
# Python, and trust lengths and offsets until an index, a number or a type does not fit. Whatever is
# not listed is a bug of ours and must show as one.
_PILLOW_ERRORS = (
    OSError,  # what Pillow means to raise of a file; UnidentifiedImageError is one
    SyntaxError,  # its word for a header that is none
    ValueError,  # text chunks that unpack to megabytes, conversions it has not, our ImageError
    EOFError,
    LookupError,  # KeyError of tags and modes, IndexError of short rows
    TypeError,
    AttributeError,
    AssertionError,
    ArithmeticError,  # OverflowError of offsets, ZeroDivisionError of EXIF fractions
    MemoryError,
    RuntimeError,  # from the AVIF decoder; NotImplementedError is one
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
    Warning,  # where a process turns warnings into errors
)
_NOT_IN_PILLOW = (
    "unsupported",
    "not supported",
    "cannot handle",
    "not installed",
    "not available",
    "not implemented",
)
_FROM_PILLOW = re.compile(r"PIL\.")
_filter_lock = threading.Lock()


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureLimits:
    """What a picture may be at most; more fails its unit, not the job.

    A few bytes of JPEG 2000 or WebP can be a picture of any size: 100 megapixels take up to 2 GiB.
    TIFF, WebP and GIF end at Pillow's own limit as well, 178,956,970 pixels.
    """

    max_bytes: int = 256 << 20
    max_pixels: int = 100_000_000
    min_side: int = 1
    max_side: int = 65_535
    max_aspect_ratio: float = 100.0

    def __post_init__(self) -> None:
        for name in ("max_bytes", "max_pixels", "min_side", "max_side", "max_aspect_ratio"):
            if not getattr(self, name) >= 1:  # NaN, too
                raise UsageError(f"{name}={getattr(self, name)}: it must be 1 or more.")
        if self.min_side > self.max_side:
            raise UsageError(
                f"min_side={self.min_side} is above max_side={self.max_side}: no picture would do."
            )


@dataclass(frozen=True, slots=True, eq=False)
class DecodedPicture:
    """A picture as it is shown: rotated by EXIF, without alpha."""

    pixels: np.ndarray[Any, Any]  # [H, W, 3] uint8, or resized [S, S, 3]: uint8, float32 in 0..1
    size_hw: tuple[int, int]  # of the whole picture, whatever the size of `pixels`
    exif_orientation: int  # 1 to 8, as the file says; `pixels` are upright
    resized: bool


def decode_picture(
    data: bytes, *, mode: DecodeMode, model_px: int | None, limits: PictureLimits
) -> DecodedPicture:
    """Decode an image file; `model_px` None gives its original pixels. Raises UnitFailed."""
    opener, name = _opener_for(data, limits)
    _silence_pillow()
    try:
        with opener(BytesIO(data)) as image:
            _check_size(image.size, limits)
            if isinstance(image, TiffImageFile):
                _check_tiff(image, limits)
            upright = _decode(image, model_px if mode == "scaled" else None)
    except _PILLOW_ERRORS as error:
        raise _failure(data, name, error) from error
    if model_px is None:
        return upright
    return _fit(upright, mode, model_px)


def shrink_by_dct(image: JpegImageFile, model_px: int) -> None:
    """Let libjpeg decode a half, a quarter or an eighth, while both sides stay >= `model_px`."""
    image.draft(None, (model_px, model_px))


def _opener_for(data: bytes, limits: PictureLimits) -> tuple[Callable[[BytesIO], ImageFile], str]:
    """What opens this file, and what the file is."""
    if len(data) > limits.max_bytes:
        raise UnitFailed(
            ErrorClass.TOO_LARGE, f"{len(data)} bytes, more than max_bytes={limits.max_bytes}"
        )
    if len(data) < _LEAST_BYTES:
        raise UnitFailed(
            ErrorClass.TRUNCATED, f"{len(data)} bytes, fewer than any picture has ({_LEAST_BYTES})"
        )
    head = data[:HEAD_BYTES]
    name = describe(head)
    if sniff(head) != "image":
        raise UnitFailed(ErrorClass.UNSUPPORTED, f"not a picture but {name}")
    if name not in _OPENERS:
        raise UnitFailed(ErrorClass.UNSUPPORTED, f"a picture in {name}, which cannot be read here")
    return _OPENERS[name], name


def _check_size(size_wh: tuple[int, int], limits: PictureLimits) -> None:
    """Judge a picture by its header; in any rotation the answer is the same."""
    shown = f"{size_wh[0]} x {size_wh[1]} pixels"
    short, long = sorted(size_wh)
    if short * long > limits.max_pixels:
        error, excess = ErrorClass.BOMB, f"more than max_pixels={limits.max_pixels}"
    elif long > limits.max_side:
        error, excess = ErrorClass.TOO_LARGE, f"a side above max_side={limits.max_side}"
    elif short < limits.min_side:
        error, excess = ErrorClass.UNSUPPORTED, f"a side below min_side={limits.min_side}"
    elif long > limits.max_aspect_ratio * short:
        ratio = f"{long / short:.1f} : 1"
        error = ErrorClass.UNSUPPORTED
        excess = f"{ratio}, above max_aspect_ratio={limits.max_aspect_ratio:g}"
    else:
        return
    raise UnitFailed(error, f"{shown}: {excess}")


def _check_tiff(image: TiffImageFile, limits: PictureLimits) -> None:
    """Refuse tiles beyond the limit, and numbers that no one scaled to black and white."""
    # libtiff decodes a whole tile, gigabytes of it, for the few pixels that the picture has of it.
    sides = [image.tag_v2.get(tag) for tag in (_TILE_WIDTH, _TILE_HEIGHT)]
    width, height = (side if isinstance(side, int) else 0 for side in sides)
    if width * height > limits.max_pixels:
        raise UnitFailed(
            ErrorClass.BOMB,
            f"tiles of {width} x {height} pixels: more than max_pixels={limits.max_pixels}",
        )
    if image.mode in ("I", "F"):
        raise UnitFailed(
            ErrorClass.UNSUPPORTED,
            f"TIFF of mode {image.mode} (signed, 32 bits or float): its range is not known",
        )


def _decode(image: ImageFile, shrink_to: int | None) -> DecodedPicture:
    """The pixels as shown; the whole size and the orientation are read before they change."""
    orientation = _orientation(image)
    if shrink_to is not None and isinstance(image, JpegImageFile):
        width, height = image.size
        full_hw = (width, height) if orientation in _SIDEWAYS else (height, width)
        shrink_by_dct(image, shrink_to)
        return DecodedPicture(as_rgb(image), full_hw, orientation, resized=False)
    pixels = as_rgb(image)
    return DecodedPicture(pixels, (pixels.shape[0], pixels.shape[1]), orientation, resized=False)


def _orientation(image: ImageFile) -> int:
    stated = image.getexif().get(_ORIENTATION)  # any type: the file says which
    return next((known for known in range(2, 9) if stated == known), 1)


def _fit(picture: DecodedPicture, mode: DecodeMode, model_px: int) -> DecodedPicture:
    of_one = np.dtype(np.float32 if mode == "exact" else np.uint8).itemsize
    # What libjpeg shrank may have the model's size by chance: the actor must not take it for whole.
    is_whole = picture.pixels.shape[:2] == picture.size_hw
    if is_whole and picture.pixels.nbytes <= model_px**2 * 3 * of_one:
        return picture  # fewer bytes than it would have: the actor resizes it, and exactly
    pixels = torch.from_numpy(picture.pixels).permute(2, 0, 1)
    if mode == "exact":
        pixels = pixels.float().div_(255)  # to the bit what the core's encoder input is made of
    # Of bytes torch has a kernel of its own, which is twenty times as fast as that of floats.
    resized = resize_image_antialiased(pixels, model_px)
    return DecodedPicture(
        np.ascontiguousarray(resized.permute(1, 2, 0).numpy()),
        picture.size_hw,
        picture.exif_orientation,
        resized=True,
    )


def _failure(data: bytes, name: str, error: BaseException) -> UnitFailed:
    if isinstance(error, ImageError) and error.__cause__ is not None:
        error = error.__cause__
    message = f"{name} of {len(data)} bytes: {error or type(error).__name__}"
    return UnitFailed(_class_of(data, name, error), message[:_MESSAGE_CHARACTERS])


def _class_of(data: bytes, name: str, error: BaseException) -> ErrorClass:
    words = str(error).lower()
    if isinstance(error, Image.DecompressionBombError):
        return ErrorClass.BOMB
    if isinstance(error, MemoryError):
        return ErrorClass.OOM
    if isinstance(error, NotImplementedError) or any(word in words for word in _NOT_IN_PILLOW):
        return ErrorClass.UNSUPPORTED
    return ErrorClass.TRUNCATED if ends_early(data, name, words) else ErrorClass.CORRUPT


def _silence_pillow() -> None:
    """Let Pillow's remarks on odd metadata, and on sizes that we judge, go unheard.

    There is no such thing as a filter for a thread, so one for Pillow's modules is added once a
    process, and left. It is looked for each time, as others may have restored the filters since.
    """
    if not _is_silenced():
        with _filter_lock:
            if not _is_silenced():
                warnings.filterwarnings("ignore", module=_FROM_PILLOW.pattern)


def _is_silenced() -> bool:
    return any(entry[3] == _FROM_PILLOW for entry in warnings.filters)
