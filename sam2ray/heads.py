"""A job's head of classes: where it is on a machine, its digest, and whether it suits the job."""

from __future__ import annotations

import socket
from difflib import get_close_matches
from pathlib import Path

from sam2_core import HeadConfig, read_head_config
from sam2_core.checkpoint_files import digest_of_files, local_checkpoint
from sam2_core.class_head_files import refuse_another_model

from .config import JobConfig
from .config_section import public_uri
from .errors import UsageError
from .file_systems import options_of, protocol_of


def local_head(config: JobConfig) -> Path | None:
    """The file of the head, fetched once a machine; None in modes that need none."""
    head = config.semantic.head
    if config.mode != "semantic" or head is None:
        return None
    options = options_of(protocol_of(head), config.store_options())
    return local_checkpoint(head, options=options)


def head_config(config: JobConfig) -> HeadConfig | None:
    """What the head answers; refuses one of another model, and classes that it has not."""
    found = local_head(config)
    if found is None:
        return None
    assert config.semantic.head is not None
    told, row = read_head_config(found), config.model.row()
    refuse_another_model(told, row.name, row.image_size, public_uri(config.semantic.head))
    skipped_classes(config, told)
    return told


def skipped_classes(config: JobConfig, head: HeadConfig) -> frozenset[int]:
    """Ids of the classes that give no rows."""
    skip = config.semantic.skip
    if skip is None:
        return frozenset() if head.ground_id is None else frozenset({head.ground_id})
    for name in skip:
        if name not in head.classes:
            near = get_close_matches(name, head.classes, n=1)
            hint = f"did you mean {near[0]}?" if near else f"it has {', '.join(head.classes):.200}."
            raise UsageError(f"semantic.skip={name}: the head has no such class; {hint}")
    return frozenset(head.classes.index(name) for name in skip)


def head_digest(config: JobConfig) -> str | None:
    """SHA-256 of the head, without which results cannot be told apart; None without a head."""
    if head_config(config) is None:
        return None
    found = local_head(config)
    assert found is not None
    return digest_of_files(found)


def checked_head(config: JobConfig, recorded: str | None) -> Path | None:
    """The head on this machine, which must be the one that results are recorded under."""
    found = local_head(config)
    if found is None:
        return None
    here = digest_of_files(found)
    if here != recorded:
        raise UsageError(
            f"{found}: on machine {socket.gethostname()} this is another head (SHA-256 {here}) "
            f"than the run began with ({recorded}). Put the same file there, or set semantic.head "
            "to an address that all machines read, and run the same command again."
        )
    return found
