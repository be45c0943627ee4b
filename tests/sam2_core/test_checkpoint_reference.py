"""Checkpoints against the packages that others use: the reference `sam2`, and `transformers`."""

import dataclasses
from importlib import import_module

import pytest
import torch
from make_parameter_manifest import (
    REFERENCE_CONFIGS,
    committed_shapes,
    reference_model,
    reference_shapes,
)
from recipe import lively_state

from sam2_core.build import build_sam2
from sam2_core.checkpoint import export_checkpoint, load_checkpoint
from sam2_core.config import RELEASED
from sam2_core.data import PackedPrompts
from sam2_core.errors import CheckpointMismatch
from sam2_core.layers.position import sine_map
from sam2_core.layers.windows import unnest
from sam2_core.network.memory_attention import MemoryTokens

pytestmark = pytest.mark.reference

# The same numbers as in the model of transformers below.
SMALL = dataclasses.replace(
    RELEASED["nano"],
    name="five_blocks",
    image_size=64,
    embed_dim=8,
    stages=(1, 1, 2, 1),
    global_blocks=(3,),  # transformers cannot have one at the start of a stage
    memory_mlp_dim=48,
)
SIDE = SMALL.coarse_size
POINTS = torch.tensor([[[20.0, 30.0], [50.0, 9.0]], [[1.0, 2.0], [33.0, 60.0]]])
LABELS = torch.tensor([[1, 0], [1, 1]])


# ---------------------------------------------------------------- sam2


@pytest.fixture(scope="module")
def sam2():
    return import_module("sam2")


def test_the_committed_manifest_is_what_the_reference_says_today(sam2):
    assert reference_shapes() == committed_shapes()


@pytest.mark.parametrize("name", ["sam2.1_hiera_tiny", "sam2_hiera_tiny"])
def test_an_exported_file_loads_in_the_reference_by_its_own_strict_loading(sam2, name, tmp_path):
    from sam2.build_sam import build_sam2 as build_reference

    model = build_sam2(name)
    torch.save(export_checkpoint(model), tmp_path / "exported.pt")

    reference = build_reference(REFERENCE_CONFIGS[name], str(tmp_path / "exported.pt"), "cpu")

    count = sum(value.numel() for value in model.parameters())
    assert sum(value.numel() for value in reference.parameters()) == count


def test_weights_of_the_reference_go_through_our_model_unchanged(sam2, tmp_path):
    name = "sam2.1_hiera_tiny"
    reference = reference_model(name).state_dict()
    torch.save({"model": reference}, tmp_path / "reference.pt")
    model = build_sam2(name)

    load_checkpoint(model, tmp_path / "reference.pt")

    exported = export_checkpoint(model)["model"]
    assert exported.keys() == reference.keys()
    assert all(torch.equal(exported[key], reference[key]) for key in reference)


# ---------------------------------------------------------------- transformers


@pytest.fixture(scope="module")
def hugging_face():
    """A Sam2VideoModel with lively weights of its own, as transformers builds it."""
    transformers = pytest.importorskip("transformers")
    config = transformers.Sam2VideoConfig(
        vision_config=vision_config(transformers),
        prompt_encoder_config={"hidden_size": 128, "image_size": 64},
        mask_decoder_config={"hidden_size": 128},
        image_size=64,
        num_maskmem=SMALL.max_memories,
        memory_attention_hidden_size=128,
        memory_attention_num_layers=SMALL.memory_layers,
        memory_attention_feed_forward_hidden_size=SMALL.memory_mlp_dim,
        memory_attention_rope_feat_sizes=[SIDE, SIDE],
        memory_encoder_hidden_size=128,
        memory_encoder_output_channels=SMALL.memory_dim,
        mask_downsampler_embed_dim=128,
        memory_fuser_embed_dim=128,
        memory_fuser_intermediate_dim=512,
    )
    model = transformers.Sam2VideoModel(config).eval()
    state = lively_state({key: value.shape for key, value in model.state_dict().items()})
    twin = "prompt_encoder.shared_embedding.positional_embedding"
    state[twin] = state["shared_image_embedding.positional_embedding"]
    model.load_state_dict(state)
    return model


def vision_config(transformers):
    backbone = transformers.Sam2HieraDetConfig(
        hidden_size=SMALL.embed_dim,
        num_attention_heads=1,
        image_size=[64, 64],
        blocks_per_stage=list(SMALL.stages),
        embed_dim_per_stage=list(SMALL.stage_dims),
        num_attention_heads_per_stage=[1, 2, 4, 8],
        window_size_per_stage=list(SMALL.windows),
        global_attention_blocks=list(SMALL.global_blocks),
    )
    return transformers.Sam2VisionConfig(
        backbone_config=backbone,
        backbone_channel_list=list(SMALL.stage_dims[::-1]),
        backbone_feature_sizes=[[16, 16], [8, 8], [4, 4]],
        fpn_hidden_size=128,
    )


@pytest.fixture(scope="module", params=[True, False], ids=["safetensors", "sharded"])
def pair(request, hugging_face, tmp_path_factory):
    """The model of transformers, and ours with the weights that it saved."""
    folder = tmp_path_factory.mktemp("saved")
    hugging_face.save_pretrained(folder, max_shard_size="5GB" if request.param else "1MB")
    assert (folder / "model.safetensors").exists() == request.param
    model = build_sam2(SMALL)
    load_checkpoint(model, folder)
    return model, hugging_face


