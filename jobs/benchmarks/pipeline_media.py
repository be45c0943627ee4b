"""Made archives to measure the pipeline with: photographs, clips, and shards of tiny pictures.

All are drawn from seeds, so that everybody measures the same; what is there already is kept.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import av
import numpy as np
from PIL import Image, ImageDraw

PICTURE_HW = (800, 1250)  # one megapixel
CLIP_HW = (360, 640)
FRAMES_PER_CLIP = 48
MEMBERS_PER_SHARD = 10_000
_OCTAVES = (3, 9, 27, 81, 243, 729)  # grains along a side, each fainter than the last
_OBJECTS = 12
_DRIFT_PX = 3  # a frame
_TINY_PX = 24
_TINY_KINDS = 64


def photographs(folder: Path, count: int) -> Path:
    """A folder of so many JPEGs of a megapixel."""
    return _filled(folder, count, _write_photograph, "jpg")


def clips(folder: Path, count: int) -> Path:
    """A folder of so many small mp4 files."""
    return _filled(folder, count, _write_clip, "mp4")


def shards(folder: Path, members: int) -> Path:
    """A folder of tar shards with so many tiny JPEGs."""
    count = -(-members // MEMBERS_PER_SHARD)
    own = folder / f"tiny-{members}"
    return _filled(own, count, partial(_write_shard, members=members), "tar")


def photograph(seed: int, size_hw: tuple[int, int] = PICTURE_HW) -> Image.Image:
    """Grain of many sizes, and some flat objects: as many bytes in a JPEG as a photograph has."""
    rng = np.random.default_rng(seed)
    height, width = size_hw
    picture = Image.new("RGB", (width, height), "gray")
    for octave, grains in enumerate(_OCTAVES):
        grain = Image.fromarray(rng.integers(0, 256, (grains, grains, 3), np.uint8))
        picture = Image.blend(picture, grain.resize((width, height)), 0.7 ** (octave + 1))
    draw = ImageDraw.Draw(picture)
    for _ in range(_OBJECTS):
        _draw_object(draw, rng, height, width)
    return picture


def _draw_object(
    draw: ImageDraw.ImageDraw, rng: np.random.Generator, height: int, width: int
) -> None:
    x, y = rng.uniform(0, width), rng.uniform(0, height)
    dx, dy = rng.uniform(0.03, 0.15, 2) * min(height, width)
    red, green, blue = rng.integers(0, 256, 3).tolist()
    shape = draw.ellipse if rng.random() < 0.5 else draw.rectangle
    shape((x - dx, y - dy, x + dx, y + dy), fill=(red, green, blue))


def _filled(folder: Path, count: int, write: Callable[[Path, int], None], suffix: str) -> Path:
    """A folder with these files: one folder a count, so that another count is another archive."""
    folder = folder / f"{suffix}-{count}"
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{number:06}.{suffix}" for number in range(count)]
    missing = [(path, number) for number, path in enumerate(paths) if not path.exists()]
    if missing:
        with ProcessPoolExecutor() as pool:
            for _ in pool.map(partial(_write_whole, write), missing, chunksize=8):
                pass
    return folder


def _write_whole(write: Callable[[Path, int], None], order: tuple[Path, int]) -> None:
    """Write aside and rename: what was interrupted is written again."""
    path, number = order
    aside = path.with_name(f".{path.name}")
    write(aside, number)
    aside.replace(path)


def _write_photograph(path: Path, number: int) -> None:
    photograph(number).save(path, "JPEG", quality=88)


def _write_clip(path: Path, number: int) -> None:
    height, width = CLIP_HW
    margin = _DRIFT_PX * FRAMES_PER_CLIP
    still = photograph(number, (height, width + margin))
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        stream.options = {"preset": "veryfast", "crf": "23"}
        for frame in range(FRAMES_PER_CLIP):
            left = _DRIFT_PX * frame
            picture = still.crop((left, 0, left + width, height))
            container.mux(stream.encode(av.VideoFrame.from_image(picture)))
        container.mux(stream.encode())


def _write_shard(path: Path, number: int, *, members: int) -> None:
    first = number * MEMBERS_PER_SHARD
    kinds = [_tiny(seed) for seed in range(_TINY_KINDS)]
    with tarfile.open(path, "w") as shard:
        for name, content in _members(range(first, min(members, first + MEMBERS_PER_SHARD)), kinds):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            shard.addfile(info, io.BytesIO(content))


def _members(numbers: Iterable[int], kinds: list[bytes]) -> Iterable[tuple[str, bytes]]:
    return ((f"{number:09}.jpg", kinds[number % len(kinds)]) for number in numbers)


def _tiny(seed: int) -> bytes:
    file = io.BytesIO()
    photograph(seed, (_TINY_PX, _TINY_PX)).save(file, "JPEG", quality=80)
    return file.getvalue()
