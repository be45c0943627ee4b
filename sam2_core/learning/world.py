"""A world to learn from: pictures and clips of overlapping things, with the exact mask of each.

Things are dead leaves: shapes painted over one another, far ones first, each with a texture, light
from one side and perhaps a shadow; then a lens blurs all, a sensor adds noise, a file is squeezed.
Masks come from the shapes and know nothing of that. The same seed and number give the same picture.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image, ImageFilter

from .shapes import TRAINED, Distance, Family
from .textures import SIDE, patterns

Pixels = np.ndarray[Any, np.dtype[np.uint8]]
Ids = np.ndarray[Any, np.dtype[np.int16]]
Canvas = np.ndarray[Any, np.dtype[np.float32]]

_SIZES = (0.05, 0.32)  # half of the smallest and largest thing, by the side of the picture
_ERA = 256  # pictures or clips in a row that share their patterns: making these takes a while
_FRAME_S = 1 / 8  # of a clip's own time, in which things turn, bend and move


@dataclass(frozen=True, slots=True, eq=False)
class LabelledPicture:
    """A picture, and which thing each of its pixels shows."""

    pixels: Pixels  # [H, W, 3]
    ids: Ids  # [H, W]: 0 is the ground, then things from the farthest to the nearest
    families: tuple[str, ...] = ()  # of the things, the farthest first; of frames nobody asks

    def object_ids(self, min_area: int = 1) -> list[int]:
        """Things of which so many pixels can be seen."""
        areas = np.bincount(self.ids.ravel())
        return [int(n) for n in np.flatnonzero(areas >= min_area) if n]

    def masks(self, object_ids: Sequence[int]) -> np.ndarray:
        """What can be seen of things: bool [N, H, W]."""
        return self.ids[None] == np.array(object_ids, np.int16).reshape(-1, 1, 1)


@dataclass(frozen=True, slots=True, eq=False)
class LabelledClip:
    """Frames of a clip, and which thing each pixel shows: things keep their numbers."""

    frames: Pixels  # [T, H, W, 3]
    ids: Ids  # [T, H, W]

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, number: int) -> LabelledPicture:
        return LabelledPicture(self.frames[number], self.ids[number])

    def masks(self, object_id: int) -> np.ndarray:
        """A thing on all frames, bool [T, H, W]; empty where it is hidden or away."""
        return self.ids == object_id


@dataclass(frozen=True, slots=True, eq=False)
class World:
    """An endless album, by number; `families` are the shapes that live in it."""

    seed: int = 0
    size: int = 256
    things: tuple[int, int] = (3, 14)
    families: Mapping[str, Family] = field(default_factory=lambda: TRAINED)

    def picture(self, number: int) -> LabelledPicture:
        """One picture."""
        rng = np.random.default_rng([self.seed, 1, number])
        scene = _Scene.drawn(rng, self, number)
        canvas, ids = scene.painted(0.0)
        families = tuple(thing.family for thing in scene.things)
        return LabelledPicture(_Camera.drawn(rng).taken(canvas, rng), ids, families)

    def clip(self, number: int, frames: int = 8) -> LabelledClip:
        """One clip; things move, turn, bend, pass before one another, leave and return."""
        rng = np.random.default_rng([self.seed, 2, number])
        scene, camera = _Scene.drawn(rng, self, number), _Camera.drawn(rng)
        seen = [scene.painted(frame * _FRAME_S) for frame in range(frames)]
        pixels = [camera.taken(canvas, rng) for canvas, _ in seen]
        return LabelledClip(np.stack(pixels), np.stack([ids for _, ids in seen]))


# ---------------------------------------------------------------- things


@dataclass(frozen=True, slots=True, eq=False)
class _Surface:
    """A texture between two colours, and how light falls on it."""

    pattern: Pixels
    offset: tuple[int, int]
    grain: float  # texels a unit of the shape's own frame
    dark: Canvas  # [3]
    bright: Canvas
    light: Canvas  # [2]: how much brighter it is to the right and below
    bulge: float

    @classmethod
    def drawn(cls, rng: np.random.Generator, bank: Pixels) -> _Surface:
        base = rng.uniform(0, 255, 3) * rng.uniform(0.4, 1.0)
        grey = base.mean()
        base = grey + (base - grey) * rng.uniform(0.1, 1.0)
        contrast = rng.choice([0.0, rng.uniform(5, 40), rng.uniform(20, 120)])
        swing = contrast * (0.6 + 0.4 * rng.uniform(-1, 1, 3))
        return cls(
            bank[rng.integers(len(bank))],
            (int(rng.integers(SIDE)), int(rng.integers(SIDE))),
            float(rng.uniform(20, 140)),
            (base - swing / 2).astype(np.float32),
            (base + swing / 2).astype(np.float32),
            rng.uniform(-0.25, 0.25, 2).astype(np.float32),
            float(rng.choice([0.0, rng.uniform(0.0, 0.4)])),
        )

    def like(self, rng: np.random.Generator) -> _Surface:
        """Another piece of the same stuff: what lies beside it is hard to tell from it."""
        shift = rng.uniform(-18, 18, 3).astype(np.float32)
        offset = (int(rng.integers(SIDE)), int(rng.integers(SIDE)))
        return _Surface(
            self.pattern,
            offset,
            self.grain,
            self.dark + shift,
            self.bright + shift,
            self.light,
            self.bulge,
        )

    def colours(self, u: Canvas, v: Canvas) -> Canvas:
        """Colours [h, w, 3] at points of the shape's frame."""
        rows = (v * self.grain + self.offset[0]).astype(np.int32) % SIDE
        columns = (u * self.grain + self.offset[1]).astype(np.int32) % SIDE
        level = self.pattern[rows, columns].astype(np.float32)[..., None] / 255
        shade = 1 + self.light[0] * u + self.light[1] * v
        if self.bulge:
            shade = shade - self.bulge * (u * u + v * v)
        return (self.dark + (self.bright - self.dark) * level) * shade[..., None]


