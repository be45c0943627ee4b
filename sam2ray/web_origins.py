"""Which servers of the web are which, and what is told to some of them alone."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from .file_systems import Options, options_of

ORDINARY_PORTS = {"http": 80, "https": 443}


def origin(uri: str) -> tuple[str, str | None, int | None]:
    """Scheme, host and port: what shares them is one server."""
    parts = urlsplit(uri)
    return parts.scheme, parts.hostname, parts.port or ORDINARY_PORTS.get(parts.scheme)


def headers_for(uri: str, options: Options) -> Mapping[str, str]:
    """What is private to those servers that the settings name.

    A list may name any host, and whoever wrote it is not to hear what others are told, nor to make
    it heard: a host without a port is asked in cipher, where its web server is.
    """
    scheme, host, port = origin(uri)
    names = {f"{host}:{port}"}
    if scheme == "https" and port == ORDINARY_PORTS[scheme]:
        names.add(str(host))
    own = options_of("http", options)
    is_meant = not names.isdisjoint(str(name).lower() for name in own.get("hosts", ()))
    return own.get("client_kwargs", {}).get("headers", {}) if is_meant else {}
