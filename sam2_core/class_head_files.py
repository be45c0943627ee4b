"""Heads of classes as safetensors files: weights, and in the header what they mean and belong to.

A file may come from anywhere: sizes are judged before anything is read or made, and what does not
belong to the model is refused with what to do about it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .checkpoint_files import local_checkpoint
from .download import shown
from .errors import CheckpointMismatch, CheckpointUnreadable, ConfigError
from .inference.settings import require_model
from .network.class_head import ClassHead, HeadConfig
from .network.encoder_digest import encoder_digest
from .network.sam2 import Sam2

FORMAT = "sam2ray class head 1"
_FORMAT_KEY, _CONFIG_KEY = "format", "head"
_MOST_BYTES = 256 << 20  # the widest head has a third of it
_MOST_HEADER_BYTES = 1 << 20
_LENGTH_BYTES = 8  # of the header, in front of it
_DIGITS = 12  # of digests in messages

FilePath = str | os.PathLike[str]


def class_head_bytes(head: ClassHead) -> bytes:
    """A head as a file, the same bytes for the same head."""
    from safetensors.torch import save

    tensors = {
        name: weight.detach().to("cpu", torch.float32).contiguous()
        for name, weight in head.state_dict().items()
    }
    config = {_FORMAT_KEY: FORMAT, **asdict(head.config)}
    # One key: of several safetensors writes any first.
    return save(tensors, {_CONFIG_KEY: json.dumps(config, sort_keys=True)})


def save_class_head(head: ClassHead, path: FilePath) -> None:
    """Write a head's file, in one step."""
    target = Path(path)
    part = target.with_name(f"{target.name}.{os.getpid()}.part")
    try:
        part.write_bytes(class_head_bytes(head))
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def read_head_config(source: FilePath) -> HeadConfig:
    """What the header of a head's file says; `source` is a path or URL."""
    name = shown(os.fspath(source))
    return _config_in(_header_of(_content_of(local_checkpoint(source), name), name), name)


def load_class_head(source: FilePath, model: Sam2) -> ClassHead:
    """The head in a file, path or URL, which must belong to this model and its weights."""
    require_model(model)
    name = shown(os.fspath(source))
    content = _content_of(local_checkpoint(source), name)
    config = _config_in(_header_of(content, name), name)
    refuse_another_model(config, model.config.name, model.config.image_size, name)
    refuse_another_encoder(config, encoder_digest(model), name)
    with torch.device("meta"):  # no random numbers are drawn for weights that are here
        head = ClassHead(config, model.config.hidden_dim)
    tensors = _tensors_in(content, name)
    _refuse_other_tensors(tensors, head.state_dict(), name)
    head.load_state_dict(tensors, assign=True)
    return head.eval().to(model.device)


# ---------------------------------------------------------------- reading


def _content_of(path: Path, name: str) -> bytes:
    try:
        size = path.stat().st_size
        if size <= _MOST_BYTES:
            return path.read_bytes()
    except FileNotFoundError as error:
        raise CheckpointUnreadable(f"{name}: no such file (looked from {Path.cwd()}).") from error
    except OSError as error:
        raise CheckpointUnreadable(f"{name}: cannot be opened: {error.strerror}.") from error
    raise CheckpointUnreadable(
        f"{name}: has {size:,} bytes, and no head of classes has more than {_MOST_BYTES:,}. "
        "Name the file that a training wrote beside its weights, such as best_head.safetensors."
    )


def _header_of(content: bytes, name: str) -> Mapping[str, Any]:
    """The header of a safetensors file, read by hand: its length is judged before it is parsed."""
    length = int.from_bytes(content[:_LENGTH_BYTES], "little")
    if len(content) < _LENGTH_BYTES or content[_LENGTH_BYTES : _LENGTH_BYTES + 1] != b"{":
        raise CheckpointUnreadable(
            f"{name}: is no safetensors file. Name the file of a head, such as "
            "best_head.safetensors; weights of a model are another setting."
        )
    if length > _MOST_HEADER_BYTES or _LENGTH_BYTES + length > len(content):
        raise CheckpointUnreadable(
            f"{name}: is cut off or damaged: its header should have {length:,} bytes. Copy it "
            "again."
        )
    try:
        header = json.loads(content[_LENGTH_BYTES : _LENGTH_BYTES + length])
    except (ValueError, RecursionError) as error:
        raise CheckpointUnreadable(f"{name}: its header is damaged ({error}).") from error
    assert isinstance(header, dict), "it starts with a brace"
    return header


