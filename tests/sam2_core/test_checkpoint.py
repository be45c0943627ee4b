"""Weights in every layout land where they belong, and anything else is refused in words."""

import dataclasses
from functools import cache

import pytest
import torch
from make_parameter_manifest import committed_shapes
from recipe import lively_state
from safetensors.torch import save_file

from sam2_core.build import build_sam2
from sam2_core.checkpoint import export_checkpoint, load_checkpoint, read_weights, recognise
from sam2_core.checkpoint_names import HUGGING_FACE, OFFICIAL, OURS, rename
from sam2_core.config import RELEASED
from sam2_core.errors import CheckpointMismatch
from sam2_core.network.sam2 import Sam2

TINY = dataclasses.replace(
    RELEASED["nano"],
    name="four_blocks",
    image_size=64,
    embed_dim=8,
    stages=(1, 1, 1, 1),
    global_blocks=(2,),
    hidden_dim=64,
    memory_layers=1,
    memory_mlp_dim=32,
)
TWIN = "prompt_encoder.shared_embedding.positional_embedding"
FREQUENCIES = "shared_image_embedding.positional_embedding"
POINTS = "prompt_encoder.point_embed.weight"
PARAMETERS_M = {
    "sam2.1_hiera_tiny": 38.96,
    "sam2.1_hiera_small": 46.06,
    "sam2.1_hiera_base_plus": 80.85,
    "sam2.1_hiera_large": 224.45,
    "sam2_hiera_tiny": 38.95,
    "sam2_hiera_small": 46.04,
    "sam2_hiera_base_plus": 80.83,
    "sam2_hiera_large": 224.43,
}


@pytest.fixture
def model():
    return build_sam2(TINY)


@cache
def lively():
    exported = export_checkpoint(build_sam2(TINY))["model"]
    return lively_state({key: value.shape for key, value in exported.items()})


@pytest.fixture
def official():
    return {key: value.clone() for key, value in lively().items()}


@pytest.fixture
def ours(official):
    return renamed(official, OFFICIAL, OURS)


@pytest.fixture
def hugging_face(official):
    """What Sam2VideoModel.save_pretrained writes."""
    state = renamed(official, OFFICIAL, HUGGING_FACE)
    rows = [state.pop(f"prompt_encoder.point_embed.{i}") for i in range(4)]
    return {**state, POINTS: torch.cat(rows), TWIN: state[FREQUENCIES].clone()}


def renamed(state, source, target):
    names = rename(state, source, target)
    return {names[key]: value for key, value in state.items()}


def meta_model(name):
    with torch.device("meta"):
        return Sam2(RELEASED[name])


def meta_state(name):
    return {
        key: torch.empty(shape, device="meta") for key, shape in committed_shapes()[name].items()
    }


def assert_holds(model, ours):
    state = model.state_dict()
    assert state.keys() == ours.keys()
    assert all(torch.equal(state[name], ours[name]) for name in ours)


def complaint(model, state):
    with pytest.raises(CheckpointMismatch) as raised:
        load_checkpoint(model, state)
    return str(raised.value)


# ---------------------------------------------------------------- what is accepted


def test_an_official_file_loads_bit_for_bit(model, official, ours, tmp_path):
    torch.save({"model": official}, tmp_path / "official.pt")
    load_checkpoint(model, tmp_path / "official.pt")
    assert_holds(model, ours)


def test_a_training_checkpoint_loads_whatever_lies_beside_its_weights(
    model, official, ours, tmp_path
):
    optimizer = torch.optim.AdamW(model.parameters())
    sum(parameter.sum() for parameter in model.parameters()).backward()
    optimizer.step()
    beside = {"epoch": 3, "steps": {"train": 5}, "loss": {}, "best_meter_values": {"iou": 0.5}}
    training = {"model": official, "optimizer": optimizer.state_dict(), **beside}
    torch.save(training, tmp_path / "checkpoint.pt")

    load_checkpoint(model, str(tmp_path / "checkpoint.pt"))

    assert_holds(model, ours)


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod."])
def test_prefixes_of_distributed_and_compiled_training_are_dropped(model, official, ours, prefix):
    load_checkpoint(model, {"model": {f"{prefix}{key}": official[key] for key in official}})
    assert_holds(model, ours)


@pytest.mark.parametrize("layout", ["official", "ours", "hugging_face"])
def test_a_bare_state_dict_loads_under_anybodys_names(model, ours, layout, request):
    load_checkpoint(model, request.getfixturevalue(layout))
    assert_holds(model, ours)


