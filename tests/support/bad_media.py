"""Picture files made by hand and by Pillow: broken in known ways, and sound ones that look odd.

`expected` is the value of the ErrorClass that decode_picture gives with its default limits.
"""

from __future__ import annotations

import io
import json
import struct
import zipfile
import zlib
from dataclasses import dataclass, field

import numpy as np
from make_clip import textured_picture
from PIL import Image, features

HEIGHT, WIDTH = 45, 61
_ORIENTATION = 0x0112


@dataclass(frozen=True)
class BadFile:
    name: str
    data: bytes = field(repr=False)
    expected: str


@dataclass(frozen=True)
class GoodFile:
    name: str
    data: bytes = field(repr=False)
    size_hw: tuple[int, int]


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    """The bytes of a file that Pillow saves."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def sample(height: int = HEIGHT, width: int = WIDTH) -> Image.Image:
    """A textured picture in RGB."""
    return Image.fromarray(textured_picture(height, width))


def png_by_hand(width: int, height: int, pixels: bytes = b"") -> bytes:
    """A grey PNG whose header says what it likes, with `pixels` (filter bytes too) in its IDAT."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    idat = _png_chunk(b"IDAT", zlib.compress(pixels, 9))
    return b"\x89PNG\r\n\x1a\n" + _png_chunk(b"IHDR", header) + idat + _png_chunk(b"IEND", b"")


def tiff_by_hand(tags: list[tuple[int, int]], pixels: bytes = b"") -> bytes:
    """A little-endian TIFF of one page: tags with one long each, and pixels at byte 8."""
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(tags))
    directory = struct.pack("<H", len(tags)) + entries + bytes(4)
    return b"II*\0" + struct.pack("<I", 8 + len(pixels)) + pixels + directory


def bad_pictures() -> list[BadFile]:
    """What an archive holds besides pictures, under a picture's name."""
    return [*_cut_off(), *_no_pictures(), *_damaged(), *_too_big(), *_beyond_us()]


def odd_but_good_pictures() -> list[GoodFile]:
    """What looks wrong to somebody, and shows in every viewer."""
    return [*_rotated(), *_odd_colours(), *_several_pictures(), *_odd_shapes(), *_sloppy_ends()]


def damaged_unseen() -> list[GoodFile]:
    """What is damaged, and no decoder minds: the header is sound, some of the pixels are wrong."""
    jpeg = encoded(sample(), "JPEG", quality=95)
    middle = (jpeg.index(b"\xff\xda") + len(jpeg)) // 2
    return [
        GoodFile("half the rows.png", png_by_hand(20, 20, bytes(21 * 10)), (20, 20)),
        GoodFile("other bits.jpg", _overwrite(jpeg, middle, bytes(50)), (HEIGHT, WIDTH)),
    ]


# ---------------------------------------------------------------- bad


