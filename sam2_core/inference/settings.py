"""Refuse settings that cannot work, in the same words for every kind of settings."""

from __future__ import annotations

from dataclasses import fields
from numbers import Integral, Real
from typing import Any

import numpy as np

from ..errors import ConfigError

_KINDS: dict[str, tuple[type | tuple[type, ...], str]] = {
    "int": (Integral, "an integer"),
    "float": (Real, "a number"),
    "bool": ((bool, np.bool_), "True or False"),
}


def require_setting(settings: object, name: str, holds: bool, wanted: str) -> None:
    """Raise ConfigError unless it holds; `wanted` says what the setting must be."""
    if not holds:
        value = getattr(settings, name)
        raise ConfigError(f"{type(settings).__name__}.{name}={value!r}: it must be {wanted}.")


def require_config(config: object, kind: type) -> None:
    """Raise ConfigError unless these are settings of this kind."""
    if not isinstance(config, kind):
        raise ConfigError(f"config is a {type(config).__name__}: write {kind.__name__}(...).")


def require_kinds(settings: Any) -> None:  # noqa: ANN401 any dataclass
    """Raise ConfigError where a plain field does not hold what its annotation says."""
    for field in fields(settings):
        annotation, value = str(field.type), getattr(settings, field.name)
        optional = annotation.endswith(" | None")
        kind = annotation.removesuffix(" | None")
        if kind not in _KINDS or (optional and value is None):
            continue
        wanted, words = _KINDS[kind]
        holds = isinstance(value, wanted) and (kind == "bool" or not isinstance(value, bool))
        require_setting(settings, field.name, holds, words + (" or None" if optional else ""))
