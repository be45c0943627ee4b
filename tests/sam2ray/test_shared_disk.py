"""A local folder that some node does not see is found before any work."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from sam2ray import lease
from sam2ray.config_file import load_config
from sam2ray.errors import UsageError
from sam2ray.nodes import Node, working_nodes
from sam2ray.shared_disk import Sample, require_seen, require_shared_disks, samples_of
from sam2ray.storage import LocalStore, open_store


@pytest.fixture
def node(two_cpus: None) -> Node:
    (node,) = working_nodes()
    assert node.resources["CPU"] == 2
    return node


@pytest.fixture
def elsewhere(node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A path that means this folder here, and another one in a process that a node starts."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "only here").write_text("x")
    return "/proc/self/cwd/only here"


def test_what_every_node_sees_is_fine(node: Node, tmp_path: Path):
    (tmp_path / "file").write_text("abc")
    samples = [Sample("source.uri", str(tmp_path / "file"), 3), Sample("output.uri", "/tmp", None)]
    require_seen(samples, [node])
    require_seen([], [node])


def test_what_a_node_does_not_see_is_said_with_the_setting_and_the_node(node: Node, elsewhere: str):
    samples = [Sample("source.uri", elsewhere, 1), Sample("output.uri", "/tmp", None)]
    assert samples[0].is_here()
    with pytest.raises(UsageError) as caught:
        require_seen(samples, [node])
    fault, way_out = str(caught.value).split("\n")
    assert fault == (
        f"source.uri: {elsewhere} is on the disk of this machine; 1 of 1 other nodes do not see it "
        f"({node.address})."
    )
    assert "s3://" in way_out


def test_another_file_of_the_same_name_is_not_the_same(node: Node, tmp_path: Path):
    (tmp_path / "file").write_text("abc")
    with pytest.raises(UsageError, match="do not see it"):
        require_seen([Sample("source.uri", str(tmp_path / "file"), 4)], [node])


def test_a_sample_is_taken_of_each_local_place(pictures: Path, tmp_path: Path):
    weights = tmp_path / "weights.pt"
    weights.write_bytes(b"12345")
    store = LocalStore(tmp_path / "out")
    head = tmp_path / "head.safetensors"
    head.write_bytes(b"123")
    words = {"model": "nano", "checkpoint": weights, "mode": "semantic", "head": head}
    config = load_config(source=str(pictures), output=store.uri, **words)
    with closing(lease.acquire(store, lease.this_process("run"))):
        samples = [*samples_of(config, store)]
    settings = ["output.uri", "source.uri", "model.checkpoint", "semantic.head"]
    assert [one.setting for one in samples] == settings
    assert all(one.is_here() for one in samples)
    assert Path(samples[1].path).parent in (pictures, pictures / "deep er")
    assert samples[2].size == 5


def test_of_places_in_stores_no_sample_is_taken():
    config = load_config(source="s3://b/in", output="s3://b/out")
    assert [*samples_of(config, open_store("s3://b/out", {}))] == []


@pytest.mark.usefixtures("two_cpus")
def test_one_machine_alone_is_not_asked(tmp_path: Path):
    config = load_config(source="missing", output=str(tmp_path))
    require_shared_disks(config, LocalStore(tmp_path))
