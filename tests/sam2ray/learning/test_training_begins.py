"""What is wrong with a training is said before it begins, and an output belongs to one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from make_labels import pictures, write_coco

from sam2ray.errors import UsageError
from sam2ray.learning import training
from sam2ray.learning.train_config import TrainConfig
from sam2ray.learning.training import KEPT, train


def _config(output: Path, uri: str, **settings: Any) -> TrainConfig:
    stage = {"name": "pictures", "learn": "pictures", "steps": 1}
    return TrainConfig.model_validate(
        {
            "output": str(output),
            "model": {"name": "nano", "start": "scratch", "image_size": 64},
            "labels": [{"kind": "coco", "uri": uri}],
            "stages": [stage],
            **settings,
        }
    )


@pytest.fixture
def labels(tmp_path: Path) -> str:
    return str(write_coco(tmp_path / "labels", pictures(2)))


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Trainings that got as far as their first process."""
    outputs: list[str] = []

    def begin(*_: Any) -> None:
        outputs.append("begun")
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "ensure_ray", begin)
    return outputs


def test_an_address_that_was_mistyped_leaves_the_output_to_the_right_one(
    tmp_path: Path, labels: str, begun: list[str]
):
    out = tmp_path / "out"
    exam = {"labels": {"kind": "coco", "uri": labels + "n"}, "pictures": 1, "every_steps": 1}
    for wrong in (_config(out, labels + "n"), _config(out, labels, examination=exam)):
        with pytest.raises(UsageError, match=r"\.jsonn"):
            train(wrong, print)
        assert not (out / KEPT).exists()
    with pytest.raises(KeyboardInterrupt):
        train(_config(out, labels), print)
    assert begun
    assert (out / KEPT).exists()
    with pytest.raises(UsageError, match=r"differs in seed"):
        train(_config(out, labels, seed=7), print)


def test_settings_that_came_with_a_later_version_do_not_make_it_another_training(
    tmp_path: Path, labels: str, begun: list[str]
):
    config = _config(tmp_path / "out", labels)
    with pytest.raises(KeyboardInterrupt):
        train(config, print)
    path = tmp_path / "out" / KEPT
    kept = yaml.safe_load(path.read_text())
    del kept["examination"]["clips"]
    path.write_text(yaml.safe_dump(kept))
    with pytest.raises(KeyboardInterrupt):
        train(config, print)
    assert len(begun) == 2
    kept["examination"]["pictures"] = 7
    path.write_text(yaml.safe_dump(kept))
    with pytest.raises(UsageError, match=r"differs in examination\.pictures"):
        train(config, print)
