"""A job's head of classes: where it is on a machine, its digest, and whether it suits the job."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path

from sam2_core import HeadConfig, build_sam2, encoder_digest, read_head_config
from sam2_core.checkpoint import read_weights
from sam2_core.checkpoint_files import digest_of_files, local_checkpoint
from sam2_core.class_head_files import refuse_another_encoder, refuse_another_model
from sam2_core.download import PUBLISHED, cache_folder
from sam2_core.network.encoder_digest import digest_of_encoder

from .config import JobConfig
from .config_section import public_uri
from .errors import UsageError
from .file_systems import options_of, protocol_of
from .weights import local_weights, refuse_another_file


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
    """SHA-256 of the head, without which results cannot be told apart; None without a head.

    A head of other weights is refused; published ones that are not here are not fetched to know.
    """
    told, found = head_config(config), local_head(config)
    if told is None or found is None:
        return None
    encoder = _encoder_here(config)
    if encoder is not None:
        refuse_another_encoder(told, encoder, public_uri(config.semantic.head or ""))
    return digest_of_files(found)


def _encoder_here(config: JobConfig) -> str | None:
    """The digest of the encoder that the job will have, if its weights are on this machine."""
    path = local_weights(config)
    if path is None and config.model.name not in PUBLISHED:
        return encoder_digest(build_sam2(config.model.row()))
    if path is None:
        path = cache_folder() / f"{config.model.name}.pt"
        if not path.exists():
            return None
    return digest_of_encoder(read_weights(path).tensors)


def checked_head(config: JobConfig, recorded: str | None) -> Path | None:
    """The head on this machine, which must be the one that results are recorded under."""
    found = local_head(config)
    if found is None:
        return None
    refuse_another_file(found, recorded, "head", "semantic.head")
    return found
