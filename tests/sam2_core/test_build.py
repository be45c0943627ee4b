"""Names and configs become networks that are ready to use, alike wherever that is promised."""

import copy
import dataclasses
import hashlib
import io
import pickle
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

from sam2_core.build import build_sam2, load_sam2
from sam2_core.checkpoint import export_checkpoint, load_checkpoint
from sam2_core.checkpoint_names import OFFICIAL, OURS, rename
from sam2_core.config import RELEASED
from sam2_core.data import PackedPrompts
from sam2_core.errors import CheckpointMismatch, CheckpointUnreadable, ConfigError
from sam2_core.shipped import own_weights

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
FINGERPRINT = """
import hashlib, torch
from sam2_core.build import build_sam2
torch.manual_seed(7)
state = build_sam2("nano").state_dict()
print(hashlib.sha256(b"".join(value.numpy().tobytes() for value in state.values())).hexdigest())
"""


def fingerprint(model):
    values = model.state_dict().values()
    return hashlib.sha256(b"".join(value.numpy().tobytes() for value in values)).hexdigest()


def test_a_network_is_built_by_name_or_config_in_eval_mode():
    assert build_sam2("nano").config == RELEASED["nano"]
    assert build_sam2(TINY).config == TINY
    assert not any(module.training for module in build_sam2(TINY).modules())


def test_a_network_is_built_on_the_device_that_was_asked_for():
    assert build_sam2(TINY, device="meta").device == torch.device("meta")
    assert load_sam2("nano", device=torch.device("meta")).device == torch.device("meta")


def test_a_name_that_nobody_has_is_refused_with_the_nearest_one():
    with pytest.raises(ConfigError, match=r"Did you mean 'sam2\.1_hiera_tiny'\?"):
        build_sam2("sam2.1_hiera_tinny")


ON_A_MAC = pytest.mark.skipif(torch.backends.mps.is_available(), reason="this machine has mps")


@pytest.mark.parametrize(
    "device", [pytest.param("mps", marks=ON_A_MAC), "vulkan", "ipu", "privateuseone"]
)
@pytest.mark.parametrize("build", [build_sam2, load_sam2])
def test_a_device_that_torch_has_not_is_refused(build, device):
    with pytest.raises(ConfigError, match=f"device='{device}': this torch finds no such device"):
        build("nano", device=device)


@pytest.mark.parametrize("name", [None, 5, ["nano"]])
@pytest.mark.parametrize("build", [build_sam2, load_sam2])
def test_what_names_no_model_is_refused(build, name):
    with pytest.raises(ConfigError, match="A model is a name or a ModelConfig, not a"):
        build(name)


@pytest.mark.parametrize("checkpoint", [None, 5, b"weights.pt", [("a", 1)]])
def test_what_is_no_checkpoint_is_refused_by_its_type(checkpoint):
    kind = type(checkpoint).__name__
    words = f"a path, a URL or a state dict, not a {kind}"
    with pytest.raises(CheckpointUnreadable, match=words):
        load_checkpoint(build_sam2(TINY), checkpoint)
    if checkpoint is not None:  # which asks for the published one
        with pytest.raises(CheckpointUnreadable, match=words):
            load_sam2(TINY, checkpoint)


def test_weights_go_into_a_network_and_come_out_of_one():
    for act in (lambda: load_checkpoint("nano", {}), lambda: export_checkpoint("nano")):
        with pytest.raises(ConfigError, match="model is a str, not a network"):
            act()


def embedded(model):
    with torch.inference_mode():
        pixels = torch.linspace(-1, 1, 3 * 64 * 64).reshape(1, 3, 64, 64)
        embedding = model.embed_images(pixels)
        prompts = PackedPrompts(
            torch.tensor([[[9.0, 20.0], [0.0, 0.0]]]), torch.tensor([[1, -1]]), torch.tensor([0])
        )
        return model.decode_masks(embedding, prompts).logits_NMhw


