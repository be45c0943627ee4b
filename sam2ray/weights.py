"""A job's weights: where they are on a machine, their digest, and whether they are the same."""

from __future__ import annotations

import socket
from pathlib import Path

from sam2_core.checkpoint_files import digest_of_files, local_checkpoint
from sam2_core.download import PUBLISHED, published_checkpoint

from .config import JobConfig
from .config_id import UNTRAINED
from .errors import UsageError
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


def checked_weights(config: JobConfig, recorded: str) -> Path | None:
    """The checkpoint on this machine, which must be the one that results are recorded under.

    A path may mean another file on each machine, and a file may change while a run lasts.
    """
    found = local_weights(config)
    if found is None and config.model.name in PUBLISHED:
        found = published_checkpoint(config.model.name)
    if found is None:
        return None
    refuse_another_file(found, recorded, "checkpoint", "model.checkpoint")
    return found


def refuse_another_file(found: Path, recorded: str | None, what: str, setting: str) -> None:
    """UsageError if a file of this machine is not the one that a run began with."""
    here = digest_of_files(found)
    if here != recorded:
        raise UsageError(
            f"{found}: on machine {socket.gethostname()} this is another {what} (SHA-256 {here}) "
            f"than the run began with ({recorded}). Put the same file there, or set {setting} to "
            "an address that all machines read, and run the same command again."
        )
