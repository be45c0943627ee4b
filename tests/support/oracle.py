"""The reference package as an oracle: built at small sizes, with the same weights as our model."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import io
import logging
import sys
import types
import warnings
from collections.abc import Iterator, Sequence
from typing import Any
from unittest import mock

import numpy as np
import torch
from recipe import lively_state
from scipy import ndimage

from sam2_core.checkpoint_names import OFFICIAL, OURS, rename
from sam2_core.config import RELEASED, ModelConfig
from sam2_core.network.sam2 import Sam2

_YAML = {"tiny": "t", "small": "s", "base_plus": "b+", "large": "l"}


def yaml_of(name: str) -> str:
    """Name of the reference's configuration file for a released model."""
    family, size = name.split("_hiera_")
    return f"configs/{family}/{family}_hiera_{_YAML[size]}.yaml"


def overrides_for(config: ModelConfig) -> list[str]:
    """What makes the reference build a model of this shape."""
    side = config.coarse_size
    attention = "++model.memory_attention.layer"
    return [
        f"++model.image_size={config.image_size}",
        f"{attention}.self_attention.feat_sizes=[{side},{side}]",
        f"{attention}.cross_attention.feat_sizes=[{side},{side}]",
    ]


def shape_overrides(config: ModelConfig) -> list[str]:
    """What turns the reference's base_plus into a model of any other shape, nano's for one."""
    dim, memory = config.hidden_dim, config.memory_dim
    trunk, neck = "++model.image_encoder.trunk", "++model.image_encoder.neck"
    layer = "++model.memory_attention.layer"
    settings: dict[str, Any] = {
        f"{trunk}.embed_dim": config.embed_dim,
        f"{trunk}.num_heads": config.heads,
        f"{trunk}.stages": list(config.stages),
        f"{trunk}.global_att_blocks": list(config.global_blocks),
        f"{trunk}.window_spec": list(config.windows),
        f"{trunk}.window_pos_embed_bkg_spatial_size": [config.position_grid] * 2,
        f"{neck}.d_model": dim,
        f"{neck}.backbone_channel_list": list(config.stage_dims[::-1]),
        f"{neck}.position_encoding.num_pos_feats": dim,
        "++model.num_maskmem": config.max_memories,
        "++model.memory_attention.d_model": dim,
        "++model.memory_attention.num_layers": config.memory_layers,
        f"{layer}.d_model": dim,
        f"{layer}.dim_feedforward": config.memory_mlp_dim,
        f"{layer}.self_attention.embedding_dim": dim,
        f"{layer}.cross_attention.embedding_dim": dim,
        f"{layer}.cross_attention.kv_in_dim": memory,
        "++model.memory_encoder.out_dim": memory,
        "++model.memory_encoder.in_dim": dim,
        "++model.memory_encoder.mask_downsampler.embed_dim": dim,
        "++model.memory_encoder.fuser.layer.dim": dim,
        "++model.memory_encoder.position_encoding.num_pos_feats": memory,
    }
    return [f"{key}={value}".replace(" ", "") for key, value in settings.items()]


def reference_model(
    config: ModelConfig,
    *,
    video: bool = False,
    postprocess: bool = True,
    extra: Sequence[str] = (),
) -> Any:
    """The reference's model of this shape, with weights of its own.

    A video model's memory attention is given float memories: without autocast the reference stops
    with a dtype error where only bfloat16 memories are attended.
    """
    from sam2.build_sam import build_sam2, build_sam2_video_predictor

    build = build_sam2_video_predictor if video else build_sam2
    released = config.name in RELEASED and config.name != "nano"
    overrides = overrides_for(config) + ([] if released else shape_overrides(config))
    name = config.name if released else f"sam{config.version.replace('2.0', '2')}_hiera_base_plus"
    with quiet():
        model = build(
            yaml_of(name),
            device="cpu",
            hydra_overrides_extra=[*overrides, *extra],
            apply_postprocessing=postprocess,
        )
    if video:
        attend = model.memory_attention.forward
        model.memory_attention.forward = lambda **inputs: attend(
            **{**inputs, "memory": inputs["memory"].float()}
        )
    return model.eval()


