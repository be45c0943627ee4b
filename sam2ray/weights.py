"""The digest of a job's weights, without which results cannot be told apart."""

from __future__ import annotations

from sam2_core.checkpoint_files import digest_of_files, local_checkpoint
from sam2_core.download import PUBLISHED

from .config import JobConfig
from .config_id import UNTRAINED


def weights_digest(config: JobConfig) -> str:
    """SHA-256 of the checkpoint; of a published one without fetching it."""
    if config.model.checkpoint is not None:
        return digest_of_files(local_checkpoint(config.model.checkpoint))
    return PUBLISHED.get(config.model.name, UNTRAINED)