@dataclass(frozen=True, slots=True, eq=False)
class _Path:
    """Where a thing is, how large and how turned, at any time."""

    start: tuple[float, float]
    speed: tuple[float, float]
    sway: tuple[float, float]  # how far it swings, by the side
    pace: float
    phase: float
    size: float
    breath: float
    angle: float
    spin: float

    @classmethod
    def drawn(cls, rng: np.random.Generator) -> _Path:
        low, high = np.log(_SIZES)
        fast = rng.choice([0.02, 0.1, 0.25])
        return cls(
            (float(rng.uniform(0, 1)), float(rng.uniform(0, 1))),
            tuple(rng.normal(0, fast, 2).tolist()),
            tuple((rng.uniform(0, 0.35, 2) * rng.choice([0, 1])).tolist()),
            float(rng.uniform(0.8, 2.5)),
            float(rng.uniform(0, 2 * np.pi)),
            float(np.exp(rng.uniform(low, high))),
            float(rng.uniform(0, 0.15)),
            float(rng.uniform(0, 2 * np.pi)),
            float(rng.normal(0, 0.4)),
        )

    def at(self, time: float) -> tuple[float, float, float, float]:
        """Centre x and y and size, by the side of the picture, and angle."""
        swing = np.sin(self.pace * time + self.phase) - np.sin(self.phase)
        x = self.start[0] + self.speed[0] * time + self.sway[0] * swing
        y = self.start[1] + self.speed[1] * time + self.sway[1] * swing
        size = self.size * (1 + self.breath * swing)
        return x, y, size, self.angle + self.spin * time


@dataclass(frozen=True, slots=True, eq=False)
class _Thing:
    family: str
    shape: Distance
    path: _Path
    surface: _Surface
    stretch: float
    shadow: tuple[float, float, float, float] | None  # shift x and y, softness, darkness


