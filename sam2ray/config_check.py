"""Values as they were written -> a JobConfig, or all that is wrong with them, not only the first.

pydantic judges what settings say together only when each of them is right. What is wrong is put
aside here and the rest is judged again, until nothing is wrong any more; a contradiction counts
only where nobody doubts a setting that it is about.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from .config import JobConfig
from .config_faults import SETTINGS, Keys, involved_in, setting_of
from .config_yaml import Path

_STAND_INS: dict[Keys, str] = {("source", "uri"): "-", ("output", "uri"): "-"}  # have no default
_ABOUT_OTHERS = ("missing", "fault", "value_error")  # what a setting that is not known may mend


@dataclass(frozen=True, slots=True)
class Judgement:
    """The config, or what is wrong."""

    config: JobConfig | None
    faults: tuple[ErrorDetails, ...]


def judge(values: Mapping[str, Any], is_known: Callable[[Keys], bool]) -> Judgement:
    """Judge values; `is_known` tells whether all that was written of a setting could be read."""
    rest = deepcopy(dict(values))
    aside: set[Keys] = set()
    faults: list[ErrorDetails] = []

    def is_certain(fault: ErrorDetails) -> bool:
        if fault["type"] not in _ABOUT_OTHERS:
            return True
        about = involved_in(fault)
        return all(is_known(one) and not _is_doubted(one, aside) for one in about)

    while True:
        try:
            config = JobConfig(**rest)
        except ValidationError as error:
            found = error.errors()
        else:
            return Judgement(None if faults or aside else config, tuple(faults))
        faults += [fault for fault in found if is_certain(fault)]
        wrong = {setting for fault in found for setting in _to_put_aside(fault)}
        if wrong <= aside:  # nothing is left that could be put aside
            return Judgement(None, tuple(faults))
        aside |= wrong
        for setting in wrong:
            _drop(rest, setting)


def _to_put_aside(fault: ErrorDetails) -> Iterable[Keys]:
    return [_whole(setting) for setting in involved_in(fault) or [_words_of(fault["loc"])]]


def _words_of(location: Path) -> Keys:
    return tuple(part for part in setting_of(location) if isinstance(part, str))


def _whole(path: Keys) -> Keys:
    """The setting that something is part of; what is none stands for itself."""
    parts = (path[:depth] for depth in range(1, len(path) + 1))
    return next((part for part in parts if part in SETTINGS), path)


def _is_doubted(setting: Keys, aside: set[Keys]) -> bool:
    return any(overlap(setting, one) for one in aside)


def overlap(a: Path, b: Path) -> bool:
    """Whether one of two paths leads to the other; the empty one leads everywhere."""
    shorter = min(len(a), len(b))
    return a[:shorter] == b[:shorter]


def _drop(values: dict[str, Any], setting: Keys) -> None:
    """Take a setting out, or the section it would be in where that is none; fill in stand-ins."""
    node: Any = values
    for depth, name in enumerate(setting):
        inner = node.get(name)
        if depth == len(setting) - 1 or not isinstance(inner, dict):
            node.pop(name, None)
            break
        node = inner
    for path, text in _STAND_INS.items():
        if overlap(path, setting):
            section = values.setdefault(path[0], {})
            section.setdefault(path[1], text)
