"""A name or a config -> a network that is ready to use, with random or with loaded weights."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import get_args

import torch

from .checkpoint import Weights, pour, read_weights
from .config import Compile, ModelConfig, Precision, model_config
from .download import cache_folder, published_checkpoint
from .errors import ConfigError
from .network.sam2 import Sam2

_UNTRAINED = "nano"  # no file is published for it, so its weights are drawn, always the same
_SEED = 21


def build_sam2(name_or_config: str | ModelConfig, *, device: str | torch.device = "cpu") -> Sam2:
    """Build a network in eval mode with random weights; those of nano are the same everywhere."""
    config = model_config(name_or_config)
    if config.name == _UNTRAINED:
        return _build_alike(config).to(device)
    return Sam2(config).eval().to(device)


def load_sam2(
    name: str | ModelConfig,
    checkpoint: str | os.PathLike[str] | None = None,
    *,
    device: str | torch.device = "cpu",
    precision: Precision = "fp32",
    compile: Compile = "off",  # noqa: A002 the word that torch uses for it
) -> Sam2:
    """Build a network with the weights of a path or URL, or else with the published ones.

    `compile="encoder"` compiles what all uses share, "full" also decoder and memory. Programs are
    kept beside downloaded weights, so that the next process starts with them; the variable
    TORCHINDUCTOR_CACHE_DIR, where it is set, names another folder, such as one that nodes share.
    """
    _check_choice("precision", precision, get_args(Precision))
    _check_choice("compile", compile, get_args(Compile))
    config = model_config(name)
    weights = _weights_of(config, checkpoint)
    model = _build_alike(config)
    if weights is not None:
        pour(weights, model)
    model.to(device)
    if precision == "fp32" and compile == "off":
        return model
    from .inference.compilation import prepare

    programs = cache_folder() / "programs"
    return prepare(model, precision=precision, compile=compile, programs=programs)


def _weights_of(config: ModelConfig, checkpoint: str | os.PathLike[str] | None) -> Weights | None:
    if checkpoint is not None:
        return read_weights(checkpoint)
    if config.name == _UNTRAINED:
        return None
    return read_weights(published_checkpoint(config.name))


def _build_alike(config: ModelConfig) -> Sam2:
    """Build the same weights in every process, and leave everybody's random numbers alone."""
    with _own_random_numbers(), torch.device("cpu"):
        return Sam2(config).eval()


@contextmanager
def _own_random_numbers() -> Iterator[None]:
    # torch.manual_seed would seed the accelerators too, which nothing here restores.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(_SEED)
        yield


def _check_choice(setting: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ConfigError(f"{setting}={value!r}: write one of {', '.join(map(repr, allowed))}.")
