"""A training into a bucket, killed and gone on with, learns what one on a disk does."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
import torch
import yaml
from s3_server import BUCKET, ENVIRONMENT, s3_server
from train_runs import ended, figures, kill_tree, start, wait_for

from sam2ray.storage import LocalStore, Store, open_store

pytest.importorskip("s3fs")
pytest.importorskip("moto.server")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

SETTINGS = {
    "seed": 4,
    "model": {"name": "nano", "start": "scratch", "image_size": 64},
    "labels": [{"kind": "world", "seed": 3}],
    "stages": [
        {
            "name": "pictures",
            "learn": "pictures",
            "steps": 6,
            "batch": 2,
            "objects": 2,
            "rate": 1e-3,
            "corrections": 1,
        },
        {"name": "clips", "learn": "clips", "steps": 3, "batch": 1, "objects": 2, "frames": 2},
    ],
    "examination": {
        "labels": {"kind": "world", "seed": 99, "held_out": True},
        "pictures": 2,
        "clips": 1,
        "frames": 3,
    },
    "checkpoint_every_steps": 2,
}


@pytest.fixture
def url() -> Iterator[str]:
    with s3_server() as url, pytest.MonkeyPatch.context() as patch:
        for name, value in ENVIRONMENT.items():
            patch.setenv(name, value)
        fsspec.filesystem("s3", endpoint_url=url).mkdir(BUCKET)
        yield url


def _last_weights(store: Store) -> dict[str, torch.Tensor]:
    return torch.load(io.BytesIO(store.read("weights/last.pt")), weights_only=True)["model"]


def test_a_training_on_a_bucket_that_is_killed_learns_what_one_on_a_disk_does(
    tmp_path: Path, url: str
):
    config = tmp_path / "small.yaml"
    config.write_text(yaml.safe_dump(SETTINGS | {"output": "here"}))  # from where it is started
    ended(start("train", "small.yaml", cwd=tmp_path))
    whole = LocalStore(tmp_path / "here")
    assert figures(whole)["step"].to_pylist() == [*range(6), *range(3)]

    bucket = open_store(f"s3://{BUCKET}/trained", {"s3": {"endpoint_url": url}})
    told = ("--set", f"output={bucket.uri}", "--set", f"storage.s3.endpoint_url={url}")
    first = start("train", str(config), *told)
    wait_for(bucket, 1)
    kill_tree(first)
    words = ended(start("train", str(config), *told))
    assert "clips 3 of 3" in words
    own, other = (repr(figures(store).to_pylist()) for store in (bucket, whole))
    assert own == other  # also where a figure is no number
    own, other = _last_weights(bucket), _last_weights(whole)
    assert own.keys() == other.keys()
    for name, weight in own.items():
        torch.testing.assert_close(weight, other[name], rtol=0, atol=0)
    assert bucket.exists("curve.png")
