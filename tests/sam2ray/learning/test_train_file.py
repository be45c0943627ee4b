"""A training's file says what is wrong with it, where, all in one go."""

from __future__ import annotations

from pathlib import Path

import pytest

from sam2_core.learning.losses import LossConfig
from sam2ray.errors import UsageError
from sam2ray.learning.train_config import Labels
from sam2ray.learning.train_file import load_training
from sam2ray.learning.train_stage import Stage
from sam2ray.learning.training import remark_on_cpus

GOOD = """\
output: out
labels:
  - {kind: world}
stages:
  - name: first
    learn: pictures
    steps: 10
"""


def test_a_small_file_is_enough_and_set_changes_what_it_says(tmp_path: Path):
    path = tmp_path / "train.yaml"
    path.write_text(GOOD)
    config = load_training(str(path), ["stages.0.steps=3", "workers.count=2", "model.name=nano"])
    assert (config.stages[0].steps, config.workers.count) == (3, 2)
    assert config.model.row().image_size == 384


@pytest.mark.parametrize("setting", ["stages.².steps=1", "stages.-1.steps=1", "stages..steps=1"])
def test_a_place_that_is_none_is_refused_with_words(tmp_path: Path, setting: str):
    path = tmp_path / "train.yaml"
    path.write_text(GOOD)
    with pytest.raises(UsageError, match="--set stages"):
        load_training(str(path), [setting])


def test_what_a_file_says_of_losses_is_what_answers_are_judged_by(tmp_path: Path):
    path = tmp_path / "train.yaml"
    path.write_text(GOOD)
    assert load_training(str(path)).stages[0].lesson().losses == LossConfig()
    words = ["absolute_iou=false", "iou=6", "focal_gamma=0", "blank_absent=false"]
    told = load_training(str(path), [f"stages.0.loss.{word}" for word in words])
    expected = LossConfig(absolute_iou=False, iou=6.0, focal_gamma=0.0, blank_absent=False)
    assert told.stages[0].lesson().losses == expected


@pytest.mark.parametrize(
    ("workers", "cpus", "way_out"),
    [("count=2", 2, "workers.cpus=0.5."), ("count=1", 1, "workers.cpus=0."), ("count=3", 4, "")],
)
def test_workers_that_leave_no_cpu_to_what_makes_samples_are_told_so(
    tmp_path: Path, workers: str, cpus: int, way_out: str
):
    path = tmp_path / "train.yaml"
    path.write_text(GOOD)
    remark = remark_on_cpus(load_training(str(path), [f"workers.{workers}"]), cpus)
    assert bool(remark) == bool(way_out)
    assert remark.endswith(way_out)


def test_all_faults_come_at_once_with_their_lines(tmp_path: Path):
    path = tmp_path / "train.yaml"
    path.write_text(
        "output: out\n"
        "labels:\n"
        "  - {kind: wrld}\n"
        "  - kind: coco\n"
        "stages:\n"
        "  - name: first\n"
        "    learn: pictures\n"
        "    stps: 10\n"
        "    parts: {head: 0.5}\n"
    )
    with pytest.raises(UsageError) as caught:
        load_training(str(path), ["seed=-1", "nowhere.3=1", "plain"])
    text = str(caught.value)
    assert "--set plain: write setting=value" in text
    with pytest.raises(UsageError) as caught:
        load_training(str(path), ["seed=-1"])
    text = str(caught.value)
    for words in (
        f"{path}:3: labels[0].kind=wrld: must be 'world'",
        f"{path}:4: labels[1]: kind=coco needs a uri",
        f"{path}:8: stages[0].stps is not a setting; did you mean steps?",
        f"{path}:6: stages[0].steps is missing",
        "--set seed=-1: must be greater than or equal to 0",
    ):
        assert words in text, text


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"learn": "clips", "dense_weight": 1.0}, "dense_weight is of pictures"),
        ({"pictures_every": 2}, "pictures_every is of clips"),
        ({"parts": {"head": 1.0}}, "No part of a model is called 'head'"),
        ({"learn": "classes", "dense_weight": 1.0}, "a stage of classes"),
        ({"class_dice": 1.0}, "are of stages that learn classes"),
        ({"learn": "dense", "parts": {"encoder": 0.0}}, "parts leave nothing to learn"),
        ({"parts": {"encoder": 0, "prompts": 0, "decoder": 0}}, "parts leave nothing to learn"),
        (
            {"parts": {"encoder": 0, "prompts": 0, "decoder": 0, "memory": 1}},
            "nothing to learn of pictures: let encoder or prompts or decoder have more",
        ),
        ({"parts": {"encoder": -0.5}}, "greater than or equal to 0"),
    ],
)
def test_a_stage_that_makes_no_sense_is_refused(settings: dict, words: str):
    with pytest.raises(ValueError, match=words):
        Stage.model_validate({"name": "s", "learn": "pictures", "steps": 3, **settings})


CLASSES = """\
output: out
head:
  classes: [ground, sky]
  ground: ground
labels:
  - {kind: classes, uri: in}
stages:
  - {name: first, learn: classes, steps: 10}
"""


def test_a_head_is_learned_on_a_model_that_stays_as_it_is_unless_parts_are_named(tmp_path: Path):
    path = tmp_path / "train.yaml"
    path.write_text(CLASSES)
    config = load_training(str(path))
    assert config.learns_classes
    assert set(config.stages[0].rates().parts.values()) == {0.0}
    told = load_training(str(path), ["stages.0.parts={encoder: 0.1}"]).stages[0].rates()
    assert {name for name, factor in told.parts.items() if factor} == {"encoder"}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["head="], "must be"),
        (["head.classes=[]", "head.ground="], "head.classes is missing: a stage learns classes"),
        (["head.classes=[a]", "head.ground="], "2 to 255 names"),
        (["head.classes=[a, a]", "head.ground="], "'a' is there twice"),
        (["head.ground=grund"], "ground='grund': it must be one of the classes"),
        (["head.width=3"], "multiple of 8"),
        (["stages.0.learn=dense"], "head.classes is of stages that learn classes, and none does"),
        (["stages.0.class_weights={sea: 2.0}"], "class_weights 'sea' is no class of head"),
        (["examination.labels={kind: davis, uri: x}"], "kind=davis says nothing of classes"),
        (["labels.0.kind=maps"], "must be 'world'"),
    ],
)
def test_a_head_that_makes_no_sense_is_refused(tmp_path: Path, settings: list[str], words: str):
    path = tmp_path / "train.yaml"
    path.write_text(CLASSES)
    with pytest.raises(UsageError, match=words):
        load_training(str(path), settings)


def test_masks_of_an_output_take_no_folder_of_pictures():
    told = {"kind": "masks", "uri": "out", "pictures": "photos"}
    with pytest.raises(ValueError, match="masks know where their pictures lie: leave pictures out"):
        Labels.model_validate(told)


def test_rates_grow_and_fall():
    given = {"name": "s", "learn": "clips", "steps": 100, "warmup_steps": 10, "pictures_every": 3}
    stage = Stage.model_validate(given)
    shares = [stage.rate_share(step) for step in range(100)]
    assert shares[:10] == sorted(shares[:10])
    assert shares[10] == 1.0
    assert shares[10:] == sorted(shares[10:], reverse=True)
    assert [stage.learns_clips(step) for step in range(6)] == [True, True, False] * 2
