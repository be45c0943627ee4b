"""Files of heads: whole, of the right model, size and weights, or refused in words."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest
import torch
from safetensors.torch import load, save
from small_models import lively_model

from sam2_core import (
    CheckpointMismatch,
    CheckpointUnreadable,
    ClassHead,
    load_class_head,
    read_head_config,
    save_class_head,
)
from sam2_core.class_head_files import FORMAT, class_head_bytes

NAMES = ("ground", "round", "thïn ring")


@pytest.fixture
def head() -> ClassHead:
    torch.manual_seed(0)
    return ClassHead.for_model(lively_model(64), NAMES, ground="ground", width=16)


@pytest.fixture
def file(head: ClassHead, tmp_path: Path) -> Path:
    path = tmp_path / "head.safetensors"
    save_class_head(head, path)
    return path


def rewritten(file: Path, config: dict | None = None, **tensors: torch.Tensor | None) -> Path:
    """The same file with another header or other tensors."""
    content = file.read_bytes()
    length = int.from_bytes(content[:8], "little")
    told = json.loads(json.loads(content[8 : 8 + length])["__metadata__"]["head"])
    told = {name: value for name, value in (told | (config or {})).items() if value != "LEAVE OUT"}
    kept = {name: t for name, t in (load(content) | tensors).items() if t is not None}
    file.write_bytes(save(kept, {"head": json.dumps(told)}))
    return file


def test_a_head_comes_back_as_it_was(head: ClassHead, file: Path):
    state = torch.random.get_rng_state()
    found = load_class_head(file, lively_model(64))
    assert torch.equal(torch.random.get_rng_state(), state), "nobody's random numbers were used"
    assert found.config == head.config == read_head_config(str(file))
    assert not found.training
    for name, weight in head.state_dict().items():
        assert torch.equal(found.state_dict()[name], weight), name
    assert class_head_bytes(found) == file.read_bytes()
    assert list(file.parent.iterdir()) == [file]


def test_a_head_of_another_model_size_or_weights_is_refused_with_a_way_out(file: Path):
    with pytest.raises(CheckpointMismatch, match=r"other weights of test.*best.pt"):
        load_class_head(file, lively_model(64, seed=1))
    with pytest.raises(CheckpointMismatch, match=r"trained at 64 px.*image_size=64"):
        load_class_head(file, lively_model(96))
    rewritten(file, {"model": "sam2.1_hiera_tiny"})
    with pytest.raises(CheckpointMismatch, match=r"belongs to sam2\.1_hiera_tiny.*--model"):
        load_class_head(file, lively_model(64))


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"format": "sam2ray class head 2"}, "no head of classes"),
        ({"format": "LEAVE OUT"}, "no head of classes"),
        ({"width": "LEAVE OUT"}, "its header must say"),
        ({"extra": 1}, "its header must say"),
        ({"width": 1 << 50}, "makes no sense: width="),
        ({"width": "16"}, "makes no sense: width="),
        ({"classes": "ab"}, "makes no sense: classes"),
        ({"classes": [["a"], "b"]}, "makes no sense: classes"),
        ({"classes": ["x"] * 100_000}, "makes no sense: classes"),
        ({"ground": ["ground"]}, "makes no sense: ground"),
        ({"image_size": 1e300}, "makes no sense: image_size"),
        ({"encoder_sha256": None}, "makes no sense: encoder_sha256"),
    ],
)
def test_a_header_that_makes_no_sense_is_refused(file: Path, config: dict, words: str):
    with pytest.raises(CheckpointUnreadable, match=words):
        load_class_head(rewritten(file, config), lively_model(64))


@pytest.mark.parametrize(
    ("tensors", "words"),
    [
        ({"classify.weight": None}, "classify.weight is missing"),
        ({"more": torch.zeros(3)}, "more is unknown"),
        ({"classify.bias": torch.zeros(4)}, r"classify.bias is \[4\] of float32 instead of \[3\]"),
        ({"classify.bias": torch.zeros(3).half()}, "of float16"),
        ({"classify.bias": torch.tensor([0, torch.nan, 0])}, "holds NaN"),
    ],
)
def test_weights_that_do_not_fit_the_header_are_refused(file: Path, tensors: dict, words: str):
    with pytest.raises(CheckpointMismatch, match=words):
        load_class_head(rewritten(file, **tensors), lively_model(64))


def _lying(length: int) -> bytes:
    return struct.pack("<Q", length) + b'{"__metadata__":{}}'


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is no safetensors file"),
        (b"PK\x03\x04 of torch", "is no safetensors file"),
        (_lying(1 << 62), "cut off or damaged"),
        (_lying(500), "cut off or damaged"),
        (_lying(19), "no head of classes"),
        (_lying(18), "header is damaged"),
        (struct.pack("<Q", 200_000) + b'{"a":' + b"[" * 199_995, "header is damaged"),
    ],
)
def test_files_that_are_something_else_are_refused(tmp_path: Path, content: bytes, words: str):
    path = tmp_path / "head"
    path.write_bytes(content)
    with pytest.raises(CheckpointUnreadable, match=words):
        read_head_config(path)


@pytest.mark.parametrize("missing", [1, 100, 3000])
def test_a_file_that_is_cut_off_is_refused(file: Path, missing: int):
    file.write_bytes(file.read_bytes()[:-missing])
    with pytest.raises(CheckpointUnreadable):
        load_class_head(file, lively_model(64))


def test_a_file_that_is_too_large_for_any_head_is_not_read(tmp_path: Path):
    path = tmp_path / "weights.safetensors"
    with path.open("wb") as sparse:
        sparse.truncate(1 << 40)
    with pytest.raises(CheckpointUnreadable, match="no head of classes has more"):
        read_head_config(path)
    with pytest.raises(CheckpointUnreadable, match="no such file"):
        read_head_config(tmp_path / "nothing")
    with pytest.raises(CheckpointUnreadable, match="cannot be opened"):
        read_head_config(tmp_path)


def test_what_a_head_is_called_in_its_file_is_what_the_format_says(file: Path):
    header = file.read_bytes()[8:]
    assert FORMAT.encode() in header
