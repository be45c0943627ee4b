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
from train_runs import ended, figures, kill_one, kill_tree, wait_for
from train_runs import start as start_command

from sam2_core import RELEASED, load_sam2
from sam2_core.learning.shapes import HELD_OUT
from sam2_core.learning.world import World
from sam2ray.cli_learning import OTHER_WORLD

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


def test_of_two_workers_a_killed_one_changes_no_loss(tmp_path: Path):
    stages = [stage | {"steps": 4, "batch": 1} for stage in TINY["stages"]]
    frozen = {"name": "frozen", "parts": {"encoder": 0}, "steps": 4, "accumulate": 2}
    stages.append(stages[1] | frozen | {"dense_weight": 0.0})
    two = TINY | {"stages": stages, "workers": {"count": 2, "cpus": 0.5}}
    outs = [tmp_path / "whole", tmp_path / "broken"]
    for out in outs:
        config = tmp_path / f"{out.name}.yaml"
        config.write_text(yaml.safe_dump(two | {"output": str(out)}))
        process = start(config)
        if out.name == "broken":
            wait_for(out, 3)
            kill_one(process, "RayTrainWorker")
        ended(process)
    whole, broken = (figures(out) for out in outs)
    assert whole["step"].to_pylist() == [*range(4)] * 4
    assert np.isfinite(whole["loss"].to_numpy()).all()
    assert broken.equals(whole)
    own, other = (load_official(out / "weights" / "last.pt") for out in outs)
    for name, weight in own.items():
        torch.testing.assert_close(weight, other[name], rtol=0, atol=0)


def test_a_training_that_learns_nothing_any_more_is_given_up_at_once(tmp_path: Path):
    stage = TINY["stages"][1] | {"steps": 60, "rate": 1e30, "clip_norm": 1e30, "corrections": 0}
    given = {"stages": [stage], "output": str(tmp_path / "out"), "examination": {}}
    config = tmp_path / "wild.yaml"
    config.write_text(yaml.safe_dump(TINY | given))
    words = ended(start(config), code=1)
    assert "nothing was learned in 20 steps in a row" in words
    assert "with a lower rate than 1e+30" in words
    assert not (tmp_path / "out" / "weights").exists()


def test_an_examination_of_nothing_is_refused_before_anything_is_learned(tmp_path: Path):
    config = tmp_path / "tiny.yaml"
    asked = TINY | {"output": str(tmp_path / "out")}
    nowhere = {"labels": {"kind": "coco", "uri": str(tmp_path / "nothing.json")}}
    config.write_text(yaml.safe_dump(asked | {"examination": nowhere}))
    process = start(config)
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 2, output + errors
    assert "nothing.json" in errors
    assert not (tmp_path / "out" / "metrics").exists()


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
    words = run_command(["evaluate", *asked, "--image-size", "64", "--min-area", "200"])
    assert "IoU after one click" in words
    assert "in one piece" in words
    marks = json.loads((tmp_path / "marks.json").read_text())
    world = World(OTHER_WORLD, 64, families=HELD_OUT)
    assert marks["objects"] == sum(len(world.picture(n).object_ids(200)) for n in range(4))
    assert marks["pictures"] == 4
    assert marks["clips"] == 1
    with Image.open(tmp_path / "cases.png") as cases:
        assert cases.width > 300
    load_sam2(dataclasses.replace(RELEASED["nano"], image_size=64), weights)


def run_command(arguments: Sequence[str]) -> str:
    return ended(start_command(*arguments))
