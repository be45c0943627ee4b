"""Networks with lively weights, pictures and clips for the GPU suite: the same on every machine."""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from torch import Tensor

from jobs.benchmarks.gpu_rows import ROOT, Budget, Ledger
from sam2_core import (
    RELEASED,
    AutoMaskConfig,
    FramePrompt,
    ModelConfig,
    Prompt,
    Sam2,
    build_sam2,
    export_checkpoint,
    load_sam2,
)
from sam2_core.config import Compile, Precision


@dataclass(frozen=True, slots=True)
class Variant:
    """A way to run a network."""

    precision: Precision
    compile: Compile = "off"

    def __str__(self) -> str:
        return f"{self.precision}, compile {self.compile}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How large everything is: a GPU's measure, or a minute of a CPU."""

    models: tuple[str, ...]
    checked_model: str
    speed_size: int
    check_size: int
    picture_hw: tuple[int, int]
    grid: int  # points a side
    frames: int
    steady_from: int  # the frame from which on memory is full
    objects: tuple[int, ...]
    encode_batches: tuple[int, ...]
    points_per_batch: tuple[int, ...]
    repeats: int


FULL = Scale(
    models=("sam2.1_hiera_tiny", "sam2.1_hiera_large"),
    checked_model="sam2.1_hiera_tiny",
    speed_size=1024,
    check_size=512,
    picture_hw=(1200, 1800),
    grid=32,
    frames=60,
    steady_from=16,
    objects=(1, 16),
    encode_batches=(1, 8, 32, 2, 4, 16),
    points_per_batch=(1024, 64),
    repeats=5,
)
SMALL = Scale(
    models=("nano",),
    checked_model="nano",
    speed_size=96,
    check_size=128,
    picture_hw=(90, 130),
    grid=8,
    frames=20,
    steady_from=16,
    objects=(1, 3),
    encode_batches=(1, 2),
    points_per_batch=(64,),
    repeats=2,
)


@dataclass(slots=True, eq=False)
class Suite:
    """Everything that a section needs."""

    device: torch.device
    scale: Scale
    ledger: Ledger
    budget: Budget
    weights: Path  # a folder, where each network's weights are written once
    thresholds: dict[str, AutoMaskConfig] = field(default_factory=dict)  # by model

    def config(self, name: str, image_size: int) -> ModelConfig:
        """A network's shape at another size."""
        return replace(RELEASED[name], image_size=image_size)

    def model(self, name: str, image_size: int, variant: Variant) -> Sam2:
        """A network on the device that is measured."""
        return self.model_on(self.device, name, image_size, variant)

    def model_on(self, device: torch.device, name: str, image_size: int, variant: Variant) -> Sam2:
        """A network with lively weights."""
        return load_sam2(
            self.config(name, image_size),
            self.checkpoint(name),
            device=device,
            precision=variant.precision,
            compile=variant.compile,
        )

    def checkpoint(self, name: str) -> Path:
        """A file of lively weights under official names; they fit any image size."""
        path = self.weights / f"{name}.pt"
        if not path.exists():
            shapes = {
                key: value.shape
                for key, value in export_checkpoint(build_sam2(RELEASED[name]))["model"].items()
            }
            torch.save({"model": recipe()(shapes)}, path)
        return path


def weights_folder() -> tempfile.TemporaryDirectory[str]:
    """Where weights lie for as long as the suite runs."""
    return tempfile.TemporaryDirectory(prefix="gpu_suite_")


@cache
def recipe() -> Callable[[Mapping[str, Iterable[int]]], dict[str, Tensor]]:
    """The recipe for weights that the tests use, loaded by its path: jobs do not import tests."""
    return _module(ROOT / "tests" / "support" / "recipe.py").lively_state


def _module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None or not path.exists():
        raise FileNotFoundError(f"{path}: run the suite in a checkout that has its tests.")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# --- pictures, clips and prompts


def picture(size_hw: tuple[int, int], seed: int = 0) -> np.ndarray:
    """Overlapping ellipses on a striped, noisy ground: HWC uint8."""
    rng = np.random.default_rng(seed)
    height, width = size_hw
    ys = (np.arange(height, dtype=np.float32) / height)[:, None, None]
    xs = (np.arange(width, dtype=np.float32) / width)[None, :, None]
    canvas = 90 + 40 * np.sin(19 * xs + 7 * ys) * rng.uniform(0.3, 1, 3).astype(np.float32)
    for _ in range(12):
        y, x = rng.uniform(0.1, 0.9, 2)
        tall, wide = rng.uniform(0.05, 0.25, 2)
        inside = ((ys - y) / tall) ** 2 + ((xs - x) / wide) ** 2 < 1
        stripes = 1 + 0.25 * np.sin(rng.uniform(20, 200) * (xs + ys))
        colour = rng.uniform(30, 230, 3).astype(np.float32)
        canvas = np.where(inside, colour * stripes, canvas)
    noise = rng.normal(0, 6, (height, width, 3))
    return (canvas + noise).clip(0, 255).astype(np.uint8)


def drifting_clip(frames: int, size_hw: tuple[int, int]) -> list[np.ndarray]:
    """A window that moves over a larger picture."""
    height, width = size_hw
    step = max(1, min(size_hw) // 128)
    large = picture((height + frames * step, width + frames * step), seed=1)
    return [
        np.ascontiguousarray(large[i * step : i * step + height, i * step : i * step + width])
        for i in range(frames)
    ]


def grid_points(count: int, size_hw: tuple[int, int]) -> list[tuple[float, float]]:
    """Points spread over a picture, the first ones of the smallest square grid that has enough."""
    side = int(np.ceil(count**0.5))
    height, width = size_hw
    places = [((i + 0.5) / side, (j + 0.5) / side) for j in range(side) for i in range(side)]
    return [(x * width, y * height) for x, y in places[:count]]


def point_prompts(count: int, size_hw: tuple[int, int]) -> list[Prompt]:
    """One click each."""
    return [Prompt(points=[point], labels=[1]) for point in grid_points(count, size_hw)]


def clicked_objects(count: int, size_hw: tuple[int, int]) -> list[FramePrompt]:
    """Objects that are all clicked on the first frame."""
    return [
        FramePrompt(0, number, prompt)
        for number, prompt in enumerate(point_prompts(count, size_hw))
    ]
