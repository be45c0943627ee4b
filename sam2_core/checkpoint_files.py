"""Checkpoint files, folders and URLs -> named tensors, whatever the format; no code is run.

Formats are told by content, not by suffix. What the names mean is checkpoint.py's.
"""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import re
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import torch
from torch import Tensor

from .download import (
    Folder,
    Meter,
    is_web,
    keep,
    name_in,
    place_of_copy,
    shown,
    web_checkpoint,
    write_part,
)
from .errors import CheckpointUnreadable, DownloadFailed

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

State = dict[str, Tensor]

_IN_FOLDERS = (  # what save_pretrained writes, best first
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
_WRAPPERS = ("model", "state_dict")  # keys under which training code files the weights
_PREFIXES = ("module.", "_orig_mod.")  # of DistributedDataParallel and of torch.compile

_HEAD_BYTES = 64
_ZIP = b"PK\x03\x04"
_OLD_TORCH = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."  # torch.save before 1.6
_PICKLE = b"\x80"
_GIT_LFS = b"version https://git-lfs"
_WEB_PAGE = (b"<!doctype", b"<html", b"<?xml")
_FOREIGN = r"GLOBAL (\S+)"  # in torch's complaint about what weights_only does not allow
_UNREADABLE = r"WeightsUnpickler error: (.+)"  # in its complaint about anything else

# What stores call the version of an object; each knows some of these at most.
_VERSION_KEYS = (
    *("ETag", "etag", "md5Hash", "content_md5", "crc32c", "checksum", "generation"),
    *("LastModified", "last_modified", "updated", "mtime", "created", "size"),
)
_CHUNK_BYTES = 1 << 20

_CLIENTS = {  # what to install for a store
    **dict.fromkeys(("s3", "s3a"), "'sam2ray[s3]'"),
    **dict.fromkeys(("gs", "gcs"), "'sam2ray[gcs]'"),
    **dict.fromkeys(("az", "abfs", "abfss"), "'sam2ray[azure]'"),
    "hf": "huggingface_hub",
}

_SAVE_AGAIN = (
    "If you trust its source, load it where it was made and save the weights alone: "
    "torch.save({'model': model.state_dict()}, PATH)."
)


def local_checkpoint(
    checkpoint: str | os.PathLike[str],
    *,
    cache: Folder | None = None,
    progress: bool = True,
    options: Mapping[str, Any] | None = None,
) -> Path:
    """A path as it is; what a URL (anything with "://") names as a copy in the cache.

    `options` are what fsspec makes the file system of a store with.
    """
    url = os.fspath(checkpoint)
    if not url:
        raise CheckpointUnreadable(
            "checkpoint='' is empty: write a path or a URL, or leave it out to have the published "
            "file."
        )
    if "://" not in url:
        return Path(url).expanduser()
    if is_web(url):
        return web_checkpoint(url, cache=cache, progress=progress)
    filesystem, path = _open_store(url, options or {})
    if "file" in filesystem.protocol:
        return Path(path)
    about = _look_up(url, filesystem, path)
    version = " ".join(str(about[key]) for key in _VERSION_KEYS if key in about)

    def fetch(part: Path) -> None:
        with Meter(name_in(url), shown=progress) as meter:
            meter.start(0, about.get("size"))
            write_part(part, _chunks_in_store(url, filesystem, path), meter)

    return keep(url, place_of_copy(url, version, cache), fetch)


def read_state(path: Path) -> State:
    """Read the weights of a file, or of a folder as Hugging Face writes them."""
    file = _file_in(path) if path.is_dir() else path
    if file.name.endswith(".index.json"):
        return _read_shards(file)
    return unwrap(_read_file(file), str(file))


def digest_of_files(path: Path) -> str:
    """SHA-256 of what read_state would read: of a file, or of an index and its shards."""
    file = _file_in(path) if path.is_dir() else path
    sha = hashlib.sha256()
    try:
        for part in [file, *(_shards_of(file) if file.name.endswith(".index.json") else ())]:
            with part.open("rb") as stream:
                while chunk := stream.read(_CHUNK_BYTES):
                    sha.update(chunk)
    except OSError as error:
        raise CheckpointUnreadable(f"{error.filename}: {error.strerror}.") from error
    return sha.hexdigest()


def unwrap(content: object, origin: str) -> State:
    """Find the named tensors in what a file holds, beside optimizers, epochs and the like."""
    if not isinstance(content, Mapping):
        raise CheckpointUnreadable(
            f"{origin}: holds a {type(content).__name__}, not named weights. {_SAVE_AGAIN}"
        )
    for key in _WRAPPERS:
        if isinstance(inner := content.get(key), Mapping):
            return unwrap(inner, origin)
    if not content:
        raise CheckpointUnreadable(f"{origin}: holds no weights at all. {_SAVE_AGAIN}")
    for key, value in content.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise CheckpointUnreadable(
                f"{origin}: {key!r} is a {type(value).__name__}, so this is no table of weights, "
                f"and it has none under {' or '.join(map(repr, _WRAPPERS))}. {_SAVE_AGAIN}"
            )
    return _without_prefixes(dict(content))


def _without_prefixes(state: State) -> State:
    for prefix in _PREFIXES:
        if state and all(key.startswith(prefix) for key in state):
            return _without_prefixes({key[len(prefix) :]: state[key] for key in state})
    return state


def _file_in(folder: Path) -> Path:
    for name in _IN_FOLDERS:
        if (folder / name).is_file():
            return folder / name
    raise CheckpointUnreadable(
        f"{folder}: is a folder without any of {', '.join(_IN_FOLDERS)}. Name the file itself."
    )


def _read_shards(index: Path) -> State:
    state: State = {}
    for shard in _shards_of(index):
        state |= unwrap(_read_file(shard), str(shard))
    return state


def _shards_of(index: Path) -> list[Path]:
    try:
        files = sorted(set(json.loads(index.read_bytes())["weight_map"].values()))
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise CheckpointUnreadable(f"{index}: lists no shards of a checkpoint: {error}.") from error
    # By their bare names: an index must not reach outside its folder.
    return [index.parent / Path(name).name for name in files]


def _read_file(file: Path) -> object:
    head = _head_of(file)
    if head.startswith(_ZIP):
        return _read_zip(file)
    if head.startswith(_OLD_TORCH):
        return _read_torch(file)
    # The header's length comes first, so a JSON object starts at byte 8.
    if head[8:9] == b"{" or file.suffix == ".safetensors":
        return _read_safetensors(file, head)
    raise CheckpointUnreadable(f"{file}: {_what_else(head)}")


def _head_of(file: Path) -> bytes:
    try:
        with file.open("rb") as stream:
            return stream.read(_HEAD_BYTES)
    except FileNotFoundError as error:
        raise CheckpointUnreadable(
            f"{file}: no such file (looked from {Path.cwd()}). Correct checkpoint=PATH, "
            "or leave it out to download the published file."
        ) from error
    except OSError as error:
        raise CheckpointUnreadable(f"{file}: cannot be opened: {error.strerror}.") from error


def _what_else(head: bytes) -> str:
    """Say what a file is that is not a checkpoint."""
    if not head:
        return "is empty. Download it again."
    if head.lstrip().lower().startswith(_WEB_PAGE):
        return "is a web page, not a checkpoint. Open the link in a browser to see what it says."
    if head.startswith(_GIT_LFS):
        return "is a Git LFS pointer, not the checkpoint. Fetch the content: git lfs pull."
    if _OLD_TORCH.startswith(head):
        return "is cut off in its first bytes. Download or copy it again."
    if head.startswith(_PICKLE):
        return f"is a plain pickle, which may run code when read; it was not read. {_SAVE_AGAIN}"
    return f"is no checkpoint: it starts with {head[:16]!r}. Known: .pt files and safetensors."


def _read_zip(file: Path) -> object:
    """Read what torch.save writes, after a look at the archive: torch's own words are a riddle."""
    if not zipfile.is_zipfile(file):
        raise CheckpointUnreadable(
            f"{file}: is cut off after {file.stat().st_size:,} bytes: the end of the archive is "
            "missing. Download or copy it again."
        )
    try:
        with zipfile.ZipFile(file) as archive:
            names = {name.partition("/")[2] for name in archive.namelist()}
    except (zipfile.BadZipFile, OSError) as error:
        raise CheckpointUnreadable(f"{file}: is a damaged archive: {error}.") from error
    if "constants.pkl" in names:
        raise CheckpointUnreadable(f"{file}: is a TorchScript program, not weights. {_SAVE_AGAIN}")
    if "data.pkl" not in names:
        raise CheckpointUnreadable(f"{file}: is a zip archive, but not one that torch.save wrote.")
    # Mapped, so that the optimizer of a training checkpoint is never read.
    return _read_torch(file, mapped=True)


def _read_torch(file: Path, *, mapped: bool = False) -> object:
    try:
        return torch.load(file, map_location="cpu", weights_only=True, mmap=mapped)
    except Exception as error:
        # A damaged file can fail anywhere in torch's reader, with any error.
        raise CheckpointUnreadable(f"{file}: {_why_not(error)}") from error


def _why_not(error: Exception) -> str:
    """Tell code from damage in what torch says."""
    if isinstance(error, pickle.UnpicklingError) and (found := re.search(_FOREIGN, str(error))):
        return (
            f"holds objects ({found[1]}) beside weights, which may run code when read; nothing of "
            f"it was run. {_SAVE_AGAIN}"
        )
    reason = str(error).partition("\n")[0] or type(error).__name__
    if isinstance(error, pickle.UnpicklingError):
        # torch's first line says to switch off weights_only, which runs whatever the file holds.
        found = re.search(_UNREADABLE, str(error))
        reason = f"its list of weights says {found[1]!r}" if found else "its list of weights"
    return f"is cut off or damaged ({reason}). Download or copy it again."


def _read_safetensors(file: Path, head: bytes) -> State:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(file)
    except SafetensorError as error:
        if head[8:9] != b"{" and len(head) > 8:
            raise CheckpointUnreadable(f"{file}: {_what_else(head)}") from error
        raise CheckpointUnreadable(
            f"{file}: is cut off or damaged after {file.stat().st_size:,} bytes ({error}). "
            "Download or copy it again."
        ) from error


# ---------------------------------------------------------------- stores, through fsspec


@contextmanager
def _naming(url: str) -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        client = _CLIENTS.get(url.partition("://")[0])
        way_out = f"pip install {client}" if client else "install it"
        raise DownloadFailed(
            f"{shown(url)} is in a store whose client is missing: {way_out} ({error})."
        ) from error
    except Exception as error:
        # Every store has errors of its own; what they share is the URL.
        reason = str(error) or type(error).__name__
        raise DownloadFailed(
            f"{shown(url)} could not be read: {reason}. Correct the URL or the credentials, "
            "or copy the file and pass checkpoint=PATH."
        ) from error


def _open_store(url: str, options: Mapping[str, Any]) -> tuple[AbstractFileSystem, str]:
    with _naming(url):
        from fsspec.core import url_to_fs

        return url_to_fs(url, **options)


def _look_up(url: str, filesystem: AbstractFileSystem, path: str) -> dict[str, Any]:
    # Values are of any type: every store describes its objects as it likes.
    with _naming(url):
        about = filesystem.info(path)
        if about["type"] == "directory":
            raise IsADirectoryError("it is a folder; name the file in it")
        return about


def _chunks_in_store(url: str, filesystem: AbstractFileSystem, path: str) -> Iterator[bytes]:
    with _naming(url), cast("BinaryIO", filesystem.open(path, "rb")) as source:
        while chunk := source.read(_CHUNK_BYTES):
            yield chunk
