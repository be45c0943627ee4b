"""A name or a config -> a network that is ready to use, with random or with loaded weights."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import get_args

import torch

from .checkpoint import pour, read_weights
from .config import NANO, Compile, ModelConfig, Precision, model_config
from .download import cache_folder
from .errors import ConfigError
from .network.sam2 import Sam2
from .shipped import own_weights
from .untrained import own_random_numbers, untrained_weights


def build_sam2(name_or_config: str | ModelConfig, *, device: str | torch.device = "cpu") -> Sam2:
    """Build a network in eval mode with random weights; those of nano are always the same."""
    place = _usable(device)
    config = model_config(name_or_config)
    if config.name == NANO.name:
        return _untrained(config).to(place)
    return Sam2(config).eval().to(place)


def load_sam2(
    name: str | ModelConfig,
    checkpoint: str | os.PathLike[str] | None = None,
    *,
    device: str | torch.device = "cpu",
    precision: Precision = "fp32",
    compile: Compile = "off",  # noqa: A002 the word that torch uses for it
) -> Sam2:
    """Build a network with the weights of a path or URL, or else with the published ones.

    Those of nano come with the package.

    `compile="encoder"` compiles what all uses share, "full" also decoder and memory. Batches are
    filled up to powers of two, so that few shapes occur; only memory attention takes objects and
    lengths as they come, because filling it up would cost whole objects.

    Programs are kept beside downloaded weights, so that the next process starts with them; the
    variable TORCHINDUCTOR_CACHE_DIR, where it is set, names another folder, such as one that nodes
    share.
    """
    _check_choice("precision", precision, get_args(Precision))
    _check_choice("compile", compile, get_args(Compile))
    place = _usable(device)
    config = model_config(name)
    weights = read_weights(own_weights(config.name) if checkpoint is None else checkpoint)
    model = _blank(config)
    pour(weights, model)
    model.to(place)
    if precision == "fp32" and compile == "off":
        return model
    from .inference.compilation import prepare

    programs = cache_folder() / "programs"
    return prepare(model, precision=precision, compile=compile, programs=programs)


def _usable(device: str | torch.device) -> torch.device:
    """The device, if this machine has it; said before weights are fetched."""
    try:
        place = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ConfigError(f"device={device!r}: write 'cpu', 'cuda' or 'cuda:1'.") from error
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if place.type == "cuda" and (place.index or 0) >= count:
        raise ConfigError(
            f"device={str(place)!r}: torch sees {count} GPUs here. Write device='cpu', or look at "
            "nvidia-smi and at CUDA_VISIBLE_DEVICES."
        )
    try:
        torch.empty(0, device=place)
    except Exception as error:
        # Every kind of device has its own way of not being there.
        raise ConfigError(
            f"device={str(place)!r}: this torch finds no such device. Write device='cpu', or "
            "install a torch that is made for it."
        ) from error
    return place


def _blank(config: ModelConfig) -> Sam2:
    """Build on the CPU whatever the default device, and use nobody's random numbers."""
    with own_random_numbers(), torch.device("cpu"):
        return Sam2(config).eval()


def _untrained(config: ModelConfig) -> Sam2:
    model = _blank(config)
    if replace(config, image_size=NANO.image_size) == NANO:  # other shapes are merely random
        model.load_state_dict(untrained_weights())
    return model


def _check_choice(setting: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ConfigError(f"{setting}={value!r}: write one of {', '.join(map(repr, allowed))}.")