def assert_close(ours, theirs):
    assert ours.shape == theirs.shape
    scale = max(1.0, theirs.abs().max().item())
    assert (ours - theirs).abs().max().item() < 1e-4 * scale


@torch.inference_mode()
def test_pictures_are_encoded_as_in_transformers(pair):
    model, theirs = pair
    pixels = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))

    embedding = model.embed_images(pixels)
    fine, middle, coarse = theirs.get_image_embeddings(pixels)

    assert_close(embedding.coarse_map() + model.no_memory.reshape(1, -1, 1, 1), coarse)
    assert_close(unnest(embedding.middle_BPQC.flatten(1, 2), SIDE, SIDE, 1), middle)
    assert_close(unnest(embedding.fine_BPQC.flatten(1, 2), SIDE, SIDE, 2), fine)


@torch.inference_mode()
def test_points_give_the_masks_of_transformers(pair):
    model, theirs = pair
    pixels = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))

    padded = torch.cat([POINTS, torch.zeros(2, 1, 2)], dim=1)
    labels = torch.cat([LABELS, torch.full((2, 1), -1)], dim=1)
    prompts = PackedPrompts(padded, labels, torch.zeros(2, dtype=torch.long))
    ours = model.decode_masks(model.embed_images(pixels), prompts, "three")

    sparse, dense = theirs.get_prompt_embeddings(POINTS[None], LABELS[None])
    fine, middle, coarse = theirs.get_image_embeddings(pixels)
    logits, iou, tokens, score = theirs.mask_decoder(
        image_embeddings=coarse,
        image_positional_embeddings=theirs.get_image_wide_positional_embeddings(),
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense,
        multimask_output=True,
        high_resolution_features=[fine, middle],
    )

    assert_close(ours.logits_NMhw, logits[0])
    assert_close(ours.predicted_iou_NM, iou[0])
    assert_close(ours.object_score_N, score[0, :, 0])
    assert_close(
        model.object_pointer.project(ours.tokens_NMC), theirs.object_pointer_proj(tokens[0])
    )


@torch.inference_mode()
def test_masks_are_remembered_as_in_transformers(pair):
    model, theirs = pair
    generator = torch.Generator().manual_seed(2)
    features = torch.randn(2, 128, SIDE, SIDE, generator=generator)
    masks = 10 * torch.randn(2, 1, 64, 64, generator=generator)

    projected = model.memory_encoder.project(features.flatten(2).transpose(1, 2))
    ours = model.memory_encoder(projected, torch.arange(2), masks)
    expected, _ = theirs.memory_encoder(features, masks)

    assert_close(ours, expected.flatten(2).transpose(1, 2))


@torch.inference_mode()
def test_memories_are_recalled_as_in_transformers(pair):
    model, theirs = pair
    generator = torch.Generator().manual_seed(3)
    pixels = torch.randn(1, SIDE**2, 128, generator=generator)
    tokens, positions = torch.randn(2, 1, 2 * SIDE**2 + 4, 64, generator=generator)

    memory = MemoryTokens(
        torch.arange(1), tokens[:, :-4], positions[:, :-4], tokens[:, -4:], positions[:, -4:]
    )
    ours = model.memory_attention(pixels, torch.arange(1), [memory])
    expected = theirs.memory_attention(
        current_vision_features=pixels.transpose(0, 1),
        current_vision_position_embeddings=sine_map(SIDE, 128)[:, None],
        memory=tokens.transpose(0, 1),
        memory_posision_embeddings=positions.transpose(0, 1),
        num_object_pointer_tokens=4,
    )

    assert_close(ours, expected.reshape(SIDE**2, 1, 128).transpose(0, 1))


def test_what_only_the_whole_model_uses_lands_in_its_place(pair):
    model, theirs = pair
    for ours, name in {
        model.temporal_encoding: "memory_temporal_positional_encoding",
        model.no_memory: "no_memory_embedding",
        model.no_memory_position: "no_memory_positional_encoding",
        model.absent_memory: "occlusion_spatial_embedding_parameter",
        model.object_pointer.absent: "no_object_pointer",
        model.object_pointer.project_age.weight: (
            "temporal_positional_encoding_projection_layer.weight"
        ),
        model.mask_to_logits.weight: "mask_downsample.weight",
        model.prompt_encoder.no_mask: "prompt_encoder.no_mask_embed.weight",
    }.items():
        assert torch.equal(ours, theirs.state_dict()[name])


def test_an_image_only_model_of_transformers_is_refused_as_that(hugging_face, tmp_path):
    transformers = pytest.importorskip("transformers")
    config = transformers.Sam2Config(
        vision_config=vision_config(transformers),
        prompt_encoder_config={"hidden_size": 128, "image_size": 64},
        mask_decoder_config={"hidden_size": 128},
    )
    model = transformers.Sam2Model(config)
    # As in files that were trained: random ones have two encodings.
    twin = model.prompt_encoder.shared_embedding.positional_embedding
    twin.copy_(model.shared_image_embedding.positional_embedding)
    model.save_pretrained(tmp_path)
    with pytest.raises(CheckpointMismatch, match="holds the image part of SAM 2 alone"):
        load_checkpoint(build_sam2(SMALL), tmp_path)
