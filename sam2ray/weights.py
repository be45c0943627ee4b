"""A job's weights: where they are on a machine, their digest, and whether they are the same."""

from __future__ import annotations

import socket
from pathlib import Path

from sam2_core.checkpoint_files import digest_of_files, local_checkpoint
from sam2_core.shipped import known_digest, own_weights

from .config import JobConfig
from .errors import UsageError
from .file_systems import options_of, protocol_of


def local_weights(config: JobConfig) -> Path | None:
    """The checkpoint, fetched once a machine; None: the model's own."""
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
    known = known_digest(config.model.name)
    assert known is not None, "every name that a config may have has weights"
    return known


def checked_weights(config: JobConfig, recorded: str) -> Path:
    """The checkpoint on this machine, which must be the one that results are recorded under.

    A path may mean another file on each machine, and a file may change while a run lasts.
    """
    found = local_weights(config) or own_weights(config.model.name)
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