@pytest.mark.parametrize("layout", ["official", "ours", "hugging_face"])
def test_a_safetensors_file_is_recognised_by_its_keys(model, ours, layout, request, tmp_path):
    save_file(request.getfixturevalue(layout), tmp_path / "weights.safetensors")
    load_checkpoint(model, tmp_path / "weights.safetensors")
    assert_holds(model, ours)


@pytest.mark.parametrize("absent", [TWIN, FREQUENCIES])
def test_hugging_face_files_may_hold_the_shared_encoding_once(model, ours, hugging_face, absent):
    del hugging_face[absent]
    load_checkpoint(model, hugging_face)
    assert_holds(model, ours)


def test_our_model_goes_round_through_an_exported_file(model, official, tmp_path):
    load_checkpoint(model, official)
    torch.save(export_checkpoint(model), tmp_path / "exported.pt")
    other = build_sam2(dataclasses.replace(TINY, image_size=96))

    load_checkpoint(other, tmp_path / "exported.pt")

    assert_holds(other, model.state_dict())


def test_weights_are_cast_to_what_the_model_holds_without_replacing_its_tensors(model, official):
    model.to(torch.bfloat16)
    places = {name: value.data_ptr() for name, value in model.state_dict().items()}

    load_checkpoint(model, {key: value.double() for key, value in official.items()})

    expected = {name: v.bfloat16() for name, v in renamed(official, OFFICIAL, OURS).items()}
    assert_holds(model, expected)
    assert places == {name: value.data_ptr() for name, value in model.state_dict().items()}


def test_half_precision_weights_load_into_an_fp32_model(model, official):
    load_checkpoint(model, {key: value.half() for key, value in official.items()})
    halved = {key: value.half().float() for key, value in official.items()}
    assert_holds(model, renamed(halved, OFFICIAL, OURS))


def test_a_loaded_model_still_learns(model, official):
    load_checkpoint(model, official)
    assert all(value.requires_grad and value.is_leaf for value in model.parameters())


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("wanted", "found", "versions"),
    [
        ("sam2.1_hiera_tiny", "sam2_hiera_large", ("2.0", "2.1")),
        ("sam2.1_hiera_tiny", "sam2_hiera_tiny", ("2.0", "2.1")),
        ("sam2_hiera_small", "sam2.1_hiera_small", ("2.1", "2.0")),
        ("sam2_hiera_base_plus", "sam2_hiera_small", ("2.0", "2.0")),
    ],
)
def test_weights_of_another_released_model_are_called_by_their_name(wanted, found, versions):
    message = complaint(meta_model(wanted), meta_state(found))
    assert message == (
        f"the state dict: these are the weights of {found} ({versions[0]}), the model is "
        f"{wanted} ({versions[1]}): load_sam2({found!r}, ...)."
    )


def test_another_version_is_suspected_where_the_size_is_nobodys(model):
    first = dataclasses.replace(TINY, version="2.0")
    message = complaint(model, export_checkpoint(build_sam2(first)))
    assert "3 missing (no_obj_embed_spatial, obj_ptr_tpos_proj.weight" in message
    assert "Is this a 2.0 file? four_blocks is 2.1" in message

    message = complaint(build_sam2(first), export_checkpoint(model))
    assert "3 unused (no_obj_embed_spatial, obj_ptr_tpos_proj.weight" in message
    assert "Is this a 2.1 file? four_blocks is 2.0" in message


def test_all_kinds_of_wrong_keys_are_counted_and_a_few_are_named(model, official):
    missing = [key for key in official if key.startswith("memory_attention.")]
    for key in missing:
        del official[key]
    official["obj_ptr_proj.layers.9.weight"] = torch.zeros(1)
    official["extra"] = torch.zeros(1)
    official["no_obj_ptr"] = torch.zeros(2, 64)

    message = complaint(model, official)

    assert message.startswith("the state dict: not the weights of four_blocks, which has ")
    assert f"{len(missing)} missing (memory_attention." in message
    assert f", and {len(missing) - 3} more); " in message
    assert "2 unused (obj_ptr_proj.layers.9.weight, extra); " in message
    assert "1 of another shape (no_obj_ptr 2×64 instead of 1×64)." in message


def test_wrong_keys_are_spelled_as_the_file_spells_them(model, hugging_face):
    hugging_face["no_object_pointer"] = torch.zeros(3)
    del hugging_face["vision_encoder.backbone.pos_embed"]
    message = complaint(model, hugging_face)
    assert "1 missing (vision_encoder.backbone.pos_embed)" in message
    assert "(no_object_pointer 3 instead of 1×64)" in message


