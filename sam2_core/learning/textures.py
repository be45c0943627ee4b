"""Grey patterns with the statistics of natural surfaces, drawn once and then cut from."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

SIDE = 256  # of a pattern; it goes on at its edges where it can
_KINDS = 6

Pattern = np.ndarray[Any, np.dtype[np.uint8]]


@lru_cache(maxsize=8)
def patterns(seed: int, era: int = 0, count: int = 48) -> Pattern:
    """Patterns [count, SIDE, SIDE]: noise of many roughnesses, gratings, checks, dots, grain.

    Each era of a world has its own: whoever sees the same few again and again knows them by heart.
    """
    rng = np.random.default_rng([seed, 0x7E47, era] if era else [seed, 0x7E47])
    made = [_pattern(rng, number % _KINDS) for number in range(count)]
    return np.stack([_levelled(plane) for plane in made])


def _pattern(rng: np.random.Generator, kind: int) -> np.ndarray:
    if kind < 2:
        return _noise(rng, rng.uniform(0.8, 2.2))
    ys, xs = np.mgrid[0:SIDE, 0:SIDE] / SIDE
    warp = 0.05 * _noise(rng, 2.0) * rng.choice([0.0, 1.0])
    waves = rng.integers(3, 24)
    if kind == 2:
        grating = np.sin(2 * np.pi * waves * (xs + warp))
        return np.tanh(rng.uniform(0.5, 5) * grating)
    if kind == 3:
        return np.sign(np.sin(2 * np.pi * waves * (xs + warp)) * np.sin(2 * np.pi * waves * ys))
    if kind == 4:
        dots = np.cos(2 * np.pi * waves * (xs + warp)) + np.cos(2 * np.pi * waves * ys)
        return np.tanh(4 * (dots - rng.uniform(0.5, 1.2)))
    rings = np.hypot(xs - rng.uniform(-0.5, 0.5), ys - 0.5) + 0.3 * warp
    return np.sin(2 * np.pi * waves * rings) + 0.5 * _noise(rng, 1.2)


def _noise(rng: np.random.Generator, slope: float) -> np.ndarray:
    """Noise whose amplitude falls with frequency, more along one direction than along the other."""
    fy = np.fft.fftfreq(SIDE)[:, None] * rng.uniform(0.5, 2)
    fx = np.fft.rfftfreq(SIDE)[None, :]
    angle = rng.uniform(0, np.pi)
    along = fx * np.cos(angle) + fy * np.sin(angle)
    across = fy * np.cos(angle) - fx * np.sin(angle)
    frequency = np.hypot(along, across * rng.uniform(1, 3))
    frequency[0, 0] = np.inf
    shape = frequency.shape
    spectrum = (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)) * frequency**-slope
    plane = np.fft.irfft2(spectrum, s=(SIDE, SIDE))
    return plane / (plane.std() + 1e-9)


def _levelled(plane: np.ndarray) -> np.ndarray:
    low, high = np.percentile(plane, [1, 99])
    return (np.clip((plane - low) / max(high - low, 1e-9), 0, 1) * 255).astype(np.uint8)
