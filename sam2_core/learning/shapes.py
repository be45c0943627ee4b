"""Shapes as signed distances: negative inside, in units of the shape's own size.

Each family draws its parameters once; `time` bends what can be bent. A distance is exact enough
near the outline, which is all that edges need.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

Plane = np.ndarray[Any, np.dtype[np.float32]]
Distance = Callable[[Plane, Plane, float], Plane]
"""Signed distances at points (u, v) of the shape's own frame, at a time."""

Family = Callable[[np.random.Generator], Distance]

_TURN = np.float32(2 * np.pi)


def _ellipse(rng: np.random.Generator) -> Distance:
    a, b = np.float32(1.0), np.float32(rng.uniform(0.35, 1.0))

    def distance(u: Plane, v: Plane, _time: float) -> Plane:
        x, y = u / a, v / b
        k = np.sqrt(x * x + y * y)
        slope = np.hypot(x / a, y / b) + np.float32(1e-6)
        return (k * (k - 1) / slope).astype(np.float32)

    return distance


def _box(rng: np.random.Generator) -> Distance:
    width, height = np.float32(1.0), np.float32(rng.uniform(0.3, 1.0))
    corner = np.float32(rng.choice([0.0, rng.uniform(0.05, 0.3)]) * height)

    def distance(u: Plane, v: Plane, _time: float) -> Plane:
        return _to_box(u, v, width - corner, height - corner) - corner

    return distance


def _blob(rng: np.random.Generator) -> Distance:
    radius = _waves(rng, count=int(rng.integers(2, 7)), depth=rng.uniform(0.1, 0.35))

    def distance(u: Plane, v: Plane, time: float) -> Plane:
        return np.hypot(u, v) - radius(np.arctan2(v, u), time)

    return distance


def _polygon(rng: np.random.Generator) -> Distance:
    count = int(rng.integers(3, 9))
    angles = (np.arange(count) + rng.uniform(-0.2, 0.2, count)) / count * _TURN
    radii = rng.uniform(0.45, 1.0, count)
    return _of_polygon(angles, radii)


def _star(rng: np.random.Generator) -> Distance:
    points = int(rng.integers(4, 8))
    angles = np.arange(2 * points) / (2 * points) * _TURN
    radii = np.where(np.arange(2 * points) % 2, rng.uniform(0.35, 0.65), 1.0)
    return _of_polygon(angles, radii)


def _ring(rng: np.random.Generator) -> Distance:
    radius = _waves(rng, count=3, depth=rng.uniform(0.0, 0.15))
    half = np.float32(rng.uniform(0.1, 0.3))

    def distance(u: Plane, v: Plane, time: float) -> Plane:
        middle = np.float32(0.95) * radius(np.arctan2(v, u), time) - half
        return np.abs(np.hypot(u, v) - middle) - half

    return distance


def _frame(rng: np.random.Generator) -> Distance:
    height, half = np.float32(rng.uniform(0.5, 0.9)), np.float32(rng.uniform(0.08, 0.2))

    def distance(u: Plane, v: Plane, _time: float) -> Plane:
        return np.abs(_to_box(u, v, 1 - half, height - half)) - half

    return distance


def _stick(rng: np.random.Generator) -> Distance:
    half = np.float32(rng.uniform(0.04, 0.15))
    bend = rng.uniform(-0.6, 0.6)

    def distance(u: Plane, v: Plane, time: float) -> Plane:
        knee = (0.0, bend * np.cos(time))
        ends = (-0.9, 0.0), (0.9, 0.0)
        return np.minimum(*(_to_segment(u, v, end, knee) for end in ends)) - half

    return distance


def _limbed(rng: np.random.Generator) -> Distance:
    body = np.float32(rng.uniform(0.3, 0.5))
    count = int(rng.integers(3, 7))
    angles = (np.arange(count) + rng.uniform(-0.3, 0.3, count)) / count * _TURN
    lengths, half = rng.uniform(0.7, 0.95, count), np.float32(rng.uniform(0.05, 0.12))
    swings = rng.uniform(-0.5, 0.5, count)

    def distance(u: Plane, v: Plane, time: float) -> Plane:
        found = np.hypot(u, v) - body
        for angle, length, swing in zip(angles, lengths, swings, strict=True):
            at = angle + swing * np.sin(time)
            tip = (length * np.cos(at), length * np.sin(at))
            found = np.minimum(found, _to_segment(u, v, (0.0, 0.0), tip) - half)
        return found

    return distance


def _crescent(rng: np.random.Generator) -> Distance:
    shift, bite = np.float32(rng.uniform(0.3, 0.7)), np.float32(rng.uniform(0.6, 0.9))

    def distance(u: Plane, v: Plane, _time: float) -> Plane:
        return np.maximum(np.hypot(u, v) - 1, bite - np.hypot(u - shift, v))

    return distance


def _cross(rng: np.random.Generator) -> Distance:
    arm = np.float32(rng.uniform(0.15, 0.4))

    def distance(u: Plane, v: Plane, _time: float) -> Plane:
        one = np.float32(1.0)
        return np.minimum(_to_box(u, v, one, arm), _to_box(u, v, arm, one))

    return distance


def _gear(rng: np.random.Generator) -> Distance:
    teeth, depth = int(rng.integers(5, 12)), np.float32(rng.uniform(0.08, 0.2))

    def distance(u: Plane, v: Plane, _time: float) -> Plane:
        wave = np.tanh(3 * np.sin(np.arctan2(v, u) * teeth))
        return (np.hypot(u, v) - (1 - depth + depth * wave)) * np.float32(0.5)

    return distance


