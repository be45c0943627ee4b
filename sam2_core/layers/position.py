"""Position encodings: sines over a map or a time line, random Fourier features of points."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

_TEMPERATURE = 10000.0


def sine_map(side: int, channels: int) -> Tensor:
    """Encode a side x side map, row by row: [P, channels], y in the first half, then x."""
    # Positions count from 1 and end just below 2 pi; sines and cosines take turns.
    steps = torch.arange(1, side + 1, dtype=torch.float32)
    line = interleaved_sines(steps / (steps[-1:] + 1e-6) * (2 * math.pi), channels // 2)
    ys = line[:, None].expand(side, side, -1)
    xs = line[None, :].expand(side, side, -1)
    return torch.cat([ys, xs], dim=-1).flatten(0, 1)


def interleaved_sines(angles_L: Tensor, channels: int) -> Tensor:
    """Sines and cosines of each angle at falling frequencies, taking turns: [L, channels]."""
    phases = angles_L[:, None] / sine_wavelengths(channels, angles_L.device)
    return torch.stack([phases[:, 0::2].sin(), phases[:, 1::2].cos()], dim=2).flatten(1)


def sine_times(times: Tensor, channels: int) -> Tensor:
    """Encode points in time of any shape: [..., channels], all sines before all cosines."""
    phases = times[..., None] / sine_wavelengths(channels // 2, times.device)
    return torch.cat([phases.sin(), phases.cos()], dim=-1)


def sine_wavelengths(channels: int, device: torch.device) -> Tensor:
    """The wavelengths of sine encodings; neighbours share one."""
    index = torch.arange(channels, dtype=torch.float32, device=device)
    return _TEMPERATURE ** (2 * (index // 2) / channels)


def fourier_features(points_01: Tensor, frequencies_2F: Tensor) -> Tensor:
    """Encode points of the unit square, [..., 2] -> [..., 2F], always in fp32.

    Autocast would turn the product into one of bf16, which tells 301.5 of 1,024 pixels from 302.5
    no more; runs of the reference lose that much, and nothing depends on repeating it.
    """
    with torch.autocast(points_01.device.type, enabled=False):
        phases = (2 * points_01.float() - 1) @ frequencies_2F.float() * (2 * math.pi)
    return torch.cat([phases.sin(), phases.cos()], dim=-1)


def fourier_map(side: int, frequencies_2F: Tensor) -> Tensor:
    """Encode the pixel centres of a side x side map, row by row: [P, 2F]."""
    centres = (torch.arange(side, dtype=torch.float32, device=frequencies_2F.device) + 0.5) / side
    ys, xs = torch.meshgrid(centres, centres, indexing="ij")
    return fourier_features(torch.stack([xs, ys], dim=-1).flatten(0, 1), frequencies_2F)


class Derived:
    """A tensor computed from small weights, kept as long as these weights hold the same numbers.

    Compared by content, not by version: weights written through `.data` change no version. On an
    accelerator the comparison would wait for the device, and the value is cheap: it is recomputed.
    """

    def __init__(self, build: Callable[..., Tensor]) -> None:
        self._build = build
        self._key: tuple[bytes, ...] | None = None
        self._value: Tensor | None = None

    def of(self, *weights: Tensor) -> Tensor:
        """The value for these weights."""
        learning = torch.is_grad_enabled() and any(w.requires_grad for w in weights)
        if learning or any(w.device.type != "cpu" for w in weights):
            return self._build(*weights)
        key = tuple(w.detach().contiguous().view(torch.uint8).numpy().tobytes() for w in weights)
        if self._value is None or key != self._key:
            # A tensor made in inference mode could not serve a later training step.
            with torch.inference_mode(False), torch.no_grad():
                self._value = self._build(*(w.detach().clone() for w in weights))
            self._key = key
        return self._value
