"""Weights under official, Hugging Face or our own names -> the network, and back; strict both ways.

Which name means what is in checkpoint_names.py; files are read by checkpoint_files.py.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from .checkpoint_files import State, local_checkpoint, read_state, unwrap
from .checkpoint_names import HUGGING_FACE, OFFICIAL, OURS, rename
from .config import RELEASED, ModelConfig, Version
from .download import shown
from .errors import CheckpointMismatch, CheckpointUnreadable
from .inference.settings import require_model
from .network.encoder_digest import digest_of_encoder
from .network.sam2 import Sam2

_POINT_KINDS = "prompt_encoder.point_embed"  # Hugging Face keeps four rows in one tensor,
_FREQUENCIES = "shared_image_embedding.positional_embedding"  # and one tensor under two names
_FREQUENCIES_TWIN = "prompt_encoder.shared_embedding.positional_embedding"

_ONLY_FOR_VIDEO = ("memory_attention.", "memory_encoder.", "object_pointer.", "temporal_encoding")
_ONLY_IN_2_1 = ("absent_memory", "object_pointer.project_age.")
_READABLE = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
_NAMED_AT_MOST = 3  # keys in a message; the rest is counted


@dataclass(frozen=True, slots=True, eq=False)
class Weights:
    """What a checkpoint holds: tensors under our names, and how the checkpoint spells them."""

    origin: str
    layout: int  # a column of the table of names
    tensors: State
    spelling: dict[str, str]
    unknown: tuple[str, ...]  # keys that no SAM 2 has


@dataclass(frozen=True, slots=True)
class Traits:
    """What tells the released models apart in their weights alone."""

    version: Version | None
    embed_dim: int
    blocks: int
    hidden_dim: int


def load_checkpoint(
    model: Sam2, path_or_state_dict: str | os.PathLike[str] | Mapping[str, object]
) -> None:
    """Copy weights into the model, cast to its dtype and device; all of them or none."""
    require_model(model)
    pour(read_weights(path_or_state_dict), model)


def pour(weights: Weights, model: Sam2) -> None:
    """Put weights into the model once they are known to be the right ones."""
    check_weights(weights, model)
    with torch.no_grad():
        for name, target in model.state_dict().items():
            target.copy_(weights.tensors[name])
    if model.encoder_sha256 is not None:
        model.encoder_sha256 = digest_of_encoder(weights.tensors)


def export_checkpoint(model: Sam2) -> dict[str, State]:
    """The weights as an official checkpoint, in fp32 on the CPU: torch.save makes it a file."""
    require_model(model)
    own = model.state_dict()
    official = rename(own, OURS, OFFICIAL)
    assert len(official) == len(own)
    return {
        "model": {
            official[name]: tensor.to("cpu", torch.float32, copy=True).contiguous()
            for name, tensor in own.items()
        }
    }


def read_weights(path_or_state_dict: str | os.PathLike[str] | Mapping[str, object]) -> Weights:
    """Read a file, a folder, a URL or a state dict, and translate its names to ours."""
    if isinstance(path_or_state_dict, Mapping):
        origin = "the state dict"
        return translate(unwrap(path_or_state_dict, origin), origin)
    if not isinstance(path_or_state_dict, str | os.PathLike):
        kind = type(path_or_state_dict).__name__
        raise CheckpointUnreadable(f"A checkpoint is a path, a URL or a state dict, not a {kind}.")
    path = local_checkpoint(path_or_state_dict)
    return translate(read_state(path), shown(os.fspath(path_or_state_dict)))


def translate(state: State, origin: str) -> Weights:
    """Recognise whose names these are, and put ours in their place."""
    evened = _even_out(state, origin)
    ours_by_layout = {
        layout: rename(keys, layout, OURS)
        for layout, keys in ((OFFICIAL, state), (HUGGING_FACE, evened), (OURS, state))
    }
    layout = max(ours_by_layout, key=lambda layout: len(ours_by_layout[layout]))
    ours = ours_by_layout[layout]
    source = evened if layout == HUGGING_FACE else state
    if not ours:
        raise CheckpointMismatch(
            f"{origin}: none of its {len(state)} keys {_some(state)} is one of a SAM 2 model."
        )
    return Weights(
        origin,
        layout,
        tensors={name: source[key] for key, name in ours.items()},
        spelling={name: key for key, name in ours.items()},
        unknown=tuple(key for key in source if key not in ours),
    )


def _even_out(state: State, origin: str) -> State:
    """Give what Hugging Face stores in its own way the shape that all others share."""
    evened = dict(state)
    rows = evened.pop(f"{_POINT_KINDS}.weight", None)
    if rows is not None and rows.ndim > 0:
        evened |= {f"{_POINT_KINDS}.{i}": row[None] for i, row in enumerate(rows)}
    twin = evened.pop(_FREQUENCIES_TWIN, None)
    if twin is not None and not torch.equal(twin, evened.setdefault(_FREQUENCIES, twin)):
        raise CheckpointMismatch(
            f"{origin}: {_FREQUENCIES} and {_FREQUENCIES_TWIN} differ, so points and pictures are "
            "encoded differently. SAM 2 has one encoding for both: make them equal."
        )
    return evened


def recognise(tensors: Mapping[str, Tensor]) -> ModelConfig | None:
    """The released model whose weights, under our names, these are; None for any other."""
    traits = _traits_of(tensors)
    for config in RELEASED.values():
        if traits == _traits_of_config(config):
            return config
    return None


def _traits_of(tensors: Mapping[str, Tensor]) -> Traits | None:
    patches = tensors.get("encoder.patches.weight")
    lateral = tensors.get("pyramid.laterals.0.weight")
    if patches is None or lateral is None or not patches.ndim or not lateral.ndim:
        return None
    blocks = sum(_is_norm_of_block(name) for name in tensors)
    return Traits(_version_of(tensors), len(patches), blocks, len(lateral))


def _is_norm_of_block(name: str) -> bool:
    return name.startswith("encoder.blocks.") and name.endswith(".norm1.weight")


def _traits_of_config(config: ModelConfig) -> Traits:
    return Traits(config.version, config.embed_dim, sum(config.stages), config.hidden_dim)


def _version_of(tensors: Iterable[str]) -> Version | None:
    """2.1 has what 2.0 lacks; None if it has only some of it."""
    names = list(tensors)
    present = [any(name.startswith(part) for name in names) for part in _ONLY_IN_2_1]
    if all(present):
        return "2.1"
    return None if any(present) else "2.0"


def check_weights(weights: Weights, model: Sam2) -> None:
    """Refuse weights that are not those of this model, whole and finite, before any is used."""
    own = model.state_dict()
    _refuse_images_only(weights)
    _refuse_another_release(weights, model.config)
    _refuse_other_keys(weights, own, model.config)
    _refuse_bad_numbers(weights)


def _refuse_images_only(weights: Weights) -> None:
    if not any(name.startswith(_ONLY_FOR_VIDEO) for name in weights.tensors):
        raise CheckpointMismatch(
            f"{weights.origin}: holds the image part of SAM 2 alone, without memory attention, "
            "memory encoder and object pointers, as Hugging Face's Sam2Model saves it. "
            "Save Sam2VideoModel instead, or use the published file."
        )


def _refuse_another_release(weights: Weights, wanted: ModelConfig) -> None:
    found = recognise(weights.tensors)
    if found is None or found.name == wanted.name:
        return
    if _traits_of_config(found) != _traits_of_config(wanted):
        raise CheckpointMismatch(
            f"{weights.origin}: these are the weights of {found.name} ({found.version}), "
            f"the model is {wanted.name} ({wanted.version}): load_sam2({found.name!r}, ...)."
        )


def _refuse_other_keys(weights: Weights, own: State, config: ModelConfig) -> None:
    missing = [_spell(name, weights) for name in own if name not in weights.tensors]
    spare = [weights.spelling[name] for name in weights.tensors if name not in own]
    shapes = [
        f"{weights.spelling[name]} {_shape(weights.tensors[name])} instead of {_shape(tensor)}"
        for name, tensor in own.items()
        if name in weights.tensors and weights.tensors[name].shape != tensor.shape
    ]
    complaints = [
        f"{len(keys)} {what} {_some(keys)}"
        for what, keys in (
            ("missing", missing),
            ("unused", [*spare, *weights.unknown]),
            ("of another shape", shapes),
        )
        if keys
    ]
    if complaints:
        raise CheckpointMismatch(
            f"{weights.origin}: not the weights of {config.name}, which has {len(own)} keys: "
            f"{'; '.join(complaints)}.{_hint(weights, config)}"
        )


def _spell(name: str, weights: Weights) -> str:
    """How the checkpoint would call a weight of ours."""
    return rename([name], OURS, weights.layout)[name]


def _hint(weights: Weights, config: ModelConfig) -> str:
    version = _version_of(weights.tensors)
    if version is not None and version != config.version:
        return (
            f" Is this a {version} file? {config.name} is {config.version}: "
            f"dataclasses.replace(config, version={version!r}) fits it."
        )
    return " Build the model from the config that it was trained with."


def _refuse_bad_numbers(weights: Weights) -> None:
    bad = {
        weights.spelling[name]: complaint
        for name, tensor in weights.tensors.items()
        if (complaint := _complaint_about(tensor))
    }
    if bad:
        raise CheckpointMismatch(
            f"{weights.origin}: {len(bad)} of {len(weights.tensors)} weights cannot be used "
            f"{_some(f'{key}: {complaint}' for key, complaint in bad.items())}. Take an earlier "
            "checkpoint of that training, or export it in fp32."
        )


def _complaint_about(tensor: Tensor) -> str | None:
    if tensor.is_meta or tensor.layout != torch.strided:
        return "holds no plain numbers"
    if tensor.dtype not in _READABLE:
        return f"is {str(tensor.dtype).removeprefix('torch.')}"
    # The two ends of the range tell: one pass, and no mask as large as the weights.
    ends = torch.stack(torch.aminmax(tensor))
    return None if ends.isfinite().all() else "holds NaN or infinity"


def _some(items: Iterable[str]) -> str:
    """A few of the items in brackets, and how many more there are."""
    listed = list(items)
    rest = len(listed) - _NAMED_AT_MOST
    more = f", and {rest} more" if rest > 0 else ""
    return f"({', '.join(listed[:_NAMED_AT_MOST])}{more})"


def _shape(tensor: Tensor) -> str:
    return "×".join(map(str, tensor.shape)) or "scalar"
