"""The archive of a demo: pictures and a clip of a made world, prompts for them, and the truth."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from sam2_core.learning.world import Ids, LabelledPicture, Pixels, World

from .errors import UsageError
from .storage import LocalStore, local_path

_NUMBERS = (5, 8, 11, 15, 16, 21)  # of pictures in the world: bright ones, with much to find
PICTURES, FRAMES, FRAMES_A_SECOND = len(_NUMBERS), 24, 8
MARKER = "sam2ray-demo.json"
CLICKS, FIRST_FRAME = "prompts/clicks.csv", "prompts/first_frame.csv"
CLIP = "clip.mp4"

_WORLD = World(seed=7, size=512, things=(4, 9))
_CLIP_NUMBER = 7
_SHORT_SIDE = 384  # pictures lie or stand: squares are rare in archives
_LEAST_SHARE = 0.006  # of the picture that a thing covers, to be pointed at
_MOST_TRACKED = 5
_NAMES = 4  # of strange files that a refusal tells

Row = Mapping[str, object]
Mask = np.ndarray[Any, np.dtype[np.bool_]]


@dataclass(frozen=True, slots=True)
class DemoFolder:
    """Where everything of a demo lies."""

    path: Path

    @property
    def pictures(self) -> Path:
        """A folder of JPEGs."""
        return self.path / "archive" / "pictures"

    @property
    def clips(self) -> Path:
        """A folder with one MP4."""
        return self.path / "archive" / "clips"

    @property
    def page(self) -> Path:
        """What is looked at in the end."""
        return self.path / "index.html"

    def true_ids(self, name: str) -> Ids:
        """Which thing each pixel of a picture shows, [H, W]; 0 is the ground."""
        with Image.open(self.path / "truth" / f"{name}.png") as image:
            return np.array(image, np.int16)

    def prompts(self, name: str) -> list[dict[str, str]]:
        """The rows of a file of prompts."""
        with (self.path / name).open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))


def demo_folder(text: str) -> DemoFolder:
    """A folder that is new, empty, or of an earlier demo; UsageError for any other."""
    path = local_path(text)
    if path is None:
        raise UsageError(f"{text}: a demo runs on this machine: give a folder, or nothing.")
    for part in (path, *path.parents):
        if part.exists() and not part.is_dir():
            raise UsageError(f"{text}: {part} is a file; give a folder that is new or empty.")
    others = sorted(child.name for child in path.iterdir()) if path.exists() else []
    if others and MARKER not in others:
        named = ", ".join(others[:_NAMES]) + (" ..." if len(others) > _NAMES else "")
        raise UsageError(
            f"{text}: holds something else than an earlier demo ({named}), which stays as it is. "
            "Give a folder that is new or empty: sam2ray demo OTHER_FOLDER."
        )
    return DemoFolder(path)


def make_archive(folder: DemoFolder) -> bool:
    """Make what is missing; False if an earlier demo has made it all.

    Each picture comes behind its truth, and the prompts of the clip behind everything: where they
    are, all is there.
    """
    store = LocalStore(folder.path)
    store.put(MARKER, json.dumps({"made by": "sam2ray demo"}).encode())
    if store.exists(FIRST_FRAME):
        return False
    clicks: list[Row] = []
    for place, number in enumerate(_NUMBERS):
        name = f"picture-{place + 1}"
        labelled = _cropped(_WORLD.picture(number), stands=place % 3 == 0)
        store.put(f"truth/{name}.png", _file_of(labelled.ids.astype(np.uint8), "PNG"))
        content = _file_of(labelled.pixels, "JPEG", quality=92)
        store.put(f"archive/pictures/{name}.jpg", content)
        clicks += _clicks(f"{name}.jpg", labelled)
    store.put(CLICKS, _as_csv(clicks))
    clip = _WORLD.clip(_CLIP_NUMBER, FRAMES)
    frames = [_cropped(clip[number], stands=False) for number in range(FRAMES)]
    for number, frame in enumerate(frames):
        store.put(f"truth/{frame_name(number)}.png", _file_of(frame.ids.astype(np.uint8), "PNG"))
    store.put(f"archive/clips/{CLIP}", _mp4([frame.pixels for frame in frames]))
    store.put(FIRST_FRAME, _as_csv(_first_frame(frames[0])))
    return True


def frame_name(number: int) -> str:
    """What the truth about a frame of the clip is called."""
    return f"clip/{number:05d}"


def _cropped(whole: LabelledPicture, *, stands: bool) -> LabelledPicture:
    area = np.s_[:, :_SHORT_SIDE] if stands else np.s_[:_SHORT_SIDE]
    return LabelledPicture(whole.pixels[area], whole.ids[area])


def _things(labelled: LabelledPicture) -> list[int]:
    return labelled.object_ids(round(_LEAST_SHARE * labelled.ids.size))


def _clicks(name: str, labelled: LabelledPicture) -> Iterator[Row]:
    for thing in _things(labelled):
        points = json.dumps([innermost(labelled.ids == thing)])
        yield {"file": name, "points": points, "label": f"thing {thing}", "prompt_id": thing}


def _first_frame(labelled: LabelledPicture) -> list[Row]:
    areas = np.bincount(labelled.ids.ravel())
    largest = sorted(_things(labelled), key=lambda thing: -areas[thing])[:_MOST_TRACKED]
    return [
        {
            "file": CLIP,
            "frame": 0,
            "object_id": thing,
            **_box_around(labelled.ids == thing),
            "label": f"thing {thing}",
        }
        for thing in largest
    ]


def innermost(mask: Mask) -> tuple[float, float]:
    """The middle (x, y) of a pixel of a mask that is as far from its border as any."""
    ys, xs = np.nonzero(mask)
    left = inner = mask[ys.min() : ys.max() + 1, xs.min() : xs.max() + 1]
    while left.any():
        inner, framed = left, np.pad(left, 1)
        rows = framed[:-2, 1:-1] & framed[2:, 1:-1]
        left = left & rows & framed[1:-1, :-2] & framed[1:-1, 2:]
    rows, columns = np.nonzero(inner)
    place = len(rows) // 2
    return float(xs.min() + columns[place]) + 0.5, float(ys.min() + rows[place]) + 0.5


def _box_around(mask: Mask) -> Row:
    ys, xs = np.nonzero(mask)
    return {
        "x0": int(xs.min()),
        "y0": int(ys.min()),
        "x1": int(xs.max()) + 1,
        "y1": int(ys.max()) + 1,
    }


def _as_csv(rows: Sequence[Row]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def _file_of(pixels: np.ndarray[Any, Any], kind: str, **options: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


def _mp4(frames: Sequence[Pixels]) -> bytes:
    """Frames as a video, by the better of two encoders where this build of FFmpeg has both."""
    import av

    codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream(codec, rate=Fraction(FRAMES_A_SECOND))
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.bit_rate = 2_000_000
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return file.getvalue()
