"""Small pictures and clips of our own making: textured shapes that move, known to the pixel."""

from __future__ import annotations

import numpy as np


def textured_picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """A picture of overlapping ellipses and boxes with stripes and noise: HWC uint8."""
    return moving_shapes(1, height, width, seed)[0]


def moving_shapes(frames: int, height: int, width: int, seed: int = 0) -> list[np.ndarray]:
    """Frames in which a few shapes drift over a striped ground."""
    rng = np.random.default_rng(seed)
    ys, xs = np.mgrid[0:height, 0:width].astype(np.float64)
    ground = 90 + 40 * np.sin(xs / width * 19)[..., None] * rng.uniform(0.3, 1, 3)
    shapes = [_shape(rng, height, width) for _ in range(6)]
    noise = rng.normal(0, 6, (height, width, 3))
    clip = []
    for time in range(frames):
        picture = ground + noise
        for shape in shapes:
            inside = _inside(shape, ys, xs, time)
            stripes = 1 + 0.25 * np.sin((xs + ys) / shape["grain"])[..., None]
            picture = np.where(inside[..., None], shape["colour"] * stripes, picture)
        clip.append(picture.clip(0, 255).astype(np.uint8))
    return clip


def _shape(rng: np.random.Generator, height: int, width: int) -> dict:
    return {
        "centre": rng.uniform(0.15, 0.85, 2) * (height, width),
        "radii": rng.uniform(0.08, 0.25, 2) * (height, width),
        "speed": rng.uniform(-0.02, 0.02, 2) * (height, width),
        "colour": rng.uniform(30, 230, 3),
        "grain": rng.uniform(2, 9),
        "round": rng.random() < 0.5,
    }


def _inside(shape: dict, ys: np.ndarray, xs: np.ndarray, time: int) -> np.ndarray:
    y, x = shape["centre"] + shape["speed"] * time
    dy, dx = np.abs(ys - y) / shape["radii"][0], np.abs(xs - x) / shape["radii"][1]
    return dy**2 + dx**2 < 1 if shape["round"] else np.maximum(dy, dx) < 1