def _arc(rng: np.random.Generator) -> Distance:
    half, opening = np.float32(rng.uniform(0.12, 0.25)), np.float32(rng.uniform(0.6, 1.8))
    radius = 1 - half

    def distance(u: Plane, v: Plane, time: float) -> Plane:
        wide = opening * (1 + 0.2 * np.sin(time))
        ring = np.abs(np.hypot(u, v) - radius) - half
        tips = [radius * np.cos(wide / 2), radius * np.sin(wide / 2)]
        ends = np.hypot(u - tips[0], np.abs(v) - tips[1]) - half
        return np.where(np.abs(np.arctan2(v, u)) < wide / 2, ends, ring)

    return distance


def _petals(rng: np.random.Generator) -> Distance:
    count, depth = int(rng.integers(3, 7)), np.float32(rng.uniform(0.3, 0.5))

    def distance(u: Plane, v: Plane, _time: float) -> Plane:
        swell = np.abs(np.cos(np.arctan2(v, u) * count / 2))
        return (np.hypot(u, v) - (1 - depth + depth * swell)) * np.float32(0.8)

    return distance


def _zigzag(rng: np.random.Generator) -> Distance:
    count, half = int(rng.integers(3, 6)), np.float32(rng.uniform(0.06, 0.14))
    heights = np.where(np.arange(count + 1) % 2, 0.5, -0.5) * rng.uniform(0.6, 1.0)

    def distance(u: Plane, v: Plane, time: float) -> Plane:
        found = np.full(np.broadcast_shapes(u.shape, v.shape), np.inf, np.float32)
        xs = np.linspace(-0.85, 0.85, count + 1)
        ys = heights * (1 + 0.3 * np.sin(time))
        for n in range(count):
            part = _to_segment(u, v, (xs[n], ys[n]), (xs[n + 1], ys[n + 1]))
            found = np.minimum(found, part)
        return found - half

    return distance


TRAINED: Mapping[str, Family] = MappingProxyType(
    {
        "ellipse": _ellipse,
        "box": _box,
        "blob": _blob,
        "polygon": _polygon,
        "star": _star,
        "ring": _ring,
        "frame": _frame,
        "stick": _stick,
        "limbed": _limbed,
        "crescent": _crescent,
        "cross": _cross,
    }
)
HELD_OUT: Mapping[str, Family] = MappingProxyType(
    {"gear": _gear, "arc": _arc, "petals": _petals, "zigzag": _zigzag}
)
"""Families that nothing is ever trained on."""

KINDS: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(("ellipse", "blob", "ring", "crescent", "gear", "petals"), "round"),
        **dict.fromkeys(("box", "polygon", "star", "frame", "cross"), "angular"),
        **dict.fromkeys(("stick", "limbed", "arc", "zigzag"), "thin"),
    }
)
"""What each family is like: few classes for all of them."""


# ---------------------------------------------------------------- distances


def _to_box(u: Plane, v: Plane, width: np.float32, height: np.float32) -> Plane:
    x, y = np.abs(u) - width, np.abs(v) - height
    outside = np.hypot(np.maximum(x, 0), np.maximum(y, 0))
    return outside + np.minimum(np.maximum(x, y), 0)


def _to_segment(u: Plane, v: Plane, start: tuple[float, float], end: tuple[float, float]) -> Plane:
    x, y = np.float32(end[0] - start[0]), np.float32(end[1] - start[1])
    across, down = u - np.float32(start[0]), v - np.float32(start[1])
    share = np.clip((across * x + down * y) / (x * x + y * y + np.float32(1e-9)), 0, 1)
    return np.hypot(across - share * x, down - share * y)


def _of_polygon(angles: np.ndarray, radii: np.ndarray) -> Distance:
    """A polygon that is seen whole from its middle, by the edge that each ray crosses."""
    order = np.argsort(angles % _TURN)
    angles, radii = angles[order] % _TURN, radii[order]
    xs, ys = radii * np.cos(angles), radii * np.sin(angles)
    edges = np.stack([np.roll(xs, -1) - xs, np.roll(ys, -1) - ys])
    lengths = np.hypot(*edges)
    # Outward normals, and how far from the middle each edge lies.
    normals = (np.stack([edges[1], -edges[0]]) / lengths).astype(np.float32)
    offsets = (normals[0] * xs + normals[1] * ys).astype(np.float32)
    starts = angles.astype(np.float32)

    def distance(u: Plane, v: Plane, _time: float) -> Plane:
        ray = np.arctan2(v, u) % _TURN
        edge = np.searchsorted(starts, ray, side="right") - 1
        return normals[0][edge] * u + normals[1][edge] * v - offsets[edge]

    return distance


def _waves(
    rng: np.random.Generator, *, count: int, depth: float
) -> Callable[[Plane, float], Plane]:
    """A radius that goes up and down around 1, never beyond it, and moves with time."""
    depths = rng.dirichlet(np.ones(count)).astype(np.float32) * np.float32(depth)
    phases = rng.uniform(0, 2 * np.pi, count)
    speeds = rng.uniform(-0.7, 0.7, count)

    def radius(angle: Plane, time: float) -> Plane:
        found = np.full_like(angle, 1 - depth)
        for n in range(count):
            shift = np.float32(phases[n] + speeds[n] * time)
            found += depths[n] * np.cos((n + 1) * angle + shift)
        return found

    return radius
