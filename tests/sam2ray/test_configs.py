"""The configs that ship: each is taken as it stands, explains itself, and is found again."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

from sam2_core import RELEASED
from sam2ray.config import Mode
from sam2ray.config_file import OF_TRAININGS, load_config, shipped_config, shipped_configs
from sam2ray.config_id import json_schema
from sam2ray.config_yaml import read_yaml
from sam2ray.errors import UsageError
from sam2ray.learning.train_file import load_training

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / "configs"
ENDS = {"source": "in", "output": "out"}

NAMES = sorted(shipped_configs())
JOBS = [name for name in NAMES if name.startswith("jobs/")]
MODELS = [name for name in NAMES if name.startswith("models/")]
TRAININGS = sorted(shipped_configs(OF_TRAININGS))
REFRESH = (
    'python -c "from sam2ray.config_id import schema_text; print(schema_text(), end=str())" '
    "> configs/schema.json"
)


def prompts_for(name):
    mode = read_yaml(shipped_config(name).read_text()).values.get("mode")
    return {"prompts": "detections.parquet"} if mode in ("prompt", "track") else {}


def test_there_is_a_config_for_each_released_model_and_for_each_mode():
    assert [name.removeprefix("models/") for name in MODELS] == sorted(RELEASED)
    assert {load_config(name, **ENDS, **prompts_for(name)).mode for name in JOBS} == {
        *get_args(Mode)
    }


def test_every_yaml_file_is_found_by_name():
    assert {path.relative_to(CONFIGS).as_posix() for path in CONFIGS.rglob("*.yaml")} == {
        f"{name}.yaml" for name in (*NAMES, *TRAININGS)
    }


@pytest.mark.parametrize("name", TRAININGS)
def test_every_training_is_taken_as_it_stands(name):
    config = load_training(name)
    assert config.stages
    text = (CONFIGS / f"{name}.yaml").read_text()
    assert f"sam2ray train {name}" in text.splitlines()[1]


@pytest.mark.parametrize("name", NAMES)
def test_every_config_is_taken_as_it_stands(name):
    config = load_config(name, **ENDS, **prompts_for(name))
    if name in MODELS:
        assert config.model.name == name.removeprefix("models/")


@pytest.mark.parametrize("job", JOBS)
def test_every_job_goes_with_every_model(job):
    for model in MODELS:
        config = load_config([job, model], **ENDS, **prompts_for(job))
        assert f"models/{config.model.name}" == model


@pytest.mark.parametrize("name", NAMES)
def test_every_setting_in_a_config_says_why_one_would_change_it(name):
    lines = shipped_config(name).read_text().splitlines()
    with_values = [line for line in lines if re.match(r"\s*\w+: *[^ #]", line)]
    assert with_values
    for line in with_values:
        is_named_above = name in MODELS and line.startswith("  name:")
        assert " # " in line or is_named_above or line.startswith("mode:"), line


@pytest.mark.parametrize("name", NAMES)
def test_every_config_is_short_and_tells_editors_its_schema(name):
    path = shipped_config(name)
    first, *rest = path.read_text().splitlines()
    assert (path.parent / first.removeprefix("# yaml-language-server: $schema=")).samefile(
        CONFIGS / "schema.json"
    )
    assert rest[0].startswith("# ")
    assert len(rest) < 40
    assert max(map(len, rest)) <= 100


@pytest.mark.parametrize("name", JOBS)
def test_the_command_in_a_job_names_configs_that_exist(name):
    text = shipped_config(name).read_text()
    named = re.findall(r"--config (\S+)", text)
    assert named[-1] == name
    assert {*named} <= {*NAMES}


def test_the_readme_names_configs_that_exist():
    text = (CONFIGS / "README.md").read_text()
    named = {*re.findall(r"\b((?:jobs|models)/\w[\w.]*)", text)} - {"jobs/benchmarks"}
    assert named <= {*NAMES}
    assert {*JOBS} <= named


def test_the_schema_that_ships_is_that_of_the_code():
    shipped = json.loads((CONFIGS / "schema.json").read_text())
    assert shipped == json_schema(), f"refresh it: {REFRESH}"


@pytest.mark.parametrize("name", NAMES)
def test_every_config_agrees_with_the_schema(name):
    jsonschema = pytest.importorskip("jsonschema")
    values = read_yaml(shipped_config(name).read_text()).values
    jsonschema.Draft202012Validator(json_schema()).validate(values)


# ---------------------------------------------------------------- finding them


@pytest.mark.parametrize("name", ["jobs/all_masks", "jobs/all_masks.yaml"])
def test_a_shipped_config_is_found_by_name(name):
    assert shipped_config(name) == CONFIGS / "jobs" / "all_masks.yaml"


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("jobs/all_mask", "did you mean jobs/all_masks?"),
        ("models/sam2.1_hiera_lage", "did you mean models/sam2.1_hiera_large?"),
        ("???", "shipped are jobs/all_masks, "),
        ("../pyproject", "shipped are "),
        ("README", "shipped are "),
    ],
)
def test_another_name_is_refused_with_the_nearest(name, hint):
    with pytest.raises(UsageError) as caught:
        shipped_config(name)
    assert hint in str(caught.value)


def test_a_file_of_ones_own_wins_over_a_shipped_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load_config("jobs/embeddings", **ENDS).mode == "embed"
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "embeddings").write_text("mode: auto_track")
    assert load_config("jobs/embeddings", **ENDS).mode == "auto_track"


def test_an_installed_package_finds_its_configs_inside_itself(tmp_path):
    for package in ("ops", "sam2_core", "sam2ray"):
        shutil.copytree(ROOT / package, tmp_path / package)
    shutil.copytree(CONFIGS, tmp_path / "sam2ray" / "configs")
    script = "from sam2ray.config_file import shipped_config; print(shipped_config('models/nano'))"
    found = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert Path(found.stdout.strip()) == tmp_path / "sam2ray" / "configs" / "models" / "nano.yaml"
