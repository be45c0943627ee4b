"""What is submitted to clusters fits the schemas of those who read it, and names real commands."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import kubernetes_validate
import pytest
import ray
import yaml

from sam2ray.config_file import load_config, shipped_config

ROOT = Path(__file__).parents[2]
CLUSTERS = ROOT / "jobs" / "clusters"
SCHEMAS = ROOT / "tests" / "schemas"


def _read(name: str) -> dict:
    return yaml.safe_load((CLUSTERS / name).read_text())


@pytest.mark.parametrize("name", ["rayjob", "raycronjob"])
def test_a_resource_of_kuberay_fits_its_schema(name: str):
    jsonschema.validate(_read(f"{name}.yaml"), json.loads((SCHEMAS / f"{name}.json").read_text()))


def test_a_misspelt_field_would_be_noticed():
    job = _read("rayjob.yaml")
    job["spec"]["backofLimit"] = job["spec"].pop("backoffLimit")
    with pytest.raises(jsonschema.ValidationError, match="backofLimit"):
        jsonschema.validate(job, json.loads((SCHEMAS / "rayjob.json").read_text()))


def test_both_ways_to_run_every_night_run_the_same_as_by_hand():
    by_hand = _read("rayjob.yaml")["spec"]
    assert _read("raycronjob.yaml")["spec"]["jobTemplate"] == by_hand


def _commands() -> list[str]:
    rayjob = _read("rayjob.yaml")["spec"]["entrypoint"]
    container = _read("cronjob.yaml")["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    return [rayjob, container["containers"][0]["args"][0]]


@pytest.mark.parametrize("command", _commands())
def test_the_command_that_is_submitted_names_configs_that_ship(command: str):
    words = command.partition("sam2ray run ")[2].split()
    source, output, *options = words
    configs = options[1::2]
    assert set(options[0::2]) == {"--config"}
    for name in configs:
        assert shipped_config(name).is_file()
    assert load_config(configs, source=source, output=output).mode == "auto"


def test_a_cron_job_fits_kubernetes_own_schema():
    job = _read("cronjob.yaml")
    kubernetes_validate.validate(job, "1.31", strict=True)
    job["spec"]["concurencyPolicy"] = job["spec"].pop("concurrencyPolicy")
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(job, "1.31", strict=True)


def test_the_cluster_launchers_file_fits_rays_schema():
    path = Path(ray.__file__).parent / "autoscaler" / "ray-schema.json"
    schema = json.loads(path.read_text())
    jsonschema.validate(_read("aws.yaml"), schema)


def test_the_cluster_launcher_keeps_its_head_off_the_spot_market():
    cluster = _read("aws.yaml")
    types = cluster["available_node_types"]
    assert "InstanceMarketOptions" not in types[cluster["head_node_type"]]["node_config"]
    assert types["gpu"]["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}
    assert types["gpu"]["resources"]["GPU"] == 1
