"""A head from labels to an archive: trained, killed and gone on with, examined, and run."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import psutil
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from PIL import Image
from train_runs import ended, figures, kill_tree, start, wait_for

import sam2ray
from sam2_core import ClassSegmenter, load_class_head, load_sam2, save_class_head
from sam2_core.learning.world import World
from sam2_core.network.class_head import UNKNOWN
from sam2ray.learning.train_config import Start

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(900)]

CLASSES = ["ground", "thing"]
PX = 64


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures and their label PNGs, one of which is broken."""
    folder = tmp_path_factory.mktemp("classes")
    for name in ("photos", "labels"):
        (folder / name).mkdir()
    for number in range(6):
        made = World(5, size=96).picture(number)
        ids = (made.ids > 0).astype(np.uint8)
        ids[:4] = UNKNOWN
        Image.fromarray(made.pixels).save(folder / "photos" / f"{number}.png")
        Image.fromarray(ids).save(folder / "labels" / f"{number}.png")
    Image.fromarray(np.full((5, 5), 9, np.uint8)).save(folder / "labels" / "5.png")
    return folder


def training(place: Path, name: str) -> tuple[Path, Path]:
    """Its file and its output."""
    labels = {"kind": "classes", "uri": str(place / "labels"), "pictures": str(place / "photos")}
    content = {
        "output": str(place / name),
        "seed": 4,
        "model": {"name": "nano", "start": "scratch", "image_size": PX},
        "head": {"classes": CLASSES, "ground": "ground", "width": 16},
        "labels": [labels, {"kind": "world", "seed": 3, "share": 2.0}],
        "stages": [
            {
                "name": "tuned",
                "learn": "classes",
                "steps": 20,
                "batch": 4,
                "rate": 3e-3,
                "parts": {"encoder": 1.0},
                "average": 0.8,
                "target_stride": 4,
            },
            {
                "name": "frozen",
                "learn": "classes",
                "steps": 8,
                "batch": 4,
                "rate": 1e-3,
                "average": 0.8,
                "class_dice": 0.5,
                "target_stride": 4,
            },
        ],
        "examination": {"labels": {"kind": "world", "seed": 9}, "pictures": 4, "every_steps": 8},
        "checkpoint_every_steps": 4,
    }
    path = place / f"{name}.yaml"
    path.write_text(yaml.safe_dump(content))
    return path, place / name


@pytest.fixture(scope="module")
def trained(place: Path) -> tuple[Path, str]:
    path, output = training(place, "whole")
    return output, ended(start("train", str(path)))


def model_with(weights: Path):
    row = Start.model_validate({"name": "nano", "image_size": PX}).row()
    return load_sam2(row, weights)


def test_weights_and_heads_are_left_in_pairs_with_figures(trained: tuple[Path, str]):
    output, words = trained
    table = figures(output)
    assert table["step"].to_pylist() == [*range(20), *range(8)]
    assert set(table["kind"].to_pylist()) == {"classes"}
    assert np.isfinite(table["cross_entropy"].to_numpy()).all()
    examined = [value for value in table["miou"].to_pylist() if value is not None]
    assert len(examined) == 4  # tuned at 8, 16 and its end, frozen at 8, which is its end
    assert all(0.2 < value < 1 for value in examined)
    for name in ("best", "last"):
        head = load_class_head(
            output / "weights" / f"{name}_head.safetensors",
            model_with(output / "weights" / f"{name}.pt"),
        )
        assert head.config.classes == tuple(CLASSES)
        assert f"{name}_head.safetensors" in words
    assert "5.png: it has a pixel of 9" in words
    assert "examined: mIoU" in words
    assert "--mode semantic --head" in words
    with Image.open(output / "curve.png") as curve:
        assert curve.format == "PNG"


def test_a_training_that_is_killed_goes_on_with_the_same_losses(
    place: Path, trained: tuple[Path, str]
):
    path, output = training(place, "broken")
    first = start("train", str(path))
    wait_for(output, 3)
    assert psutil.pid_exists(first.pid)
    kill_tree(first)
    ended(start("train", str(path)))
    assert figures(output).equals(figures(trained[0]))
    for name in ("last.pt", "last_head.safetensors", "best_head.safetensors"):
        own, other = (folder / "weights" / name for folder in (output, trained[0]))
        if name.endswith(".pt"):
            one, two = (torch.load(p, weights_only=True)["model"] for p in (own, other))
            assert all(torch.equal(one[key], two[key]) for key in one)
        else:
            assert own.read_bytes() == other.read_bytes()


def test_a_head_is_examined_class_by_class(place: Path, trained: tuple[Path, str], tmp_path: Path):
    weights = trained[0] / "weights"
    pair = ["--head", str(weights / "last_head.safetensors")]
    pair += ["--checkpoint", str(weights / "last.pt")]
    folders = [str(place / "labels"), str(tmp_path), "--pictures", str(place / "photos")]
    words = ended(start("evaluate", *folders, *pair))
    assert "mIoU" in words
    assert "thing" in words
    assert "skipped: " in words
    marks = json.loads((tmp_path / "marks.json").read_text())
    assert (marks["pictures"], marks["skipped"]) == (5, 1)
    assert marks["miou"] == pytest.approx(np.mean(list(marks["iou_by_class"].values())))
    assert sum(marks["pixels_by_class"].values()) == 5 * 92 * 96
    with Image.open(tmp_path / "cases.png") as cases:
        assert cases.width > 1000
    other = ["--head", pair[1]]
    assert "belongs to other weights" in ended(start("evaluate", "world", *other), code=2)


def test_an_archive_is_labelled_by_the_head_as_the_core_does(
    place: Path, trained: tuple[Path, str], tmp_path: Path
):
    weights, output = trained[0] / "weights", tmp_path / "out"
    words = ["run", str(place / "photos"), str(output), "--mode", "semantic", "--model", "nano"]
    words += ["--set", f"model.image_size={PX}", "--set", "semantic.skip=[]"]
    head = ["--head", str(weights / "last_head.safetensors")]
    own = ["--checkpoint", str(weights / "last.pt")]
    assert "2 classes: ground, thing" in ended(start(*words, *head, *own, "--dry-run"))
    assert not output.exists()
    assert "belongs to other weights" in ended(start(*words, *head), code=2)
    ended(start(*words, *head, *own))
    assert "consistent" in ended(start("verify", str(output)))
    model = model_with(weights / "last.pt")
    segmenter = ClassSegmenter(model, load_class_head(head[1], model))
    data = sam2ray.open(str(output))
    for number in range(6):
        file = place / "photos" / f"{number}.png"
        (found,) = segmenter.segment([file])
        unit = data.unit(str(file))
        assert unit.labels() == [CLASSES[one] for one in found.present]
        masks = np.stack([found.mask(CLASSES[one]).numpy() for one in found.present])
        assert (unit.masks() == masks).mean() > 0.99  # decode.mode is rounded
    rows = pq.read_table(output / "masks").to_pylist()
    assert all(0.5 <= row["object_score"] <= 1 for row in rows)
    assert all(row["object_id"] is None for row in rows)
    other = load_class_head(head[1], model)
    with torch.no_grad():
        other.classify.get_parameter("bias").add_(1)
    save_class_head(other, tmp_path / "other.safetensors")
    refused = ended(start(*words, "--head", str(tmp_path / "other.safetensors"), *own), code=2)
    assert "holds results of another config" in refused
    assert "the head" in refused
