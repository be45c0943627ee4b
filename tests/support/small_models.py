"""Small real models with lively weights, built once and shared by every test that asks alike."""

from __future__ import annotations

import dataclasses
from functools import cache
from typing import Literal

from oracle import loaded
from recipe import lively_state

from sam2_core import RELEASED, Sam2, build_sam2, export_checkpoint


@cache
def lively_model(
    image_size: int = 96,
    seed: int = 0,
    object_lift: float = 0.3,
    version: Literal["2.0", "2.1"] = "2.1",
) -> Sam2:
    """A model about as small as nano; its masks cross zero and its scores differ.

    Its shape is its own, so that what tests count does not change where nano does.
    Every caller gets the same one, so leave its weights alone.
    """
    config = dataclasses.replace(
        RELEASED["nano"],
        name="test",
        image_size=image_size,
        version=version,
        stages=(1, 2, 3, 1),
        global_blocks=(4, 5),
        windows=(8, 4, 8, 4),
        memory_layers=2,
        max_memories=7,
    )
    official = export_checkpoint(build_sam2(config))["model"]
    shapes = {name: tensor.shape for name, tensor in official.items()}
    return loaded(config, lively_state(shapes, seed, object_lift))
