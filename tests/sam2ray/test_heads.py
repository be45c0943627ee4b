"""Heads of a job: found where its settings reach them, of the right model, the same everywhere."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import fsspec
import pytest
import torch
from s3_server import BUCKET

from sam2_core import (
    CheckpointMismatch,
    ClassHead,
    build_sam2,
    export_checkpoint,
    save_class_head,
)
from sam2_core.class_head_files import class_head_bytes
from sam2ray.config import JobConfig
from sam2ray.errors import UsageError
from sam2ray.heads import checked_head, head_config, head_digest
from sam2ray.storage import Options

NAMES = ("ground", "sky")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAM2RAY_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def head() -> ClassHead:
    return ClassHead.for_model(build_sam2("nano"), NAMES, "ground", 16)


def config(uri: str, storage: object = None, **settings) -> JobConfig:
    given = {
        "mode": "semantic",
        "source": {"uri": "in"},
        "output": {"uri": "out"},
        "model": {"name": "nano"},
        "semantic": {"head": uri},
        "storage": storage or {},
    }
    return JobConfig.model_validate(given | settings)


def test_a_head_in_a_store_is_reached_as_the_settings_say(
    head: ClassHead, s3_options: Options, tmp_path: Path
):
    address = f"s3://{BUCKET}/{tmp_path.name}/head.safetensors"
    content = class_head_bytes(head)
    fsspec.filesystem("s3", **s3_options["s3"]).pipe_file(address, content)
    told = config(address, s3_options)
    assert head_config(told) == head.config
    assert head_digest(told) == sha256(content).hexdigest()
    found = checked_head(told, head_digest(told))
    assert found is not None
    assert found.is_relative_to(tmp_path / "cache")


def test_another_file_than_the_run_began_with_is_refused_with_both_digests(
    head: ClassHead, tmp_path: Path
):
    path = tmp_path / "head.safetensors"
    save_class_head(head, path)
    told = config(str(path))
    recorded = head_digest(told)
    assert checked_head(told, recorded) == path
    path.write_bytes(b"of somebody else")
    with pytest.raises(UsageError, match="another head") as raised:
        checked_head(told, recorded)
    for words in (str(path), str(recorded), sha256(b"of somebody else").hexdigest()):
        assert words in str(raised.value)


def test_a_head_of_another_model_or_size_is_refused_before_anything_starts(
    head: ClassHead, tmp_path: Path
):
    path = tmp_path / "head.safetensors"
    save_class_head(head, path)
    with pytest.raises(CheckpointMismatch, match="belongs to nano, and the model is sam2"):
        head_digest(config(str(path), model={"name": "sam2.1_hiera_tiny"}))
    with pytest.raises(CheckpointMismatch, match="trained at 384 px, and the model sees 64 px"):
        head_digest(config(str(path), model={"name": "nano", "image_size": 64}))
    with pytest.raises(UsageError, match="the head has no such class"):
        head_digest(config(str(path), semantic={"head": str(path), "skip": ["sea"]}))


def test_a_head_of_other_weights_is_refused_before_anything_starts(head: ClassHead, tmp_path: Path):
    path, weights = tmp_path / "head.safetensors", tmp_path / "weights.pt"
    save_class_head(head, path)
    model = build_sam2("nano")
    torch.save(export_checkpoint(model), weights)
    right = config(str(path), model={"name": "nano", "checkpoint": str(weights)})
    assert head_digest(right) == head_digest(config(str(path)))
    with torch.no_grad():
        model.pyramid.to_fine.get_parameter("bias").add_(1)
    torch.save(export_checkpoint(model), weights)
    with pytest.raises(CheckpointMismatch, match="belongs to other weights of nano"):
        head_digest(right)


def test_other_modes_have_no_head():
    told = JobConfig.model_validate({"source": {"uri": "in"}, "output": {"uri": "out"}})
    assert head_digest(told) is head_config(told) is checked_head(told, None) is None
