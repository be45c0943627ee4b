"""Refuse settings that cannot work, in the same words for every kind of settings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from numbers import Integral, Real
from typing import Any

import numpy as np

from ..errors import ConfigError
from ..network.sam2 import Sam2


def is_integer(value: object) -> bool:
    """Whether this is a whole number of any kind, and no truth value."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def is_number(value: object) -> bool:
    """Whether this is a real number of any kind, and no truth value."""
    return isinstance(value, Real) and not isinstance(value, bool)


def is_truth_value(value: object) -> bool:
    """Whether this is True or False."""
    return isinstance(value, bool | np.bool_)


_KINDS: dict[str, tuple[Callable[[object], bool], str]] = {
    "int": (is_integer, "an integer"),
    "float": (is_number, "a number"),
    "bool": (is_truth_value, "True or False"),
}


def require_value(name: str, value: object, holds: bool, wanted: str) -> None:
    """Raise ConfigError unless it holds; `wanted` says what the value must be."""
    if not holds:
        raise ConfigError(f"{name}={value!r}: it must be {wanted}.")


def require_setting(settings: object, name: str, holds: bool, wanted: str) -> None:
    """Raise ConfigError unless it holds, with the value that the settings have."""
    require_value(f"{type(settings).__name__}.{name}", getattr(settings, name), holds, wanted)


def require_config(config: object, kind: type) -> None:
    """Raise ConfigError unless these are settings of this kind."""
    if not isinstance(config, kind):
        raise ConfigError(f"config is a {type(config).__name__}: write {kind.__name__}(...).")


def require_model(model: object) -> None:
    """Raise ConfigError unless this is a network, and not its name, say."""
    if not isinstance(model, Sam2):
        raise ConfigError(
            f"model is a {type(model).__name__}, not a network: load_sam2(NAME) makes one."
        )


def require_kinds(settings: Any) -> None:  # noqa: ANN401 any dataclass
    """Raise ConfigError where a plain field does not hold what its annotation says."""
    for field in fields(settings):
        annotation, value = str(field.type), getattr(settings, field.name)
        optional = annotation.endswith(" | None")
        kind = annotation.removesuffix(" | None")
        if kind not in _KINDS or (optional and value is None):
            continue
        is_of_kind, words = _KINDS[kind]
        words += " or None" if optional else ""
        require_setting(settings, field.name, is_of_kind(value), words)
