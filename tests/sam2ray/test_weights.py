"""Weights of a job: found where the job's own settings reach them."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import fsspec
import pytest
from s3_server import BUCKET

from sam2_core.shipped import own_weights
from sam2ray.config import JobConfig
from sam2ray.errors import UsageError
from sam2ray.storage import Options
from sam2ray.weights import checked_weights, local_weights, weights_digest


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAM2RAY_CACHE", str(tmp_path / "cache"))


def _config(checkpoint: str | None, storage: object = None) -> JobConfig:
    return JobConfig.model_validate(
        {
            "source": {"uri": "in"},
            "output": {"uri": "out"},
            "model": {"name": "nano", "checkpoint": checkpoint},
            "storage": storage or {},
        }
    )


def test_a_checkpoint_in_a_store_is_reached_as_the_settings_say(
    s3_options: Options, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    address = f"s3://{BUCKET}/{tmp_path.name}/mine.pt"
    fsspec.filesystem("s3", **s3_options["s3"]).pipe_file(address, b"weights")
    config = _config(address, s3_options)
    found = local_weights(config)
    assert found is not None
    assert found.read_bytes() == b"weights"
    assert found.is_relative_to(tmp_path / "cache")
    assert weights_digest(config) == sha256(b"weights").hexdigest()


def test_a_checkpoint_of_this_machine_stays_where_it_is(tmp_path: Path):
    (tmp_path / "mine.pt").write_bytes(b"weights")
    assert local_weights(_config(str(tmp_path / "mine.pt"))) == tmp_path / "mine.pt"


def test_a_published_one_is_not_fetched_to_tell_it_from_others():
    assert local_weights(_config(None)) is None
    assert weights_digest(_config(None))


def test_another_file_than_the_run_began_with_is_refused_with_both_digests(tmp_path: Path):
    path = tmp_path / "mine.pt"
    path.write_bytes(b"weights")
    config = _config(str(path))
    recorded = weights_digest(config)
    assert checked_weights(config, recorded) == path
    path.write_bytes(b"of somebody else")
    with pytest.raises(UsageError, match="another checkpoint") as raised:
        checked_weights(config, recorded)
    for words in (str(path), recorded, sha256(b"of somebody else").hexdigest()):
        assert words in str(raised.value)


def test_weights_that_ship_are_those_of_the_package():
    config = _config(None)
    assert checked_weights(config, weights_digest(config)) == own_weights("nano")
