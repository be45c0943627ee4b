"""What is submitted to clusters fits who reads it, down to each field, and names real things."""

from __future__ import annotations

import copy
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import metadata, requires
from pathlib import Path
from typing import Any

import botocore.session
import jsonschema
import kubernetes_validate
import pytest
import ray
import yaml
from botocore.validate import validate_parameters
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from ray.runtime_env import RuntimeEnv
from ray.scripts.scripts import start as ray_start

from sam2ray.config_file import load_config, shipped_config

ROOT = Path(__file__).parents[2]
CLUSTERS = ROOT / "jobs" / "clusters"
SCHEMAS = ROOT / "tests" / "schemas"
RAY_SCHEMA = Path(ray.__file__).parent / "autoscaler" / "ray-schema.json"

# What is below these is named by whoever writes it, or by somebody else than the schema's author.
OPEN = ("metadata", "rayStartParams", "requests", "limits", "node_config", "resources", "provider")
NAMED_BY_US = ("head", "gpu")

# A document without apiVersion or kind is not even looked up by kubernetes_validate.
NOTICED = (jsonschema.ValidationError, kubernetes_validate.ValidationError, KeyError)

Place = tuple[str | int, ...]
Check = Callable[[Any], None]


def _read(name: str) -> Any:
    return yaml.safe_load((CLUSTERS / name).read_text())


def _by_schema(path: Path) -> Check:
    schema = json.loads(path.read_text())
    return jsonschema.validators.validator_for(schema)(schema).validate


def _by_kubernetes(document: Any) -> None:
    kubernetes_validate.validate(document, "1.31", strict=True)


CHECKS = {
    "rayjob.yaml": _by_schema(SCHEMAS / "rayjob.json"),
    "raycronjob.yaml": _by_schema(SCHEMAS / "raycronjob.json"),
    "cronjob.yaml": _by_kubernetes,
    "aws.yaml": _by_schema(RAY_SCHEMA),
}


# ---------------------------------------------------------------- fields


def test_every_file_is_checked():
    assert {path.name for path in CLUSTERS.glob("*.y*ml")} == set(CHECKS)


@pytest.mark.parametrize("name", CHECKS)
def test_a_file_fits_the_schema_of_who_reads_it(name: str):
    CHECKS[name](_read(name))


@pytest.mark.parametrize("name", CHECKS)
def test_any_misspelt_field_would_be_noticed(name: str):
    document = _read(name)
    fields = [place for place in _fields(document) if _is_of_the_schema(place)]
    assert len(fields) > 10
    for place in fields:
        wrong = _misspelt(document, place)
        with pytest.raises(NOTICED):
            CHECKS[name](wrong)


def _fields(node: Any, place: Place = ()) -> Iterator[Place]:
    items = node.items() if isinstance(node, dict) else enumerate(node)
    for key, value in items:
        if isinstance(node, dict):
            yield (*place, key)
        if isinstance(value, dict | list):
            yield from _fields(value, (*place, key))


def _is_of_the_schema(place: Place) -> bool:
    below_open = any(key in OPEN for key in place[:-1])
    return not below_open and place[-1] not in NAMED_BY_US


def _misspelt(document: Any, place: Place) -> Any:
    changed = copy.deepcopy(document)
    node = changed
    for key in place[:-1]:
        node = node[key]
    node[f"{place[-1]}s"] = node.pop(place[-1])
    return changed


def _values_of(node: Any, wanted: str) -> Iterator[Any]:
    """Whatever is written below a name, at any depth."""
    items = node.items() if isinstance(node, dict) else enumerate(node)
    for key, value in items:
        if key == wanted:
            yield value
        elif isinstance(value, dict | list):
            yield from _values_of(value, wanted)


@pytest.mark.parametrize("name", ["rayjob.yaml", "raycronjob.yaml"])
def test_nodes_are_started_with_options_that_ray_has(name: str):
    known = {option for parameter in ray_start.params for option in parameter.opts}
    for options in _values_of(_read(name), "rayStartParams"):
        assert {f"--{option}" for option in options} <= known
        assert all(isinstance(value, str) for value in options.values())


@pytest.mark.parametrize("name", ["rayjob.yaml", "raycronjob.yaml", "cronjob.yaml"])
def test_containers_ask_for_resources_that_kubernetes_has(name: str):
    for kind in ("requests", "limits"):
        for amounts in _values_of(_read(name), kind):
            assert set(amounts) <= {"cpu", "memory", "nvidia.com/gpu"}


@pytest.mark.parametrize("name", ["rayjob.yaml", "raycronjob.yaml"])
def test_the_runtime_environment_is_one_of_rays(name: str):
    (text,) = _values_of(_read(name), "runtimeEnvYAML")
    environment = yaml.safe_load(text)
    assert set(environment) <= RuntimeEnv.known_fields
    RuntimeEnv(**environment)


def test_the_cluster_launcher_asks_amazon_for_what_it_has():
    session = botocore.session.get_session()
    shape = session.get_service_model("ec2").operation_model("RunInstances").input_shape
    cluster = _read("aws.yaml")
    assert cluster["provider"]["region"] in session.get_available_regions("ec2")
    for node in cluster["available_node_types"].values():
        asked = {"MinCount": 1, "MaxCount": 1} | node["node_config"]
        validate_parameters(asked, shape)
        assert set(node["resources"]) <= {"CPU", "GPU"}


