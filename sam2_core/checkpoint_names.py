"""One table of what every weight is called: here, in official files, in Hugging Face files.

A row names a piece of the network; what follows it in a key (".weight", ".bias") is the same
everywhere, and `{}` stands for the same number in all columns. Inverses are derived, never written.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache

_ATTENTION = {
    "query": ("q_proj", "q_proj"),
    "key": ("k_proj", "k_proj"),
    "value": ("v_proj", "v_proj"),
    "out": ("out_proj", "o_proj"),
}
_MLP2 = {"layers.0": ("layers.0", "proj_in"), "layers.1": ("layers.1", "proj_out")}
_MLP3 = {
    "layers.0": ("layers.0", "proj_in"),
    "layers.1": ("layers.1", "layers.0"),
    "layers.2": ("layers.2", "proj_out"),
}

Row = tuple[str, str, str]


def _under(ours: str, official: str, hugging: str, inner: dict[str, tuple[str, str]]) -> list[Row]:
    return [(f"{ours}.{a}", f"{official}.{b}", f"{hugging}.{c}") for a, (b, c) in inner.items()]


def _encoder() -> list[Row]:
    trunk, backbone = "image_encoder.trunk", "vision_encoder.backbone"
    block = ("encoder.blocks.{}", f"{trunk}.blocks.{{}}", f"{backbone}.blocks.{{}}")
    return [
        ("encoder.patches", f"{trunk}.patch_embed.proj", f"{backbone}.patch_embed.projection"),
        ("encoder.position", f"{trunk}.pos_embed", f"{backbone}.pos_embed"),
        ("encoder.window_position", f"{trunk}.pos_embed_window", f"{backbone}.pos_embed_window"),
        *_under(
            *block,
            {
                "norm1": ("norm1", "layer_norm1"),
                "norm2": ("norm2", "layer_norm2"),
                "attention.qkv": ("attn.qkv", "attn.qkv"),
                "attention.out": ("attn.proj", "attn.proj"),
                "widen": ("proj", "proj"),
            },
        ),
        *_under(*(f"{name}.mlp" for name in block), inner=_MLP2),
        # Levels are numbered from the finest here, from the coarsest there.
        *(
            (
                f"pyramid.laterals.{level}",
                f"image_encoder.neck.convs.{3 - level}.conv",
                f"vision_encoder.neck.convs.{3 - level}",
            )
            for level in range(4)
        ),
        ("pyramid.to_fine", "sam_mask_decoder.conv_s0", "mask_decoder.conv_s0"),
        ("pyramid.to_middle", "sam_mask_decoder.conv_s1", "mask_decoder.conv_s1"),
    ]


def _prompts() -> list[Row]:
    ours, official, hugging = "prompt_encoder", "sam_prompt_encoder", "prompt_encoder"
    gaussian = "positional_encoding_gaussian_matrix"
    masks = {
        "halve1": ("0", "conv1"),
        "norm1": ("1", "layer_norm1"),
        "halve2": ("3", "conv2"),
        "norm2": ("4", "layer_norm2"),
        "out": ("6", "conv3"),
    }
    return [
        (
            f"{ours}.frequencies",
            f"{official}.pe_layer.{gaussian}",
            "shared_image_embedding.positional_embedding",
        ),
        (
            f"{ours}.point_kinds.{{}}",
            f"{official}.point_embeddings.{{}}.weight",
            f"{hugging}.point_embed.{{}}",
        ),
        (
            f"{ours}.not_a_point",
            f"{official}.not_a_point_embed.weight",
            f"{hugging}.not_a_point_embed.weight",
        ),
        (f"{ours}.no_mask", f"{official}.no_mask_embed.weight", f"{hugging}.no_mask_embed.weight"),
        *_under(
            f"{ours}.mask_encoder", f"{official}.mask_downscaling", f"{hugging}.mask_embed", masks
        ),
    ]


def _decoder() -> list[Row]:
    ours, official, hugging = "mask_decoder", "sam_mask_decoder", "mask_decoder"
    layer = tuple(f"{name}.transformer.layers.{{}}" for name in (ours, official, hugging))
    rows = [
        (
            f"{ours}.object_token",
            f"{official}.obj_score_token.weight",
            f"{hugging}.obj_score_token.weight",
        ),
        (f"{ours}.iou_token", f"{official}.iou_token.weight", f"{hugging}.iou_token.weight"),
        (f"{ours}.mask_tokens", f"{official}.mask_tokens.weight", f"{hugging}.mask_tokens.weight"),
        (
            f"{ours}.transformer.norm",
            f"{official}.transformer.norm_final_attn",
            f"{hugging}.transformer.layer_norm_final_attn",
        ),
        (f"{ours}.upscale1", f"{official}.output_upscaling.0", f"{hugging}.upscale_conv1"),
        (f"{ours}.upscale_norm", f"{official}.output_upscaling.1", f"{hugging}.upscale_layer_norm"),
        (f"{ours}.upscale2", f"{official}.output_upscaling.3", f"{hugging}.upscale_conv2"),
        *_under(*(f"{name}.mlp" for name in layer), inner=_MLP2),
        *_under(*layer, inner={f"norm{i}": (f"norm{i}", f"layer_norm{i}") for i in (1, 2, 3, 4)}),
    ]
    for name, there in {
        "self_attention": "self_attn",
        "read_image": "cross_attn_token_to_image",
        "write_image": "cross_attn_image_to_token",
    }.items():
        rows += _under(
            f"{layer[0]}.{name}", f"{layer[1]}.{there}", f"{layer[2]}.{there}", _ATTENTION
        )
    look = "transformer.final_attn_token_to_image"
    rows += _under(
        f"{ours}.transformer.last_look", f"{official}.{look}", f"{hugging}.{look}", _ATTENTION
    )
    for name, there in {
        "mask_weights.{}": "output_hypernetworks_mlps.{}",
        "iou_head": "iou_prediction_head",
        "object_head": "pred_obj_score_head",
    }.items():
        rows += _under(f"{ours}.{name}", f"{official}.{there}", f"{hugging}.{there}", _MLP3)
    return rows


def _memory() -> list[Row]:
    fuser = {
        "depthwise": ("dwconv", "depthwise_conv"),
        "norm": ("norm", "layer_norm"),
        "widen": ("pwconv1", "pointwise_conv1"),
        "narrow": ("pwconv2", "pointwise_conv2"),
        "scale": ("gamma", "scale"),
    }
    shrink = "memory_encoder.shrink_mask"
    official, hugging = "memory_encoder.mask_downsampler.encoder", "memory_encoder.mask_downsampler"
    layer = "memory_attention.layers.{}"
    rows = [
        (f"{shrink}.out", f"{official}.12", f"{hugging}.final_conv"),
        (
            "memory_encoder.project_pixels",
            "memory_encoder.pix_feat_proj",
            "memory_encoder.feature_projection",
        ),
        ("memory_encoder.out", "memory_encoder.out_proj", "memory_encoder.projection"),
        *_under(
            "memory_encoder.fuser.{}",
            "memory_encoder.fuser.layers.{}",
            "memory_encoder.memory_fuser.layers.{}",
            fuser,
        ),
        *_under(
            layer, layer, layer, {f"norm{i}": (f"norm{i}", f"layer_norm{i}") for i in (1, 2, 3)}
        ),
        (f"{layer}.widen", f"{layer}.linear1", f"{layer}.linear1"),
        (f"{layer}.narrow", f"{layer}.linear2", f"{layer}.linear2"),
        ("memory_attention.norm", "memory_attention.norm", "memory_attention.layer_norm"),
    ]
    for i in range(4):
        rows.append((f"{shrink}.convs.{i}", f"{official}.{3 * i}", f"{hugging}.layers.{i}.conv"))
        rows.append(
            (f"{shrink}.norms.{i}", f"{official}.{3 * i + 1}", f"{hugging}.layers.{i}.layer_norm")
        )
    for name, there in {
        "self_attention": "self_attn",
        "cross_attention": "cross_attn_image",
    }.items():
        rows += _under(f"{layer}.{name}", f"{layer}.{there}", f"{layer}.{there}", _ATTENTION)
    return rows


def _whole() -> list[Row]:
    return [
        ("mask_to_logits", "mask_downsample", "mask_downsample"),
        ("temporal_encoding", "maskmem_tpos_enc", "memory_temporal_positional_encoding"),
        ("no_memory", "no_mem_embed", "no_memory_embedding"),
        ("no_memory_position", "no_mem_pos_enc", "no_memory_positional_encoding"),
        ("absent_memory", "no_obj_embed_spatial", "occlusion_spatial_embedding_parameter"),
        ("object_pointer.absent", "no_obj_ptr", "no_object_pointer"),
        (
            "object_pointer.project_age",
            "obj_ptr_tpos_proj",
            "temporal_positional_encoding_projection_layer",
        ),
        *_under("object_pointer.project", "obj_ptr_proj", "object_pointer_proj", _MLP3),
    ]


TABLE: tuple[Row, ...] = (*_encoder(), *_prompts(), *_decoder(), *_memory(), *_whole())
OURS, OFFICIAL, HUGGING_FACE = range(3)


def rename(keys: Iterable[str], source: int, target: int) -> dict[str, str]:
    """Map each key from one column to another; keys that the table does not know are left out."""
    patterns = _patterns(source)
    renamed = {}
    for key in keys:
        for pattern, row in patterns:
            if match := pattern.fullmatch(key):
                *numbers, rest = match.groups()
                renamed[key] = TABLE[row][target].format(*numbers) + rest
                break
    return renamed


@cache
def _patterns(column: int) -> list[tuple[re.Pattern[str], int]]:
    return [
        (re.compile(re.escape(row[column]).replace(r"\{\}", r"(\d+)") + r"(\.weight|\.bias|)"), i)
        for i, row in enumerate(TABLE)
    ]
