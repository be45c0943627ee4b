"""Refuse settings that cannot work, in the same words for every kind of settings."""

from __future__ import annotations

from ..errors import ConfigError


def require_setting(settings: object, name: str, holds: bool, wanted: str) -> None:
    """Raise ConfigError unless it holds; `wanted` says what the setting must be."""
    if not holds:
        value = getattr(settings, name)
        raise ConfigError(f"{type(settings).__name__}.{name}={value!r}: it must be {wanted}.")
