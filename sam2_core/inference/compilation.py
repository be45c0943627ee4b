"""A model in lower precision and with compiled parts, that a restarted process has ready again."""

from __future__ import annotations

import os
import re
from pathlib import Path

import torch
from torch import nn

from ..config import Compile, Precision
from ..network.encoder_digest import encoder_digest
from ..network.sam2 import Sam2

PRECISIONS: dict[str, torch.dtype] = {
    "fp32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}

# Weights that stay in fp32: those of positions, and all that meets tokens and scores instead of
# pixels. They cost little, and what they decide is compared with thresholds or with each other.
# Norms, rotations and residuals of the memory compute in fp32 in every precision, and mask logits
# leave the decoder as fp32.
FP32_ISLANDS = (
    "encoder.position",
    "encoder.window_position",
    "prompt_encoder.point_kinds",
    "prompt_encoder.not_a_point",
    "prompt_encoder.no_mask",
    "mask_decoder",
    "object_pointer",
    "temporal_encoding",
    "no_memory",
    "absent_memory",
)
PIXEL_SIDE = re.compile(r"mask_decoder\.(upscale.*|transformer\.layers\.\d+\.norm4\..*)")

# Encoder batches, counts of prompt tokens, kinds of answer: all of them compile side by side.
_PROGRAMS_PER_FUNCTION = 64


def prepare(
    model: Sam2,
    *,
    precision: Precision = "fp32",
    compile: Compile = "off",  # noqa: A002 the word that torch uses for it
    programs: Path | None = None,
) -> Sam2:
    """Cast weights and compile parts, in place; parameter names stay what they were.

    Encoder, mask decoder and memory encoder have static shapes: their batches are filled up to
    powers of two, and each number of prompt tokens has programs of its own. Memory attention takes
    any number of objects and any length of memory with one program: filling up would cost whole
    objects, and memories of one length would need masks, which rule out the fast kernels.

    Compiled programs are kept in the folder `programs`, unless TORCHINDUCTOR_CACHE_DIR is set.
    """
    if precision != "fp32":
        cast_weights(model, PRECISIONS[precision])
    if compile != "off":
        if programs is not None:
            os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(programs))
        _allow_many_programs()
        model.static_images = True
        _compile(model.encoder, model.pyramid)
    if compile == "full":
        model.static_objects = True
        _compile(model.mask_decoder, model.memory_encoder)
        # Memories grow for the first 16 frames of a clip. What torch sees vary becomes dynamic.
        model.memory_attention.compile(dynamic=None, fullgraph=True)
    return model


def cast_weights(model: Sam2, dtype: torch.dtype) -> None:
    """Store the bulk of the weights in a lower precision."""
    model.encoder_sha256 = encoder_digest(model)  # afterwards nobody could tell
    for name, parameter in model.named_parameters():
        if not name.startswith(FP32_ISLANDS) or PIXEL_SIDE.fullmatch(name):
            parameter.data = parameter.data.to(dtype)


def _allow_many_programs() -> None:
    from torch import _dynamo

    _dynamo.config.recompile_limit = max(_dynamo.config.recompile_limit, _PROGRAMS_PER_FUNCTION)


def _compile(*parts: nn.Module) -> None:
    for part in parts:
        part.compile(dynamic=False, fullgraph=True)
