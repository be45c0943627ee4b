"""Options by protocol -> the file system of an address, made so that it tries once or insists."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import fsspec

from .errors import BadAddress, UsageError

Options = Mapping[str, Mapping[str, Any]]  # by protocol: what fsspec's file systems are made with

_EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs", "az": "azure", "abfs": "azure"}
_S3, _AZURE, WEB = ("s3", "s3a"), ("az", "abfs", "abfss"), ("http", "https")
_FAMILIES = (_S3, ("gs", "gcs"), _AZURE, WEB)

_TIMEOUT_S = "timeout_s"  # of the web
_WEB_TIMEOUT_S = 30.0


def file_system(uri: str, options: Options, *, insists: bool = True) -> Any:  # noqa: ANN401 fsspec has no types
    """The file system for an address; what is missing is said with the command that helps.

    Clients of stores ask again by themselves, in layers, so that five times five timeouts pass
    before they own up. For whoever has patience of their own there are those that do not insist.
    """
    protocol = protocol_of(uri)
    try:
        own = _arguments(protocol, options_of(protocol, options), insists)
        # A listing that is kept would hide what others write meanwhile.
        made = fsspec.filesystem(protocol, **{"use_listings_cache": False, **own})
    except ImportError as error:
        extra = _EXTRAS.get(protocol)
        hint = f'pip install "sam2ray[{extra}]"' if extra else str(error)
        raise UsageError(f"{uri}: {protocol}:// needs another package: {hint}") from error
    except (TypeError, ValueError) as error:  # TypeError where more must be known than an address
        raise BadAddress(f"{uri}: {protocol}:// is no kind of storage known here.") from error
    if protocol in _S3 and not insists:
        made.retries = 1
    return made


def _arguments(protocol: str, own: dict[str, Any], insists: bool) -> dict[str, Any]:
    """What a file system is made with."""
    if protocol in _S3 and not insists:
        own["config_kwargs"] = {
            "retries": {"total_max_attempts": 1},
            **own.get("config_kwargs", {}),
        }
    return own


def protocol_of(uri: str) -> str:
    """What stands before `://`; a path is a file."""
    return uri.partition("://")[0] if "://" in uri else "file"


def options_of(protocol: str, options: Options) -> dict[str, Any]:
    """What is said of a protocol, under whichever of its names."""
    family = next((names for names in _FAMILIES if protocol in names), (protocol,))
    known = [name for name in (protocol, *family) if name in options]
    return dict(options[known[0]]) if known else {}


def with_timeout(options: Options, timeout_s: float) -> Options:
    """The same options, and how long a store may be silent; what they say of that already counts.

    Google's client cannot be told: it gives up by itself.
    """
    limits: dict[str, dict[str, Any]] = {
        "s3": {"connect_timeout": timeout_s, "read_timeout": timeout_s},
        "az": {"connection_timeout": max(1, round(timeout_s)), "read_timeout": round(timeout_s)},
        "http": {_TIMEOUT_S: timeout_s},
    }
    limited = {name: dict(own) for name, own in options.items()}
    for family in (_S3, _AZURE, WEB):
        limit = limits[family[0]]
        for name in [name for name in family if name in options] or family[:1]:
            own = limited.setdefault(name, {})
            if family is _S3:
                own["config_kwargs"] = {**limit, **own.get("config_kwargs", {})}
            else:
                limited[name] = {**limit, **own}
    return limited


def web_timeout_s(options: Options) -> float:
    """How long a server of the web may be silent."""
    return float(options_of("http", options).get(_TIMEOUT_S, _WEB_TIMEOUT_S))


def version_of(facts: Mapping[str, Any]) -> str:
    """What a store says about a file's content: its etag, or its size and time."""
    for key in ("ETag", "etag", "content_md5", "md5Hash"):
        if facts.get(key):
            return str(facts[key]).strip('"')
    changed = facts.get("LastModified") or facts.get("mtime") or facts.get("last_modified") or ""
    return f"{facts.get('size')}-{changed}"


def leads_back(folder: Path) -> bool:
    """Whether it is a link to a folder that it lies in, on whatever way one came here."""
    if not folder.is_symlink():
        return False
    target = folder.resolve()
    return any(parent.resolve() == target for parent in folder.parents)
