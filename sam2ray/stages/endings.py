"""A picture that could not be decoded -> whether its bytes stop before the picture does.

Decoders say "broken" of a file that was cut off as of one that was damaged. The owner of an archive
wants to know which: the first is cured by another transfer. Only containers are walked here.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

import numpy as np

_PILLOW_WORDS = ("truncated", "eof", "not enough image data")
_JPEG_SCAN, _JPEG_END = b"\xff\xda", b"\xff\xd9"
_JPEG_2000_TILE, _JPEG_2000_END = b"\xff\x90", b"\xff\xd9"
_GIF_IMAGE, _GIF_EXTENSION = 0x2C, 0x21
_BMP_LEAST_BYTES = 26
_TIFF_PIXELS = ((273, 279), (324, 325))  # tags: where strips start and their bytes, and tiles
_TIFF_TYPES = {3: "u2", 4: "u4", 5: "u8", 8: "u2", 9: "u4", 10: "u8", 11: "u4", 12: "u8"}
_TIFF_TYPES |= {13: "u4", 16: "u8", 17: "u8", 18: "u8"}  # by their size alone; others have a byte
_TIFF_MOST_TAGS = 1 << 16


def ends_early(data: bytes, name: str, message: str) -> bool:
    """Whether a picture of this format (as `describe` names it) is cut off.

    The decoder's own message decides where a format's layout says nothing about its end.
    """
    rule = _RULES.get(name)
    if rule is None:
        return any(word in message.lower() for word in _PILLOW_WORDS)
    try:
        return rule(data)
    except (struct.error, IndexError, ValueError, OverflowError):  # it points behind its end
        return True


def _jpeg(data: bytes) -> bool:
    at = 2
    while at + 2 <= len(data):
        marker = data[at : at + 2]
        if marker == _JPEG_SCAN:
            return data.find(_JPEG_END, at) < 0  # no scan holds these two bytes by chance
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        if marker[0] != 0xFF or marker == _JPEG_END or (length < 2 and at + 4 <= len(data)):
            return False
        at += 2 + length
    return True


def _png(data: bytes) -> bool:
    at = 8
    while at + 12 <= len(data):
        length, name = struct.unpack_from(">I4s", data, at)
        if name == b"IEND" or not name.isalpha():
            return False
        at += 12 + length
    return True


def _gif(data: bytes) -> bool:
    at = 13 + _gif_palette_bytes(data[10])
    while data[at] in (_GIF_IMAGE, _GIF_EXTENSION):
        at += 11 + _gif_palette_bytes(data[at + 9]) if data[at] == _GIF_IMAGE else 2
        while data[at]:
            at += 1 + data[at]
        at += 1
    return False


def _gif_palette_bytes(flags: int) -> int:
    return 6 << (flags & 7) if flags & 0x80 else 0


def _webp(data: bytes) -> bool:
    return 8 + struct.unpack_from("<I", data, 4)[0] > len(data)


def _bmp(data: bytes) -> bool:
    return max(_BMP_LEAST_BYTES, struct.unpack_from("<I", data, 2)[0]) > len(data)


def _avif(data: bytes) -> bool:
    at, has_pixels = 0, False
    while at < len(data):
        length, name = struct.unpack_from(">I4s", data, at)
        has_pixels |= name == b"mdat"
        if length == 1:
            (length,) = struct.unpack_from(">Q", data, at + 8)
        if length < 8:  # 0: up to the end, wherever that is
            return False
        at += length
    return at > len(data) or not has_pixels


def _jpeg_2000(data: bytes) -> bool:
    return data.rfind(_JPEG_2000_END) <= data.rfind(_JPEG_2000_TILE)


def _tiff(data: bytes) -> bool:
    """Whether the first page's tags, or the pixels that they place, reach behind the end."""
    order = "<" if data[:2] == b"II" else ">"
    big = b"+" in data[2:4]
    word, few = ("Q", "Q") if big else ("I", "H")
    (at,) = struct.unpack_from(order + word, data, 8 if big else 4)
    (entries,) = struct.unpack_from(order + few, data, at)
    at += struct.calcsize(order + few)
    placed: dict[int, np.ndarray] = {}
    for _ in range(min(entries, _TIFF_MOST_TAGS)):
        tag, values = _tiff_tag(data, at, order, word)
        placed[tag] = values
        at += 20 if big else 12
    return any(
        _last_byte(placed[starts], placed[lengths]) > len(data)
        for starts, lengths in _TIFF_PIXELS
        if starts in placed and lengths in placed
    )


def _tiff_tag(data: bytes, at: int, order: str, word: str) -> tuple[int, np.ndarray]:
    """A tag and its values, as a view: hostile tags have millions."""
    tag, kind, count = struct.unpack_from(f"{order}HH{word}", data, at)
    values = np.dtype(order + _TIFF_TYPES.get(kind, "u1"))
    at += 4 + struct.calcsize(order + word)
    if count * values.itemsize > struct.calcsize(order + word):  # too many to stand in the entry
        (at,) = struct.unpack_from(order + word, data, at)
    return tag, np.frombuffer(data, values, count, at)


def _last_byte(starts: np.ndarray, lengths: np.ndarray) -> float:
    pieces = min(len(starts), len(lengths))
    return np.max(starts[:pieces].astype(np.float64) + lengths[:pieces], initial=0)


_RULES: dict[str, Callable[[bytes], bool]] = {
    "JPEG": _jpeg,
    "PNG": _png,
    "GIF": _gif,
    "WebP": _webp,
    "BMP": _bmp,
    "AVIF": _avif,
    "JPEG 2000": _jpeg_2000,
    "TIFF": _tiff,
}
