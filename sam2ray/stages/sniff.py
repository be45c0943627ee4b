"""The first bytes of a file -> what it is, whatever its name says.

Names lie: a server answers a picture's address with a web page, a script saves WebP as .jpg. Only
magic bytes are looked at, nothing is decoded.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

MediaKind = Literal["image", "video"]

HEAD_BYTES = 512  # how much of a file is looked at: MPEG-TS shows itself by its third packet

_IMAGE_SUFFIXES = (
    ".jpg .jpeg .jpe .jfif .png .webp .avif .heic .heif .gif .tif .tiff .bmp "
    ".jp2 .j2k .jpf .jpx .ppm .pgm .pbm .pnm"
)
_VIDEO_SUFFIXES = (
    ".mp4 .m4v .mov .mkv .webm .avi .ts .mts .m2ts .mpg .mpeg .vob .flv .ogv .ogg .3gp .3g2"
)
MEDIA_SUFFIXES: Mapping[MediaKind, frozenset[str]] = {
    "image": frozenset(_IMAGE_SUFFIXES.split()),
    "video": frozenset(_VIDEO_SUFFIXES.split()),
}
"""Suffixes in lower case by which a listing takes a file; what it is, its bytes say."""


@dataclass(frozen=True, slots=True)
class _Content:
    name: str
    kind: MediaKind | None = None


_JPEG_2000 = _Content("JPEG 2000", "image")
_TIFF = _Content("TIFF", "image")
_GIF = _Content("GIF", "image")
_BMP = _Content("BMP", "image")
_PPM = _Content("PPM", "image")
_AVIF = _Content("AVIF", "image")
_HEIF = _Content("HEIF", "image")
_MP4 = _Content("MP4", "video")
_MPEG_TS = _Content("MPEG-TS", "video")
_MPEG_PS = _Content("MPEG-PS", "video")
_JPEG_XL = _Content("a JPEG XL picture")

_AT_START = (
    (b"\xff\xd8\xff", _Content("JPEG", "image")),
    (b"\x89PNG\r\n\x1a\n", _Content("PNG", "image")),
    (b"GIF87a", _GIF),
    (b"GIF89a", _GIF),
    (b"II*\0", _TIFF),
    (b"MM\0*", _TIFF),
    (b"II+\0", _TIFF),  # BigTIFF
    (b"MM\0+", _TIFF),
    (b"\0\0\0\x0cjP  \r\n\x87\n", _JPEG_2000),
    (b"\xff\x4f\xff\x51", _JPEG_2000),  # a bare codestream
    (b"\0\0\x01\xba", _MPEG_PS),
    (b"\0\0\x01\xb3", _MPEG_PS),
    (b"FLV\x01", _Content("FLV", "video")),
    (b"OggS", _Content("Ogg", "video")),
    (b"\0\0\0\x0cJXL \r\n\x87\n", _JPEG_XL),
    (b"\xff\x0a", _JPEG_XL),
    (b"%PDF-", _Content("a PDF")),
    (b"%!PS", _Content("a PostScript file")),
    (b"\xc5\xd0\xd3\xc6", _Content("a PostScript file")),
    (b"8BPS", _Content("a Photoshop file")),
    (b"\0\0\x01\0", _Content("an icon")),
    (b"PK\x03\x04", _Content("a zip archive")),
    (b"PK\x05\x06", _Content("an empty zip archive")),
    (b"\x1f\x8b", _Content("gzip data")),
    (b"7z\xbc\xaf\x27\x1c", _Content("a 7z archive")),
    (b"Rar!\x1a\x07", _Content("a RAR archive")),
    (b"ID3", _Content("an MP3 sound file")),
    (b"fLaC", _Content("a FLAC sound file")),
    (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", _Content("a Windows Media file")),
    (b"PAR1", _Content("a Parquet table")),
    (b"\x89HDF\r\n\x1a\n", _Content("an HDF5 file")),
    (b"version https://git-lfs", _Content("a Git LFS pointer, not the file it stands for")),
)

_RIFF_FORMS = {
    b"WEBP": _Content("WebP", "image"),
    b"AVI ": _Content("AVI", "video"),
    b"WAVE": _Content("a WAV sound file"),
}

_AVIF_BRANDS = {b"avif", b"avis"}
_HEIF_BRANDS = {b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"hevm", b"hevs"}
_ANY_CODEC_BRANDS = {b"mif1", b"msf1", b"mif2"}  # the compatible brands tell AVIF from HEIF
_OTHER_BRANDS = {
    b"M4A ": _Content("an MPEG-4 sound file"),
    b"M4B ": _Content("an MPEG-4 sound file"),
    b"M4P ": _Content("an MPEG-4 sound file"),
    b"crx ": _Content("a Canon raw picture"),
    b"qt  ": _Content("QuickTime", "video"),
}

_QUICKTIME_ATOMS = {b"moov", b"mdat", b"pnot"}
_QUICKTIME_PADDING = {b"wide", b"free", b"skip"}
_BMP_HEADER_BYTES = {12, 16, 40, 52, 56, 64, 108, 124}
_PORTABLE_PIXMAP = re.compile(rb"P[1-6]\s+[\d#]")
_MARKUP = re.compile(rb"<(!doctype html|html|head|body|script|title|meta|p|div|svg|\?xml)\b")
_TEXT = re.compile(rb"[\t\n\f\r\x20-\x7e\x80-\xff]+")


def sniff(head: bytes) -> MediaKind | None:
    """Whether a file that starts so is a picture or a video; a GIF is a picture, but see below."""
    return _content(head).kind


def can_be_clip(head: bytes) -> bool:
    """Whether a file that starts so has frames; a GIF has some where it is taken for a video."""
    content = _content(head)
    return content.kind == "video" or content is _GIF


def describe(head: bytes) -> str:
    """What a file that starts so is, in words for a message."""
    return _content(head).name


def _content(head: bytes) -> _Content:
    if not head:
        return _Content("nothing: the file is empty")
    for magic, content in _AT_START:
        if head.startswith(magic):
            return content
    found = _riff(head) or _boxes(head) or _bitmap(head) or _packets(head)
    return found or _words(head) or _Content(f"unknown content ({head[:8].hex(' ')} ...)")


def _riff(head: bytes) -> _Content | None:
    return _RIFF_FORMS.get(head[8:12]) if head.startswith(b"RIFF") else _matroska(head)


def _matroska(head: bytes) -> _Content | None:
    if not head.startswith(b"\x1a\x45\xdf\xa3"):
        return None
    return _Content("WebM" if b"webm" in head[:64] else "Matroska", "video")


def _boxes(head: bytes) -> _Content | None:
    """Files of the MP4 family: boxes of a length and a name, the first of them `ftyp` by rule."""
    length, name = int.from_bytes(head[:4], "big"), head[4:8]
    if name == b"ftyp":
        return _branded(head[8:12], head[16 : max(length, 16)])
    # Padding has names that text may have in this place ("The free lunch"), but is never so long.
    padding = name in _QUICKTIME_PADDING and length < 1 << 24
    return _OTHER_BRANDS[b"qt  "] if padding or name in _QUICKTIME_ATOMS else None


def _branded(brand: bytes, compatible: bytes) -> _Content:
    others = {compatible[at : at + 4] for at in range(0, len(compatible), 4)}
    if brand in _AVIF_BRANDS or (brand in _ANY_CODEC_BRANDS and others & _AVIF_BRANDS):
        return _AVIF
    if brand in _HEIF_BRANDS or brand in _ANY_CODEC_BRANDS:
        return _HEIF
    return _OTHER_BRANDS.get(brand, _MP4)  # cameras invent brands, and mean a video


def _bitmap(head: bytes) -> _Content | None:
    if head.startswith(b"BM"):  # as do words: only a bitmap has the size of its header there
        header_bytes = int.from_bytes(head[14:18], "little")
        return _BMP if len(head) < 18 or header_bytes in _BMP_HEADER_BYTES else None
    return _PPM if _PORTABLE_PIXMAP.match(head) else None


def _packets(head: bytes) -> _Content | None:
    """MPEG-TS starts each packet of 188 bytes with G; Blu-ray puts a time of 4 bytes before it."""
    for start, packet_bytes in ((0, 188), (4, 192)):
        syncs = head[start::packet_bytes]
        if len(syncs) > 2 and set(syncs) == {0x47}:
            return _MPEG_TS
    return None


def _words(head: bytes) -> _Content | None:
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if markup := _MARKUP.match(text):
        if markup[1] not in (b"svg", b"?xml"):
            return _Content("an HTML page")
        return _Content("an SVG drawing" if b"<svg" in text else "an XML document")
    if not _TEXT.fullmatch(head):
        return None
    if text[:1] in (b"{", b"["):
        return _Content("JSON")
    return _Content("text") if _is_text(head) else None


def _is_text(head: bytes) -> bool:
    try:
        head.decode()
    except UnicodeDecodeError as error:
        return error.start > len(head) - 4  # the head may end inside a character
    return True