@pytest.mark.parametrize("used", [False, True])
@pytest.mark.parametrize("way", ["pickle", "torch.save", "deepcopy"])
def test_a_model_can_be_pickled_and_copied_whole(way, used):
    model = build_sam2(TINY)
    names = list(model.state_dict())
    if used:
        embedded(model)  # from here on it keeps positions that it derived from weights
    stored = io.BytesIO()
    if way == "pickle":
        twin = pickle.loads(pickle.dumps(model))
    elif way == "torch.save":
        torch.save(model, stored)
        stored.seek(0)
        twin = torch.load(stored, weights_only=False)
    else:
        twin = copy.deepcopy(model)
    assert list(twin.state_dict()) == names
    assert twin.config == model.config
    assert torch.equal(embedded(twin), embedded(model))
    with torch.no_grad():  # the twin derives from weights of its own
        model.prompt_encoder.frequencies.mul_(2)
    assert not torch.equal(embedded(twin), embedded(model))


def test_two_processes_build_the_same_nano():
    other = subprocess.run(
        [sys.executable, "-c", FINGERPRINT], capture_output=True, text=True, check=True
    )
    assert other.stdout.strip() == fingerprint(build_sam2("nano"))


@pytest.mark.parametrize("build", [build_sam2, load_sam2])
def test_building_nano_leaves_everybodys_random_numbers_alone(build):
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    build("nano")
    assert torch.equal(torch.rand(4), expected)


def test_nano_is_the_same_at_any_image_size_and_under_any_default_device():
    small = build_sam2(dataclasses.replace(RELEASED["nano"], image_size=64))
    with torch.device("meta"):
        elsewhere = build_sam2("nano")
    assert fingerprint(small) == fingerprint(elsewhere) == fingerprint(build_sam2("nano"))


def test_other_networks_are_random():
    assert fingerprint(build_sam2(TINY)) != fingerprint(build_sam2(TINY))


def test_nano_without_a_checkpoint_needs_no_network(monkeypatch, tmp_path):
    monkeypatch.setenv("SAM2RAY_CHECKPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("SAM2RAY_CACHE", str(tmp_path / "cache"))
    model = load_sam2("nano")
    shipped = rename(load_file(own_weights("nano")), OFFICIAL, OURS)
    assert sorted(model.state_dict()) == sorted(shipped.values())
    assert fingerprint(model) != fingerprint(build_sam2("nano"))
    assert not (tmp_path / "cache").exists()


def test_a_checkpoint_is_loaded_by_path_or_url(tmp_path):
    model = build_sam2(TINY)
    file = tmp_path / "weights.pt"
    torch.save(export_checkpoint(model), file)
    for checkpoint in (file, str(file), file.as_uri()):
        loaded = load_sam2(TINY, checkpoint)
        assert fingerprint(loaded) == fingerprint(model)
        assert not loaded.training


def test_a_released_model_without_a_checkpoint_takes_the_published_file_from_the_cache(
    monkeypatch, tmp_path
):
    monkeypatch.setenv("SAM2RAY_CACHE", str(tmp_path))
    torch.save(export_checkpoint(build_sam2(TINY)), tmp_path / "sam2.1_hiera_tiny.pt")
    named = dataclasses.replace(TINY, name="sam2.1_hiera_tiny")
    load_sam2(named)
    with pytest.raises(CheckpointMismatch, match=str(tmp_path / "sam2.1_hiera_tiny.pt")):
        load_sam2(dataclasses.replace(named, hidden_dim=128))


def test_a_model_of_ones_own_needs_a_checkpoint():
    with pytest.raises(ConfigError, match="No checkpoint is published for 'four_blocks'"):
        load_sam2(TINY)


def test_a_checkpoint_that_does_not_exist_is_refused_by_its_path():
    with pytest.raises(CheckpointUnreadable, match=r"^nowhere/weights\.pt: no such file"):
        load_sam2("nano", "nowhere/weights.pt")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"precision": "fp8"}, "precision='fp8': write one of 'fp32', 'bf16'"),
        ({"compile": "yes"}, "compile='yes': write one of 'off', "),
        ({"compile": True}, "compile=True: write one of 'off', "),
    ],
)
def test_settings_are_checked_before_anything_is_read(settings, said):
    with pytest.raises(ConfigError, match=said):
        load_sam2("nano", "nowhere/weights.pt", **settings)