@dataclass(frozen=True, slots=True, eq=False)
class _Scene:
    """Things from the farthest to the nearest, over a ground."""

    side: int
    ground: _Surface
    things: tuple[_Thing, ...]

    @classmethod
    def drawn(cls, rng: np.random.Generator, world: World, number: int) -> _Scene:
        bank = patterns(world.seed, number // _ERA)
        families = [*world.families]
        surfaces: list[_Surface] = []
        things: list[_Thing] = []
        for _ in range(int(rng.integers(world.things[0], world.things[1] + 1))):
            is_twin = bool(surfaces) and rng.random() < 0.25
            surface = surfaces[-1].like(rng) if is_twin else _Surface.drawn(rng, bank)
            surfaces.append(surface)
            shadow = None
            if rng.random() < 0.35:
                shift = rng.uniform(-0.25, 0.25, 2)
                shadow = (*shift.tolist(), float(rng.uniform(0.05, 0.4)), rng.uniform(0.2, 0.6))
            family = families[rng.integers(len(families))]
            shape = world.families[family](rng)
            path, stretch = _Path.drawn(rng), float(rng.uniform(0.7, 1.0))
            things.append(_Thing(family, shape, path, surface, stretch, shadow))
        # Large things lie farther away more often than not, or they would hide all others.
        things.sort(key=lambda thing: -thing.path.size * rng.uniform(0.3, 1))
        return cls(world.size, _Surface.drawn(rng, bank), tuple(things))

    def painted(self, time: float) -> tuple[Canvas, Ids]:
        """Colours [H, W, 3], and the number of the thing that each pixel's middle shows."""
        side = self.side
        unit = np.linspace(-1, 1, side, dtype=np.float32)
        canvas = self.ground.colours(unit[None, :].repeat(side, 0), unit[:, None].repeat(side, 1))
        ids = np.zeros((side, side), np.int16)
        for number, thing in enumerate(self.things, start=1):
            _paint(canvas, ids, number, thing, time)
        return canvas, ids


def _paint(canvas: Canvas, ids: Ids, number: int, thing: _Thing, time: float) -> None:
    side = len(canvas)
    x, y, size, angle = thing.path.at(time)
    if size * side < 1:
        return
    reach = size * (1.5 if thing.shadow else 1.05) + 2 / side
    left, right = (int(np.clip((x + s * reach) * side, 0, side)) for s in (-1, 1))
    top, bottom = (int(np.clip((y + s * reach) * side, 0, side)) for s in (-1, 1))
    if left >= right or top >= bottom:
        return
    across = ((np.arange(left, right, dtype=np.float32) + 0.5) / side - x) / size
    down = ((np.arange(top, bottom, dtype=np.float32)[:, None] + 0.5) / side - y) / size
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    u = cos * across + sin * down
    v = (cos * down - sin * across) / np.float32(thing.stretch)
    window = canvas[top:bottom, left:right]
    if thing.shadow is not None:
        shift_x, shift_y, soft, dark = thing.shadow
        far = thing.shape(u - np.float32(shift_x), v - np.float32(shift_y), time)
        window *= 1 - dark * np.clip(0.5 - far / soft, 0, 1)[..., None]
    distance = thing.shape(u, v, time)
    cover = np.clip(0.5 - distance * np.float32(size * side), 0, 1)[..., None]
    window += cover * (thing.surface.colours(u, v) - window)
    ids[top:bottom, left:right][distance < 0] = number


# ---------------------------------------------------------------- the camera


@dataclass(frozen=True, slots=True, eq=False)
class _Camera:
    """What happens to light on its way into a file."""

    blur: float
    noise: float
    gain: float
    quality: int | None  # of JPEG; None: it stays as it is

    @classmethod
    def drawn(cls, rng: np.random.Generator) -> _Camera:
        return cls(
            float(rng.choice([0.0, rng.uniform(0.3, 1.4)])),
            float(rng.choice([0.0, rng.uniform(1, 12)])),
            float(rng.uniform(0.7, 1.2)),
            int(rng.integers(30, 96)) if rng.random() < 0.6 else None,
        )

    def taken(self, canvas: Canvas, rng: np.random.Generator) -> Pixels:
        light = canvas * np.float32(self.gain)
        if self.noise:
            light += rng.standard_normal(light.shape, np.float32) * np.float32(self.noise)
        image = Image.fromarray(np.clip(light, 0, 255).astype(np.uint8))
        if self.blur:
            image = image.filter(ImageFilter.GaussianBlur(self.blur))
        if self.quality is not None:
            file = io.BytesIO()
            image.save(file, "JPEG", quality=self.quality)
            image = Image.open(file)
        return np.asarray(image)