def _config_in(header: Mapping[str, Any], name: str) -> HeadConfig:
    metadata = header.get("__metadata__")
    given = _mapping(metadata.get(_CONFIG_KEY) if isinstance(metadata, dict) else None)
    if given.pop(_FORMAT_KEY, None) != FORMAT:
        raise CheckpointUnreadable(
            f"{name}: holds no head of classes (its header does not say {FORMAT!r}). Name the file "
            "that a training wrote beside its weights, such as best_head.safetensors."
        )
    wanted = {field.name for field in fields(HeadConfig)}
    if set(given) != wanted:
        raise CheckpointUnreadable(
            f"{name}: its header must say {', '.join(sorted(wanted))}, and says "
            f"{', '.join(sorted(given)) or 'nothing'}."
        )
    if isinstance(given["classes"], list):
        given["classes"] = tuple(given["classes"])
    try:
        return HeadConfig(**given)
    except ConfigError as error:
        raise CheckpointUnreadable(f"{name}: its header makes no sense: {error}") from error


def _mapping(text: object) -> dict[str, Any]:
    """A JSON object in a text; of anything else an empty one."""
    try:
        content = json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        content = None
    return content if isinstance(content, dict) else {}


def _tensors_in(content: bytes, name: str) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        return {key: tensor.clone() for key, tensor in load(content).items()}
    except (SafetensorError, ValueError, KeyError) as error:
        raise CheckpointUnreadable(f"{name}: is cut off or damaged ({error}).") from error


# ---------------------------------------------------------------- what belongs together


def refuse_another_model(config: HeadConfig, model: str, image_size: int, name: str) -> None:
    """Refuse a head of another model, or of one that sees another size."""
    if config.model != model:
        raise CheckpointMismatch(
            f"{name}: this head belongs to {config.model}, and the model is {model}. Use it with "
            f"{config.model} (--model), or train a head for {model}."
        )
    if config.image_size != image_size:
        raise CheckpointMismatch(
            f"{name}: this head was trained at {config.image_size} px, and the model sees "
            f"{image_size} px. Give the model image_size={config.image_size} "
            f"(--set model.image_size={config.image_size}), or train a head at {image_size} px."
        )


def refuse_another_encoder(config: HeadConfig, found: str, name: str) -> None:
    """Refuse a head that learned on another encoder than the one with this digest."""
    if found != config.encoder_sha256:
        raise CheckpointMismatch(
            f"{name}: this head belongs to other weights of {config.model}: it learned on an "
            f"encoder with SHA-256 {config.encoder_sha256[:_DIGITS]}..., and this one has "
            f"{found[:_DIGITS]}.... Load the weights that lie beside it (--checkpoint; best.pt "
            "with best_head, last.pt with last_head), or train a head for these."
        )


def _refuse_other_tensors(
    tensors: Mapping[str, Tensor], own: Mapping[str, Tensor], name: str
) -> None:
    complaints = [f"{key} is missing" for key in own if key not in tensors]
    complaints += [f"{key} is unknown" for key in tensors if key not in own]
    for key in own.keys() & tensors.keys():
        tensor = tensors[key]
        if tensor.shape != own[key].shape or tensor.dtype != torch.float32:
            complaints.append(
                f"{key} is {list(tensor.shape)} of {str(tensor.dtype).removeprefix('torch.')} "
                f"instead of {list(own[key].shape)} of float32"
            )
        elif not bool(tensor.isfinite().all()):
            complaints.append(f"{key} holds NaN or infinity")
    if complaints:
        more = f", and {len(complaints) - 3} more" if len(complaints) > 3 else ""
        raise CheckpointMismatch(
            f"{name}: its weights are not those that its header speaks of: "
            f"{', '.join(sorted(complaints)[:3])}{more}. Copy it again, or export it again."
        )
