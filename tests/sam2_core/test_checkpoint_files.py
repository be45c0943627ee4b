"""Checkpoint files of every kind are read without running what is in them, or refused in words."""

import hashlib
import io
import json
import os
import pickle
import sys
import warnings
import zipfile
from pathlib import Path

import fsspec
import numpy as np
import pytest
import torch
from fsspec.registry import _registry
from safetensors.torch import save_file

from sam2_core.checkpoint_files import digest_of_files, local_checkpoint, read_state, unwrap
from sam2_core.errors import CheckpointUnreadable, DownloadFailed

STATE = {"a": torch.arange(3000.0), "b": torch.eye(3)}


class Touch:
    """A pickle of this runs a command when it is read by a careless reader."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SAM2RAY_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def store():
    """A store that is no file system."""
    filesystem = fsspec.filesystem("memory")
    yield filesystem
    filesystem.store.clear()


def torch_bytes(content, **options):
    stream = io.BytesIO()
    torch.save(content, stream, **options)
    return stream.getvalue()


def safetensors_bytes(path):
    save_file(STATE, path)
    return path.read_bytes()


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def assert_is_state(found):
    assert found.keys() == STATE.keys()
    assert all(torch.equal(found[key], STATE[key]) for key in STATE)


def complaint(path):
    with pytest.raises(CheckpointUnreadable) as raised:
        read_state(path)
    assert str(raised.value).startswith(f"{path}: ")
    return str(raised.value)


# ---------------------------------------------------------------- formats


@pytest.mark.parametrize("name", ["weights.pt", "weights.bin", "weights"])
@pytest.mark.parametrize("new_format", [True, False], ids=["zip", "before torch 1.6"])
def test_a_file_of_torch_is_read_whatever_its_suffix(tmp_path, name, new_format):
    content = torch_bytes({"model": STATE}, _use_new_zipfile_serialization=new_format)
    assert_is_state(read_state(write(tmp_path / name, content)))


@pytest.mark.parametrize("name", ["weights.safetensors", "weights.pt"])
def test_a_safetensors_file_is_read_whatever_its_suffix(tmp_path, name):
    content = safetensors_bytes(tmp_path / "original")
    assert_is_state(read_state(write(tmp_path / name, content)))


@pytest.mark.parametrize("key", ["model", "state_dict"])
def test_weights_are_found_under_the_keys_of_training_code(key):
    assert_is_state(unwrap({"epoch": 3, key: STATE, "optimizer": {"param_groups": []}}, "it"))


def test_a_folder_of_hugging_face_is_read_with_safetensors_before_pickles(tmp_path):
    torch.save(STATE, tmp_path / "pytorch_model.bin")
    assert_is_state(read_state(tmp_path))

    write(tmp_path / "pytorch_model.bin", b"not read any more")
    save_file(STATE, tmp_path / "model.safetensors")
    assert_is_state(read_state(tmp_path))


def test_shards_are_read_together(tmp_path):
    index = write_shards(tmp_path, {"a": "1.safetensors", "b": "2.safetensors"})
    assert_is_state(read_state(tmp_path))
    assert_is_state(read_state(index))


def write_shards(folder, where):
    for key, name in where.items():
        save_file({key: STATE[key]}, folder / name)
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": where}))
    return index


def test_a_shard_that_is_missing_is_named(tmp_path):
    index = write_shards(tmp_path, {"a": "1.safetensors", "b": "2.safetensors"})
    (tmp_path / "2.safetensors").unlink()
    with pytest.raises(CheckpointUnreadable, match=r"2\.safetensors: no such file"):
        read_state(index)


def test_an_index_cannot_reach_outside_its_folder(tmp_path):
    save_file(STATE, tmp_path / "secret.safetensors")
    index = write(
        tmp_path / "model" / "model.safetensors.index.json",
        json.dumps({"weight_map": {"a": "../secret.safetensors"}}).encode(),
    )
    with pytest.raises(CheckpointUnreadable, match=r"model/secret\.safetensors: no such file"):
        read_state(index)


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"weight_map": [1]}', b"\xff"])
def test_an_index_that_lists_no_shards_is_refused(tmp_path, content):
    index = write(tmp_path / "model.safetensors.index.json", content)
    assert "lists no shards" in complaint(index)


# ---------------------------------------------------------------- what is no checkpoint


def test_a_file_that_does_not_exist_is_refused_with_the_folder_it_was_looked_for_from():
    message = complaint(Path("nowhere/weights.pt"))
    assert f"no such file (looked from {Path.cwd()})" in message
    assert "checkpoint=PATH" in message


def test_a_folder_without_weights_is_refused_with_the_names_that_would_do(tmp_path):
    assert "model.safetensors, model.safetensors.index.json, pytorch" in complaint(tmp_path)


def test_a_file_that_may_not_be_read_is_refused(tmp_path):
    loop = tmp_path / "loop.pt"
    loop.symlink_to(loop)
    assert "cannot be opened" in complaint(loop)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"\n<!DOCTYPE html><title>Sign in</title>", "is a web page"),
        (b"<HTML>404", "is a web page"),
        (b'<?xml version="1.0"?><Error>AccessDenied</Error>', "is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1", "git lfs pull"),
        (b"just some text, nothing else", "starts with b'just some text, '"),
        (b"\x89PNG\r\n\x1a\n", "is no checkpoint"),
        (b"PK", "is no checkpoint"),
    ],
)
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_files_that_are_no_checkpoints_are_called_what_they_are(tmp_path, content, said, suffix):
    message = complaint(write(tmp_path / f"weights{suffix}", content))
    if suffix == ".pt" or len(content) > 8:
        assert said in message


def test_a_zip_with_other_content_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "photos.pt", "w") as archive:
        archive.writestr("photos/1.jpg", b"jpeg")
    assert "not one that torch.save wrote" in complaint(tmp_path / "photos.pt")


def test_a_torchscript_program_is_refused(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch says that it is deprecated
        torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), tmp_path / "script.pt")
    assert "TorchScript program" in complaint(tmp_path / "script.pt")


@pytest.mark.parametrize("content", [[1, 2], {"epoch": 3}, {3: torch.zeros(1)}, {"model": 7}])
def test_a_file_without_named_weights_is_refused_with_what_it_holds(tmp_path, content):
    message = complaint(write(tmp_path / "weights.pt", torch_bytes(content)))
    assert "a list" in message or "is no table of weights" in message
    assert "torch.save({'model': model.state_dict()}, PATH)" in message


# ---------------------------------------------------------------- cut off


@pytest.mark.parametrize("kept", [0.02, 0.5, 0.99])
def test_a_file_of_torch_that_is_cut_off_is_called_that(tmp_path, kept):
    content = torch_bytes({"model": STATE})
    size = int(kept * len(content))
    message = complaint(write(tmp_path / "weights.pt", content[:size]))
    assert f"is cut off after {size:,} bytes" in message


@pytest.mark.parametrize("size", [5, 100, 9000])
def test_an_old_file_of_torch_that_is_cut_off_is_called_that(tmp_path, size):
    content = torch_bytes({"model": STATE}, _use_new_zipfile_serialization=False)
    assert "is cut off" in complaint(write(tmp_path / "weights.pt", content[:size]))


@pytest.mark.parametrize("size", [4, 60, 9000])
def test_a_safetensors_file_that_is_cut_off_is_called_that(tmp_path, size):
    content = safetensors_bytes(tmp_path / "original")
    message = complaint(write(tmp_path / "weights.safetensors", content[:size]))
    assert f"is cut off or damaged after {size:,} bytes" in message


def test_an_archive_with_a_damaged_pickle_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "weights.pt", "w") as archive:
        archive.writestr("weights/version", b"3\n")
        archive.writestr("weights/data.pkl", b"\x80\x02}q\x00(X")
    assert "is cut off or damaged" in complaint(tmp_path / "weights.pt")


def test_a_damaged_pickle_is_called_that_and_torch_s_advice_to_run_it_is_not_passed_on(tmp_path):
    content = torch_bytes({"model": STATE})
    start = content.index(b"\x80\x02")
    for place in range(start + 10, start + 80, 5):
        damaged = content[:place] + b"\x95" + content[place + 1 :]
        message = complaint(write(tmp_path / "weights.pt", damaged))
        assert "weights_only" not in message
        assert "is cut off or damaged" in message or "nothing of it was run" in message


# ---------------------------------------------------------------- code


@pytest.mark.parametrize("new_format", [True, False], ids=["zip", "before torch 1.6"])
@pytest.mark.parametrize("place", ["in the weights", "beside the weights"])
def test_code_in_a_file_of_torch_is_never_run(tmp_path, new_format, place):
    bomb = Touch(tmp_path / "boom")
    content = {"model": {**STATE, "c": bomb}} if place == "in the weights" else {"x": bomb}
    data = torch_bytes({"model": STATE, **content}, _use_new_zipfile_serialization=new_format)

    message = complaint(write(tmp_path / "weights.pt", data))

    assert not (tmp_path / "boom").exists()
    assert "may run code when read; nothing of it was run" in message
    assert "system" in message


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_code_in_a_plain_pickle_is_never_run(tmp_path, protocol):
    path = write(tmp_path / "weights.pkl", pickle.dumps(Touch(tmp_path / "boom"), protocol))
    complaint(path)
    assert not (tmp_path / "boom").exists()


def test_an_object_beside_the_weights_is_named_with_the_way_out(tmp_path):
    path = write(tmp_path / "best.pt", torch_bytes({"model": STATE, "best": np.float64(0.5)}))
    message = complaint(path)
    assert "scalar) beside weights" in message
    assert "torch.save({'model': model.state_dict()}, PATH)" in message


# ---------------------------------------------------------------- stores


def test_an_empty_path_is_called_that():
    with pytest.raises(CheckpointUnreadable, match="checkpoint='' is empty: write a path"):
        local_checkpoint("")


def test_a_path_stays_where_it_is(tmp_path, cache):
    assert local_checkpoint(tmp_path / "weights.pt") == tmp_path / "weights.pt"
    assert local_checkpoint("~/weights.pt") == Path.home() / "weights.pt"
    assert local_checkpoint((tmp_path / "weights.pt").as_uri()) == tmp_path / "weights.pt"
    assert not cache.exists()


def test_an_object_in_a_store_is_copied_once_for_each_version(store, cache, capsys):
    store.pipe("/models/weights.pt", torch_bytes({"model": STATE}))
    first = local_checkpoint("memory://models/weights.pt")
    assert_is_state(read_state(first))
    assert first.parent == cache / "remote"
    assert first.name.endswith("-weights.pt")
    written = first.stat().st_mtime_ns

    assert local_checkpoint("memory://models/weights.pt") == first
    assert first.stat().st_mtime_ns == written
    assert capsys.readouterr().err.count("downloading weights.pt") == 1

    store.pipe("/models/weights.pt", b"another version")
    second = local_checkpoint("memory://models/weights.pt")
    assert second != first
    assert second.read_bytes() == b"another version"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("memory://models/nothing.pt", "nothing.pt could not be read"),
        ("memory://models", "it is a folder; name the file in it"),
        ("nonsense://models/weights.pt", "could not be read: Protocol not known: nonsense"),
    ],
)
def test_an_object_that_cannot_be_read_is_named_with_the_reason(store, url, said):
    store.pipe("/models/weights.pt", b"something")
    with pytest.raises(DownloadFailed, match=said):
        local_checkpoint(url)


@pytest.mark.parametrize(
    ("url", "client", "extra"),
    [
        ("s3://bucket", "s3fs", "s3"),
        ("gs://bucket", "gcsfs", "gcs"),
        ("az://box", "adlfs", "azure"),
    ],
)
def test_a_store_whose_client_is_missing_says_what_to_install(monkeypatch, url, client, extra):
    monkeypatch.setitem(sys.modules, client, None)
    # A test before this one may have loaded it, and fsspec keeps what it has loaded.
    monkeypatch.delitem(_registry, url.partition(":")[0], raising=False)
    with pytest.raises(DownloadFailed, match=rf"pip install 'sam2ray\[{extra}\]' \("):
        local_checkpoint(f"{url}/weights.pt")


def test_a_digest_is_that_of_the_file_or_of_all_shards(tmp_path: Path) -> None:
    alone = tmp_path / "one.pt"
    alone.write_bytes(b"one")
    assert digest_of_files(alone) == hashlib.sha256(b"one").hexdigest()
    index = {"weight_map": {"a": "1.safetensors", "b": "../2.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    digests = set()
    for content in (b"x", b"y"):
        (tmp_path / "1.safetensors").write_bytes(b"first")
        (tmp_path / "2.safetensors").write_bytes(content)
        digests.add(digest_of_files(tmp_path))
    assert len(digests) == 2
    with pytest.raises(CheckpointUnreadable, match=r"gone\.pt: No such file"):
        digest_of_files(tmp_path / "gone.pt")
