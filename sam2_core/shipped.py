"""Weights that come with the package -> their file; all others are published, and downloaded."""

from __future__ import annotations

from pathlib import Path

from .download import PUBLISHED, published_checkpoint

SHIPPED = {  # SHA-256 of every file; jobs/training/ship.py writes them
    "nano": "6e0439f573921e5dab433970db846e46d468da1851086a4f70d8fa1d6bf9a192",
}


def known_digest(name: str) -> str | None:
    """The digest of the weights that a model has without a checkpoint, if there are any."""
    return SHIPPED.get(name) or PUBLISHED.get(name)


def own_weights(name: str) -> Path:
    """The file of weights that a model has without a checkpoint, fetched if need be."""
    if name in SHIPPED:
        return Path(__file__).parent / "weights" / f"{name}.safetensors"
    return published_checkpoint(name)
