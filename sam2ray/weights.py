"""A job's weights: where they are on this machine, and their digest."""

from __future__ import annotations

from pathlib import Path

from sam2_core.checkpoint_files import digest_of_files, local_checkpoint
from sam2_core.download import PUBLISHED

from .config import JobConfig
from .config_id import UNTRAINED
from .file_systems import options_of, protocol_of


def local_weights(config: JobConfig) -> Path | None:
    """The checkpoint, fetched once a machine; None: the published one."""
    checkpoint = config.model.checkpoint
    if checkpoint is None:
        return None
    options = options_of(protocol_of(checkpoint), config.store_options())
    return local_checkpoint(checkpoint, options=options)


def weights_digest(config: JobConfig) -> str:
    """SHA-256 of the checkpoint, without which results cannot be told apart.

    A published one is not fetched for it.
    """
    found = local_weights(config)
    if found is not None:
        return digest_of_files(found)
    return PUBLISHED.get(config.model.name, UNTRAINED)