# ---------------------------------------------------------------- choices


def test_both_ways_to_run_every_night_run_the_same_as_by_hand():
    by_hand = _read("rayjob.yaml")["spec"]
    assert _read("raycronjob.yaml")["spec"]["jobTemplate"] == by_hand
    assert _cron_container()["args"][2:] == _as_one_word_each(by_hand["entrypoint"])


def _cron_container() -> Any:
    ((container,),) = _values_of(_read("cronjob.yaml"), "containers")
    return container


def _as_one_word_each(command: str) -> list[str]:
    return re.sub(r"(--\w+) ", r"\1=", command.strip()).split()


def test_the_command_that_is_submitted_names_configs_that_ship():
    program, run, source, output, *options = _as_one_word_each(
        _read("rayjob.yaml")["spec"]["entrypoint"]
    )
    assert (program, run) == ("sam2ray", "run")
    configs, settings = (
        [option.removeprefix(start) for option in options if option.startswith(start)]
        for start in ("--config=", "--set=")
    )
    assert len(configs) + len(settings) == len(options)
    for name in configs:
        assert shipped_config(name).is_file()
    config = load_config(configs, settings, source=source, output=output)
    assert config.mode == "auto"
    assert config.limits.accepted_failed_fraction == 0.01


@pytest.mark.parametrize("name", ["rayjob.yaml", "raycronjob.yaml"])
def test_drivers_stay_on_a_head_that_does_nothing_else(name: str):
    """A driver that books anything is put wherever there is room, spot nodes included."""
    document = _read(name)
    assert not any("entrypointNum" in str(key) for place in _fields(document) for key in place)
    (head,) = _values_of(document, "headGroupSpec")
    assert head["rayStartParams"]["num-cpus"] == "0"


def test_the_cluster_launcher_keeps_its_head_off_the_spot_market():
    cluster = _read("aws.yaml")
    types = cluster["available_node_types"]
    head = types[cluster["head_node_type"]]
    assert "InstanceMarketOptions" not in head["node_config"]
    assert head["resources"]["CPU"] == 0
    assert types["gpu"]["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}
    assert types["gpu"]["resources"]["GPU"] == 1


# ---------------------------------------------------------------- the image


def _instructions() -> list[tuple[str, list[str]]]:
    text = (CLUSTERS / "Dockerfile").read_text()
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [(words[0], words[1:]) for line in joined.splitlines() if (words := line.split())]


def _arguments(instruction: str) -> list[list[str]]:
    return [words for name, words in _instructions() if name == instruction]


def _copied() -> list[str]:
    """What the image takes from a checkout; the last word of each is where it goes."""
    words = [word for line in _arguments("COPY") for word in line[:-1]]
    return [word for word in words if not word.startswith("--")]


def test_the_image_is_described_in_words_that_docker_has():
    names = [name for name, _ in _instructions()]
    assert names[0] == "FROM"
    assert set(names) <= {"FROM", "USER", "RUN", "ENV", "WORKDIR", "COPY"}
    assert _arguments("USER")[-1] == ["ray"]


def test_the_image_has_the_ray_and_the_python_that_are_asked_for():
    ((base,),) = _arguments("FROM")
    found = re.fullmatch(r"rayproject/ray:([\d.]+)-py(\d)(\d+)-gpu", base)
    assert found is not None
    asked = {one.name: one for one in map(Requirement, requires("sam2ray") or [])}
    assert found[1] in asked["ray"].specifier
    assert f"{found[2]}.{found[3]}" in SpecifierSet(metadata("sam2ray")["Requires-Python"])
    for name in ("rayjob.yaml", "raycronjob.yaml"):
        assert set(_values_of(_read(name), "rayVersion")) == {found[1]}


def test_the_image_holds_what_an_installation_needs_and_what_is_run(tmp_path: Path):
    for name in _copied():
        place = ROOT / name
        copy_it = shutil.copytree if place.is_dir() else shutil.copy
        copy_it(place, tmp_path / name)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-q"]
    built = subprocess.run(
        [*command, "-w", tmp_path / "wheels", tmp_path], capture_output=True, text=True
    )
    assert built.returncode == 0, built.stderr
    assert len(list((tmp_path / "wheels").glob("sam2ray-*.whl"))) == 1
    folder = Path(_arguments("WORKDIR")[0][0])
    script = Path(_cron_container()["command"][1])
    assert (tmp_path / script.relative_to(folder)).is_file()


def test_one_image_is_used_everywhere_and_its_cache_is_where_a_disk_is_mounted():
    tag = re.search(r"docker build .* -t (\S+)", (CLUSTERS / "Dockerfile").read_text())
    assert tag is not None
    for name in CHECKS:
        assert set(_values_of(_read(name), "image")) == {tag[1]}
    (variable,) = _arguments("ENV")
    for name in ("rayjob.yaml", "raycronjob.yaml"):
        mounts = next(iter(_values_of(_read(name), "volumeMounts")))
        assert f"SAM2RAY_CACHE={mounts[0]['mountPath']}" in variable
