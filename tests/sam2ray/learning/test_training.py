"""Trainings as processes: whatever dies, the same losses come, and the same weights."""

from __future__ import annotations

import dataclasses
import json
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from train_runs import ended, figures, kill_tree, wait_for
from train_runs import start as start_command

from sam2_core import RELEASED, load_sam2

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(900)]

TINY = {
    "seed": 4,
    "model": {"name": "nano", "start": "scratch", "image_size": 64},
    "labels": [{"kind": "world", "seed": 3}],
    "stages": [
        {"name": "dense", "learn": "dense", "steps": 6, "batch": 4, "rate": 2e-3},
        {
            "name": "pictures",
            "learn": "pictures",
            "steps": 8,
            "batch": 2,
            "objects": 2,
            "rate": 1e-3,
            "corrections": 1,
            "dense_weight": 0.2,
        },
        {
            "name": "clips",
            "learn": "clips",
            "steps": 5,
            "batch": 1,
            "objects": 2,
            "frames": 3,
            "rate": 5e-4,
            "corrections": 1,
            "pictures_every": 3,
        },
    ],
    "examination": {
        "labels": {"kind": "world", "seed": 99, "held_out": True},
        "pictures": 2,
        "every_steps": 4,
    },
    "checkpoint_every_steps": 2,
}


def start(config: Path, *settings: str) -> subprocess.Popen[str]:
    words = ["train", str(config)]
    for setting in settings:
        words += ["--set", setting]
    return start_command(*words)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("train")
    config = folder / "tiny.yaml"
    config.write_text(yaml.safe_dump(TINY | {"output": str(folder / "out")}))
    words = ended(start(config))
    assert "clips 5 of 5" in words
    return folder


def test_a_training_leaves_weights_curves_and_figures(undisturbed: Path):
    out = undisturbed / "out"
    table = figures(out)
    assert table["step"].to_pylist() == [*range(6), *range(8), *range(5)]
    assert np.isfinite(table["loss"].to_numpy()).all()
    examined = [value for value in table["iou_box"].to_pylist() if value is not None]
    assert len(examined) == 4  # pictures at 4 and 8, clips at 4 and at their end
    with Image.open(out / "curve.png") as curve:
        assert curve.format == "PNG"
    assert list((out / "tensorboard").glob("events*"))
    for name in ("last", "best"):
        official = torch.load(out / "weights" / f"{name}.pt", weights_only=True)
        assert set(official) == {"model"}


def test_a_killed_driver_and_a_killed_worker_change_no_loss(undisturbed: Path):
    broken = undisturbed / "broken"
    config = undisturbed / "broken.yaml"
    config.write_text(yaml.safe_dump(TINY | {"output": str(broken)}))
    first = start(config)
    wait_for(broken, 2)
    kill_tree(first)
    second = start(config)
    wait_for(broken, 5)
    kill_tree(second, "RayTrainWorker")
    ended(second)
    assert figures(broken).equals(figures(undisturbed / "out"))
    own, other = (load_official(f / "weights" / "last.pt") for f in (broken, undisturbed / "out"))
    assert own.keys() == other.keys()
    for name, weight in own.items():
        torch.testing.assert_close(weight, other[name], rtol=0, atol=0)
    assert "weights" in ended(start(config))  # nothing is left to do
    assert figures(broken).equals(figures(undisturbed / "out"))


def load_official(path: Path) -> dict[str, torch.Tensor]:
    return torch.load(path, weights_only=True)["model"]


def test_another_training_in_the_same_place_is_refused(undisturbed: Path):
    process = start(undisturbed / "tiny.yaml", "stages.0.rate=0.5")
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 2, output + errors
    assert "differs in stages.0.rate" in errors


def test_what_was_trained_can_be_examined_and_used(undisturbed: Path, tmp_path: Path):
    weights = undisturbed / "out" / "weights" / "last.pt"
    asked = ["world", str(tmp_path), "--checkpoint", str(weights), "--limit", "4"]
    words = run_command(["evaluate", *asked, "--image-size", "64"])
    assert "IoU after one click" in words
    marks = json.loads((tmp_path / "marks.json").read_text())
    assert marks["pictures"] == 4
    assert marks["clips"] == 1
    with Image.open(tmp_path / "cases.png") as cases:
        assert cases.width > 300
    load_sam2(dataclasses.replace(RELEASED["nano"], image_size=64), weights)


def run_command(arguments: Sequence[str]) -> str:
    return ended(start_command(*arguments))