def twins(
    config: ModelConfig,
    *,
    video: bool = False,
    postprocess: bool = True,
    seed: int = 0,
    object_lift: float = 0.3,
    extra: Sequence[str] = (),
) -> tuple[Sam2, Any]:
    """Our model and the reference's, with the same lively weights."""
    reference = reference_model(config, video=video, postprocess=postprocess, extra=extra)
    shapes = {key: value.shape for key, value in reference.state_dict().items()}
    state = lively_state(shapes, seed, object_lift)
    reference.load_state_dict(state)
    return loaded(config, state), reference


def loaded(config: ModelConfig, state: dict[str, torch.Tensor]) -> Sam2:
    """Our model with weights under their official names."""
    model = Sam2(config).eval()
    names = rename(state, OFFICIAL, OURS)
    model.load_state_dict({names[key]: value for key, value in state.items()})
    return model


def small(name: str, image_size: int) -> ModelConfig:
    """A released model at another size."""
    return dataclasses.replace(RELEASED[name], image_size=image_size)


def image_predictor(reference: Any, **settings: Any) -> Any:
    """The reference's image predictor, told the feature sizes that it hard-codes for 1024 px."""
    from sam2.sam2_image_predictor import SAM2ImagePredictor

    with quiet():
        predictor = SAM2ImagePredictor(reference, **settings)
    side = reference.image_size // 16
    predictor._bb_feat_sizes = [(4 * side,) * 2, (2 * side,) * 2, (side, side)]
    return predictor


def mask_generator(reference: Any, **settings: Any) -> Any:
    """The reference's generator of all masks, at any size."""
    from sam2.automatic_mask_generator import SAM2AutomaticMaskGenerator

    with quiet():
        generator = SAM2AutomaticMaskGenerator(reference, **settings)
    side = reference.image_size // 16
    generator.predictor._bb_feat_sizes = [(4 * side,) * 2, (2 * side,) * 2, (side, side)]
    return generator


def records_with_logits(generator: Any, picture: np.ndarray) -> list[tuple[Any, torch.Tensor]]:
    """The reference's masks, each beside its crop's logits at full size, which it throws away."""
    module = importlib.import_module("sam2.automatic_mask_generator")
    kept: list[torch.Tensor] = []

    class KeepsLogits(module.MaskData):
        def __setitem__(self, key: str, item: Any) -> None:
            is_cut = key == "masks" and item.dtype == torch.bool
            if is_cut and "logits" not in self._stats:
                super().__setitem__("logits", [logits.clone() for logits in self["masks"]])
            super().__setitem__(key, item)

    def generate(image: np.ndarray) -> Any:
        data = type(generator)._generate_masks(generator, image)
        kept.extend(data["logits"])
        return data

    with (
        mock.patch.object(module, "MaskData", KeepsLogits),
        mock.patch.object(generator, "_generate_masks", generate),
    ):
        records = generator.generate(picture)
    return list(zip(records, kept, strict=True))


def lend_components() -> None:
    """Give the reference the connected components that its CUDA extension would compute."""
    module = types.ModuleType("sam2._C")
    module.get_connected_componnets = _components  # type: ignore[attr-defined] # its own spelling
    sys.modules["sam2._C"] = module
    importlib.import_module("sam2")._C = module  # type: ignore[attr-defined]


def _components(masks: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    labels = np.zeros(masks.shape, dtype=np.int32)
    areas = np.zeros(masks.shape, dtype=np.int32)
    for i, mask in enumerate(masks[:, 0].numpy()):
        found, _ = ndimage.label(mask, structure=np.ones((3, 3)))
        sizes = np.bincount(found.ravel())
        sizes[0] = 0
        labels[i, 0], areas[i, 0] = found, sizes[found]
    return torch.from_numpy(labels), torch.from_numpy(areas)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence the reference's progress bars, logs and warnings."""
    logging.disable(logging.INFO)
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        yield
    logging.disable(logging.NOTSET)