def _cut_off() -> list[BadFile]:
    image = sample()
    whole = {
        "baseline.jpg": encoded(image, "JPEG", quality=90),
        "progressive.jpg": encoded(image, "JPEG", progressive=True),
        "rows.png": encoded(image, "PNG"),
        "palette.gif": encoded(image, "GIF"),
        "lossy.webp": encoded(image, "WEBP"),
        "lossless.webp": encoded(image, "WEBP", lossless=True),
        "raw.tif": encoded(image, "TIFF"),
        "lzw.tif": encoded(image, "TIFF", compression="tiff_lzw"),
        "big.tif": encoded(image, "TIFF", big_tiff=True),
        "rows.bmp": encoded(image, "BMP"),
        "wavelets.jp2": encoded(image, "JPEG2000"),
        "rows.ppm": encoded(image, "PPM"),
    }
    if features.check("avif"):
        whole["coded.avif"] = encoded(image, "AVIF")
    cuts = [
        BadFile(f"cut at {percent} % {name}", data[: len(data) * percent // 100], "truncated")
        for name, data in whole.items()
        for percent in (4, 50, 95)
    ]
    jpeg = whole["baseline.jpg"]
    return [
        BadFile("empty.jpg", b"", "truncated"),
        BadFile("one byte.jpg", b"\xff", "truncated"),
        BadFile("most of a signature.png", whole["rows.png"][:7], "truncated"),
        BadFile("a signature alone.png", whole["rows.png"][:8], "truncated"),
        BadFile("start of image alone.jpg", jpeg[:3] + bytes(9), "corrupt"),
        # libjpeg wants to see the end before it gives out the last rows.
        BadFile("no end of image.jpg", jpeg[:-2], "truncated"),
        *cuts,
    ]


def _no_pictures() -> list[BadFile]:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("a.txt", "a")
    movie = struct.pack(">I4s4sI4s", 20, b"ftyp", b"isom", 512, b"isom") + bytes(64)
    contents = {
        "page.jpg": b"<!DOCTYPE html>\n<html><head><title>404</title></head></html>",
        "page with a blank line.jpg": b"\n\n  <html lang='en'><body>Sign in</body></html>",
        "error of a store.jpg": b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>',
        "answer.jpg": json.dumps({"error": "not found"}).encode(),
        "paper.jpg": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj\n",
        "drawing.jpg": b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"></svg>',
        "archive.jpg": archive.getvalue(),
        "pointer.jpg": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n",
        "note.jpg": "BMW und Großmut sind Wörter.\n".encode(),
        "zeros.jpg": bytes(4096),
        "noise.jpg": b"\x93" + np.random.default_rng(0).bytes(999),
        "icon.jpg": encoded(sample(32, 32), "ICO"),
        "postscript.jpg": encoded(sample(), "EPS"),
        "video.jpg": movie,
        "sound.jpg": b"RIFF\x24\0\0\0WAVEfmt " + bytes(32),
        "raw photo.jpg": struct.pack(">I4s4sI4s", 20, b"ftyp", b"crx ", 1, b"crx ") + bytes(64),
        "phone.heic": struct.pack(">I4s4sI4s", 20, b"ftyp", b"heic", 0, b"mif1") + bytes(64),
    }
    return [BadFile(name, data, "unsupported") for name, data in contents.items()]


def _damaged() -> list[BadFile]:
    image = sample()
    png, jpeg = encoded(image, "PNG"), encoded(image, "JPEG")
    noise = np.random.default_rng(1).bytes(2000).replace(b",", b".")  # no frame of a GIF
    start_of_frame = jpeg.index(b"\xff\xc0")
    start_of_scan = jpeg.index(b"\xff\xda")
    return [
        BadFile("wrong checksum of the header.png", _flip(png, 29), "corrupt"),
        BadFile("broken pixels.png", _overwrite(png, len(png) // 2, bytes(40)), "corrupt"),
        BadFile("no pixels.png", png_by_hand(WIDTH, HEIGHT), "corrupt"),
        BadFile("unknown colours.png", _with_header(png, bytes([8, 7, 0, 0, 0])), "corrupt"),
        BadFile("width 0.png", png_by_hand(0, 5), "corrupt"),
        BadFile("height 0.png", png_by_hand(5, 0), "corrupt"),
        BadFile("height 0.jpg", _overwrite(jpeg, start_of_frame + 5, bytes(2)), "corrupt"),
        BadFile("no frame.jpg", jpeg[:start_of_frame] + jpeg[start_of_scan:], "corrupt"),
        BadFile("no scan.jpg", jpeg[:start_of_scan] + b"\xff\xd9", "corrupt"),
        BadFile("noise after the magic.jpg", b"\xff\xd8\xff\xe0" + noise, "truncated"),
        BadFile("noise after the magic.png", png[:8] + noise, "corrupt"),
        BadFile("noise after the magic.gif", b"GIF89a\x09\0\x09\0\0\0\0" + noise, "corrupt"),
        BadFile("noise after the magic.webp", b"RIFF\x40\0\0\0WEBPVP8 " + noise, "corrupt"),
        BadFile("noise after the magic.tif", b"II*\0\x08\0\0\0" + noise, "truncated"),
        BadFile("noise after the magic.jp2", b"\xff\x4f\xff\x51" + noise, "truncated"),
        BadFile("no numbers.ppm", b"P6 9 x 255\n" + noise, "corrupt"),
        BadFile("pixels of nothing.tif", tiff_by_hand([(256, 9), (257, 9)]), "corrupt"),
    ]


def _too_big() -> list[BadFile]:
    image = sample()
    jpeg, gif, bmp = (encoded(image, kind) for kind in ("JPEG", "GIF", "BMP"))
    frame = jpeg.index(b"\xff\xc0") + 5
    grey = [(258, 8), (259, 8), (262, 1), (277, 1)]
    strip = [*grey, (273, 8), (278, 1), (279, 9)]
    tile = [(256, 9), (257, 9), *grey, (322, 1 << 16), (323, 1 << 15), (324, 8), (325, 4)]
    canvas = struct.pack("<4sI4x", b"VP8X", 10) + (16_383).to_bytes(3, "little") * 2
    webp = b"WEBP" + canvas + encoded(image, "WEBP")[12:]
    return [
        BadFile("bomb.png", png_by_hand(50_000, 50_000, bytes(1 << 22)), "bomb"),
        BadFile("wider than memory.png", png_by_hand(1 << 31, 1), "bomb"),
        BadFile("bomb.jpg", _overwrite(jpeg, frame, b"\xff\xff\xff\xff"), "bomb"),
        BadFile("bomb.gif", _overwrite(gif, 6, b"\xff\xff\xff\xff"), "bomb"),
        BadFile("bomb.bmp", _overwrite(bmp, 18, struct.pack("<ii", 50_000, 50_000)), "bomb"),
        BadFile("bomb.tif", tiff_by_hand([(256, 90_000), (257, 90_000), *strip]), "bomb"),
        BadFile("tile that is a bomb.tif", tiff_by_hand(tile, zlib.compress(b"\0")), "bomb"),
        BadFile("bomb.webp", b"RIFF" + struct.pack("<I", len(webp)) + webp, "bomb"),
        BadFile("bomb.ppm", b"P6 50000 50000 255\n", "bomb"),
        BadFile("one long side.png", png_by_hand(70_000, 1_000), "too_large"),
        BadFile("a line.png", png_by_hand(101, 1, bytes(102)), "unsupported"),
    ]


def _beyond_us() -> list[BadFile]:
    image = sample()
    jpeg, bmp = encoded(image, "JPEG"), encoded(image, "BMP")
    depth = jpeg.index(b"\xff\xc0") + 4
    heights = np.linspace(-1, 1, 100, dtype=np.float32).reshape(10, 10)
    counts = np.arange(100, dtype=np.int32).reshape(10, 10) << 20
    return [
        BadFile("twelve bits.jpg", _overwrite(jpeg, depth, b"\x0c"), "unsupported"),
        BadFile("unknown packing.bmp", _overwrite(bmp, 30, b"\x09"), "unsupported"),
        BadFile("heights.tif", encoded(Image.fromarray(heights), "TIFF"), "unsupported"),
        BadFile("counts.tif", encoded(Image.fromarray(counts), "TIFF"), "unsupported"),
    ]


# ---------------------------------------------------------------- good


def _rotated() -> list[GoodFile]:
    files = []
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[_ORIENTATION] = orientation
        shown = (WIDTH, HEIGHT) if orientation >= 5 else (HEIGHT, WIDTH)
        data = encoded(sample(), "JPEG", quality=95, exif=exif)
        files.append(GoodFile(f"orientation {orientation}.jpg", data, shown))
    sideways = Image.Exif()
    sideways[_ORIENTATION] = 6
    for kind in ("PNG", "WEBP", "TIFF", *(["AVIF"] if features.check("avif") else [])):
        data = encoded(sample(), kind, exif=sideways)
        files.append(GoodFile(f"sideways.{kind.lower()}", data, (WIDTH, HEIGHT)))
    nonsense = Image.Exif()
    nonsense[_ORIENTATION] = 77
    files.append(GoodFile("77.jpg", encoded(sample(), "JPEG", exif=nonsense), (HEIGHT, WIDTH)))
    return files


def _odd_colours() -> list[GoodFile]:
    image = sample()
    alpha = Image.linear_gradient("L").resize(image.size)
    with_alpha, grey_with_alpha = image.copy(), image.convert("L")
    with_alpha.putalpha(alpha)
    grey_with_alpha.putalpha(alpha)
    palette = image.quantize(16)
    deep = np.linspace(0, 65535, HEIGHT * WIDTH).astype(np.uint16).reshape(HEIGHT, WIDTH)
    files = {
        "ink.jpg": encoded(image.convert("CMYK"), "JPEG", quality=95),  # inverted, as Adobe's
        "ink as ycck.jpg": _as_ycck(encoded(image.convert("CMYK"), "JPEG", quality=95)),
        "ink.tif": encoded(image.convert("CMYK"), "TIFF", compression="tiff_lzw"),
        "grey.jpg": encoded(image.convert("L"), "JPEG", quality=95),
        "progressive.jpg": encoded(image, "JPEG", quality=95, progressive=True),
        "16 bits.png": encoded(Image.fromarray(deep), "PNG"),
        "16 bits.tif": encoded(Image.fromarray(deep), "TIFF"),
        "palette.png": encoded(palette, "PNG"),
        "palette with a hole.png": encoded(palette, "PNG", transparency=3),
        "palette with glass.png": encoded(palette, "PNG", transparency=bytes(range(0, 160, 10))),
        "rgb with a hole.png": encoded(image, "PNG", transparency=(10, 20, 30)),
        "alpha.png": encoded(with_alpha, "PNG"),
        "alpha.webp": encoded(with_alpha, "WEBP", lossless=True),
        "grey and alpha.png": encoded(grey_with_alpha, "PNG"),
        "one bit.png": encoded(image.convert("1"), "PNG"),
        "fax.tif": encoded(image.convert("1"), "TIFF", compression="group4"),
        "bits.pbm": encoded(image.convert("1"), "PPM"),
        "palette.bmp": encoded(palette, "BMP"),
        "wavelets.jp2": encoded(image, "JPEG2000"),
        "bare wavelets.j2k": encoded(image, "JPEG2000", no_jp2=True),
        "big.tif": encoded(image, "TIFF", big_tiff=True),
        "words.ppm": b"P3\n# by hand\n2 1\n255\n255 0 0\n0 255 7\n",
    }
    if features.check("avif"):
        files["coded.avif"] = encoded(image, "AVIF")
    sizes = {"words.ppm": (1, 2)}
    return [GoodFile(name, data, sizes.get(name, (HEIGHT, WIDTH))) for name, data in files.items()]


def _several_pictures() -> list[GoodFile]:
    images = [sample(), sample().rotate(20), sample().rotate(40)]
    more = {"save_all": True, "append_images": images[1:]}
    pages = {"save_all": True, "append_images": [image.resize((7, 9)) for image in images[1:]]}
    files = {
        "moving.gif": encoded(images[0], "GIF", **more),
        "moving.webp": encoded(images[0], "WEBP", lossless=True, **more),
        "moving.png": encoded(images[0], "PNG", **more),
        "pages.tif": encoded(images[0], "TIFF", **pages),
        "two eyes.mpo.jpg": encoded(images[0], "MPO", **more),
    }
    return [GoodFile(name, data, (HEIGHT, WIDTH)) for name, data in files.items()]


def _odd_shapes() -> list[GoodFile]:
    shapes = [(1, 1), (1, 100), (100, 1), (3, 7), (101, 99), (8, 64)]
    files = [
        GoodFile(f"{height} by {width}.png", encoded(sample(height, width), "PNG"), (height, width))
        for height, width in shapes
    ]
    jpeg = encoded(sample(257, 131), "JPEG", quality=95)
    files.append(GoodFile("größer, mit Leerzeichen und 猫.JPG", jpeg, (257, 131)))
    return [*files, GoodFile("no.suffix", jpeg, (257, 131))]


def _sloppy_ends() -> list[GoodFile]:
    """Files with all of their pixels, whose last bytes are missing or not theirs."""
    image = sample()
    png, gif, jpeg = (encoded(image, kind) for kind in ("PNG", "GIF", "JPEG"))
    wrong_check = _flip(png, len(png) - 13)  # Pillow leaves the check of the pixels to zlib
    files = {
        "no end chunk.png": png[:-12],
        "wrong checksum of the pixels.png": wrong_check,
        "no trailer.gif": gif[:-1],
        "junk behind the end.jpg": jpeg + bytes(100) + b"SEFT",
        "junk behind the end.png": png + b"<!-- advertisement -->",
        "JPEG called.png": jpeg,
        "PNG called.jpg": png,
    }
    return [GoodFile(name, data, (HEIGHT, WIDTH)) for name, data in files.items()]


# ---------------------------------------------------------------- by hand


def _png_chunk(name: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(name + content)
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", checksum)


def _with_header(png: bytes, rest: bytes) -> bytes:
    """A PNG whose header says another depth and colour type, with a checksum that fits."""
    return png[:8] + _png_chunk(b"IHDR", png[16:24] + rest) + png[33:]


def _as_ycck(cmyk_jpeg: bytes) -> bytes:
    """A JPEG whose Adobe segment says that its four colours are YCCK; they look odd, but decode."""
    transform = cmyk_jpeg.index(b"Adobe") + 11
    return _overwrite(cmyk_jpeg, transform, b"\x02")


def _flip(data: bytes, at: int) -> bytes:
    return _overwrite(data, at, bytes([data[at] ^ 0xFF]))


def _overwrite(data: bytes, at: int, content: bytes) -> bytes:
    return data[:at] + content + data[at + len(content) :]