def test_keys_of_something_else_altogether_are_refused(model):
    message = complaint(model, {f"layer{i}.conv": torch.zeros(1) for i in range(5)})
    assert "none of its 5 keys (layer0.conv, layer1.conv, layer2.conv, and 2 more)" in message


def test_an_image_only_model_of_hugging_face_is_called_that(model, hugging_face):
    video = ("memory_", "object_pointer_proj", "no_object", "occlusion", "temporal_", "mask_down")
    image_only = {k: v for k, v in hugging_face.items() if not k.startswith(video)}
    message = complaint(model, image_only)
    assert "holds the image part of SAM 2 alone" in message
    assert "Save Sam2VideoModel instead" in message


def test_two_different_position_encodings_are_refused(model, hugging_face):
    hugging_face[TWIN] += 1
    assert f"{FREQUENCIES} and {TWIN} differ" in complaint(model, hugging_face)


@pytest.mark.parametrize("poison", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_not_finite_are_refused_by_name(model, official, poison):
    official["no_obj_ptr"][0, 5] = poison
    message = complaint(model, official)
    assert "1 of " in message
    assert "(no_obj_ptr: holds NaN or infinity)" in message


@pytest.mark.parametrize(
    ("cast", "said"),
    [
        (lambda value: value.to(torch.float8_e4m3fn), "is float8_e4m3fn"),
        (lambda value: value.to(torch.int8), "is int8"),
        (lambda value: value.to("meta"), "holds no plain numbers"),
    ],
)
def test_weights_of_a_type_that_cannot_be_cast_are_refused_by_name(model, official, cast, said):
    official["no_obj_ptr"] = cast(official["no_obj_ptr"])
    assert f"(no_obj_ptr: {said})" in complaint(model, official)


@pytest.mark.parametrize("key", ["no_obj_ptr", "sam_mask_decoder.iou_token.weight"])
@pytest.mark.parametrize("fault", ["missing", "unused", "of another shape", "NaN"])
def test_a_load_that_fails_leaves_the_model_as_it_was(model, official, key, fault):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    if fault == "NaN":
        official[key].fill_(float("nan"))
    elif fault == "of another shape":
        official[key] = official[key][..., None]
    else:
        value = official.pop(key)
        if fault == "unused":
            official |= {key: value, "one_more": value}

    assert fault in complaint(model, official)

    assert_holds(model, before)


# ---------------------------------------------------------------- what is given away


def test_an_export_is_fp32_on_the_cpu_and_independent_of_the_model(model, official):
    load_checkpoint(model, official)
    exported = export_checkpoint(model)["model"]
    assert exported.keys() == official.keys()

    with torch.no_grad():
        for value in model.parameters():
            value.zero_()

    assert all(torch.equal(exported[key], official[key]) for key in official)
    assert all(value.is_contiguous() for value in exported.values())


def test_a_model_in_bf16_is_exported_as_it_is_in_fp32(model, official):
    load_checkpoint(model, official)
    exported = export_checkpoint(model.to(torch.bfloat16))["model"]
    for key, value in exported.items():
        assert value.dtype == torch.float32
        assert torch.equal(value, official[key].bfloat16().float())


# ---------------------------------------------------------------- the released models


@pytest.mark.parametrize("name", [name for name in RELEASED if name != "nano"])
def test_a_released_model_has_the_official_names_shapes_and_size(name):
    model = meta_model(name)
    state = model.state_dict()
    official = rename(state, OURS, OFFICIAL)

    assert {official[key]: list(state[key].shape) for key in state} == committed_shapes()[name]
    count = sum(parameter.numel() for parameter in model.parameters())
    assert round(count / 1e6, 2) == PARAMETERS_M[name]


def test_nano_has_at_most_four_million_parameters():
    assert sum(value.numel() for value in meta_model("nano").parameters()) <= 4_000_000


@pytest.mark.parametrize("name", [name for name in RELEASED if name != "nano"])
def test_a_released_model_is_recognised_by_its_weights_alone(name):
    weights = read_weights(meta_state(name))
    assert recognise(weights.tensors) == RELEASED[name]


def test_nano_is_recognised_and_a_model_of_nobody_is_not(model):
    assert recognise(build_sam2("nano").state_dict()) == RELEASED["nano"]
    assert recognise(model.state_dict()) is None
    assert recognise({}) is None
