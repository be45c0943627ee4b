"""Addresses: which folder and name they mean, and what their suffix says."""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import unquote

from ..records import Kind
from ..stages.sniff import MEDIA_SUFFIXES
from ..storage import local_path

_COMPRESSED_TARS = (".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst", ".tzst")

# Names of sam2ray's outputs, which may lie in their own source.
_OWN_FOLDER = "_sam2ray"
_OWN = re.compile(
    r"(?:.*/)?(?:_SUCCESS|_sam2ray/.*"
    r"|(?:masks|embeddings|units)/[0-9]{8}T[0-9]{6}-[0-9a-f]{8}-[0-9a-f]{20}(?:-[0-9]+)?\.parquet)",
    re.DOTALL,
)

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_S3_BUCKET = re.compile(r"s3a?://([^/]*)")
_BUCKET_NAME = re.compile(r"[A-Za-z0-9._-]{1,255}|arn:.*")  # what S3's client does not even ask for


@dataclass(frozen=True, slots=True)
class Place:
    """A file's folder, as a store is opened, and its name in there."""

    folder: str
    name: str


def is_web(uri: str) -> bool:
    """Whether the web serves this address; it can be read, but has no folders."""
    return uri.lower().startswith(("http://", "https://"))


def is_glob(uri: str) -> bool:
    """Whether an address has wildcards; on the web, and in names that exist, they are none."""
    if is_web(uri) or not has_wildcard(uri):
        return False
    path = local_path(uri)
    return path is None or not path.exists()


def has_wildcard(text: str) -> bool:
    """Whether a piece of an address is a pattern."""
    return any(mark in text for mark in "*?[")


def absolute(uri: str) -> str:
    """The same address from wherever it is read: tasks have working folders of their own."""
    path = local_path(uri)
    return uri if path is None else str(path)


def place_of(uri: str) -> Place:
    """Take an address apart behind the last slash of its path."""
    if (path := local_path(uri)) is not None:  # also undoes the quoting of file://
        return Place(str(path.parent), path.name)
    path, query = _without_query(uri)
    folder, _, name = path.rpartition("/")
    if folder.endswith("/"):  # s3://bucket
        return Place(uri, "")
    return Place(folder, name + query)


def path_of(uri: str) -> str:
    """The part of an address that names a file: without scheme and query."""
    path, _ = _without_query(uri)
    found = _SCHEME.match(path)
    return path[found.end() :] if found else path


def address_in(store_uri: str, name: str) -> str:
    """What suffixes are read from: a name on the web is known by its whole address.

    What follows a question mark is a query there, and anywhere else a part of the name.
    """
    return f"{store_uri}/{name}" if is_web(store_uri) else name


def base_name(uri: str) -> str:
    """What stands behind the last slash of the path."""
    return path_of(uri).rstrip("/").rpartition("/")[2]


def suffix_of(name: str) -> str:
    """The suffix in lower case, with its dot; "" if there is none."""
    stem, dot, suffix = base_name(name).rpartition(".")
    return f".{suffix.lower()}" if dot and stem else ""


def media_kind(name: str) -> Kind | None:
    """Image or video by the suffix; None if it is neither."""
    suffix = suffix_of(name)
    for kind, suffixes in MEDIA_SUFFIXES.items():
        if suffix in suffixes:
            return kind
    return None


def is_animation(name: str) -> bool:
    """Whether a picture of this name may move, and is a clip to who follows things through time."""
    return suffix_of(name) == ".gif"


def is_hidden(name: str) -> bool:
    """Whether a name, or a folder on the way to it, begins with a dot."""
    if not name.startswith(".") and "/." not in name:
        return False
    return any(part.startswith(".") and part not in (".", "..") for part in name.split("/"))


def is_of_an_output(name: str) -> bool:
    """Whether sam2ray has written this file: no source holds it, even where it lies in one."""
    return _OWN.fullmatch(name) is not None


def is_folder_of_an_output(folder: str) -> bool:
    """Whether all in this folder is an output's own."""
    return base_name(folder) == _OWN_FOLDER


def is_text(name: str) -> bool:
    """Whether a name can be written to a table; names of Linux files are any bytes."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def reason_to_pass(name: str) -> str:
    """Why a file that is no medium is ignored: its suffix, as far as that says anything."""
    suffix = suffix_of(name)
    return suffix if 1 < len(suffix) <= 12 else "no known suffix"


def resolve(reference: str, folder: str) -> str:
    """The whole address of what a list in this folder names; ValueError if there is none."""
    if not reference or not is_text(reference) or "\0" in unquote(reference):
        raise ValueError("no address")
    if _SCHEME.match(reference):
        return reference
    if reference.startswith(("/", "~/")):
        return str(local_path(reference))
    root, path = _root_and_path(folder)
    joined = posixpath.normpath(posixpath.join(path, reference))
    if joined.startswith(".."):
        raise ValueError(f"it leaves {root}")
    if reference.endswith("/"):
        joined += "/"
    return root + joined


def require_bucket(uri: str) -> None:
    """ValueError if an address of S3, without secrets, names what can be no bucket."""
    if (found := _S3_BUCKET.match(uri)) and not _BUCKET_NAME.fullmatch(found[1]):
        raise ValueError(f"no bucket of S3 is called {found[1]!r:.80}")


@lru_cache(maxsize=64)
def _root_and_path(folder: str) -> tuple[str, str]:
    """A folder as what cannot be left (s3://bucket/, or /) and the path below it."""
    local = local_path(folder)
    if local is not None:
        return "/", str(local).lstrip("/")
    found = _SCHEME.match(folder)
    assert found is not None
    host, _, path = folder[found.end() :].partition("/")
    return f"{found[0]}{host}/", path


def split_glob(pattern: str) -> Place:
    """The folder above the first wildcard, and the rest of the pattern."""
    pieces = pattern.split("/")
    first = next(number for number, piece in enumerate(pieces) if has_wildcard(piece))
    return Place("/".join(pieces[:first]) or "/", "/".join(pieces[first:]))


def root_of(uri: str) -> str:
    """The folder that paths of a source are relative to."""
    return split_glob(uri).folder if is_glob(uri) else uri


def is_compressed_tar(uri: str) -> bool:
    """Whether this is a shard that can only be read from its beginning."""
    return path_of(uri).lower().endswith(_COMPRESSED_TARS)


def _without_query(uri: str) -> tuple[str, str]:
    if not is_web(uri):
        return uri, ""
    path, mark, query = uri.partition("?")
    return path, mark + query
