"""A training's file and `--set` -> one TrainConfig, or all that is wrong, line by line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from ..config_file import OF_TRAININGS, shipped_config
from ..config_yaml import MAX_CHARACTERS, dotted, printable, read_value, read_yaml
from ..config_yaml import Path as ValuePath
from ..errors import UsageError
from .train_config import TrainConfig


def load_training(path: str, assignments: Sequence[str] = ()) -> TrainConfig:
    """The settings of a training: a file or a shipped recipe, and what `--set` says on top."""
    document = read_yaml(_text_of(path))
    faults = [f"{path}:{fault.line}: {fault.words}" for fault in document.faults]
    values = dict(document.values)
    places = {key: f"{path}:{line}:" for key, line in document.lines.items()}
    for assignment in assignments:
        fault = _assign(assignment, values, places)
        if fault:
            faults.append(fault)
    if not faults:
        try:
            return TrainConfig.model_validate(values)
        except ValidationError as error:
            faults += _explained(error, places)
    raise UsageError("\n".join(faults))


def _text_of(path: str) -> str:
    file = Path(path).expanduser()
    if not file.exists():
        file = shipped_config(path, OF_TRAININGS)
    try:
        with file.open("rb") as opened:
            return opened.read(4 * MAX_CHARACTERS + 1).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8 at byte {error.start}") from error
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}") from error


def _assign(assignment: str, values: dict[str, Any], places: dict[ValuePath, str]) -> str | None:
    """Put `a.b=value` in its place, where numbers are positions in lists; a fault, or None."""
    setting, equals, text = assignment.partition("=")
    keys = [int(key) if key.isdecimal() else key for key in setting.strip().split(".")]
    if not equals or not all(key != "" for key in keys):
        return f"--set {setting.strip()}: write setting=value, as in stages.0.steps=100"
    try:
        value = read_value(text)
    except ValueError as error:
        return f"--set {setting}: {error}; put text that is no YAML in quotes"
    node: Any = values
    for key in keys[:-1]:
        if isinstance(node, list) and isinstance(key, int) and key < len(node):
            node = node[key]
        elif isinstance(node, dict) and isinstance(key, str):
            node = node.setdefault(key, {})
        else:
            return f"--set {setting}: there is no such place"
    if isinstance(node, dict):
        node[str(keys[-1])] = value
    elif isinstance(node, list) and isinstance(keys[-1], int) and keys[-1] < len(node):
        node[keys[-1]] = value
    else:
        return f"--set {setting}: there is no such place"
    places[tuple(keys)] = "--set"
    return None


def _explained(error: ValidationError, places: Mapping[ValuePath, str]) -> list[str]:
    lines = []
    for detail in error.errors():
        path = tuple(detail["loc"])
        place = next((places[path[:n]] for n in range(len(path), 0, -1) if path[:n] in places), "")
        words = detail["msg"].replace("Input should be", "must be").removeprefix("Value error, ")
        if detail["type"] == "extra_forbidden":
            words = f" is not a setting{_hint(path)}"
        elif detail["type"] == "missing":
            words = " is missing"
        elif detail["type"] == "fault":
            words = f" {words}"
        elif isinstance(detail["input"], str | int | float):
            words = f"={printable(str(detail['input']), longest=60)}: {words}"
        else:
            words = f": {words}"
        lines.append(f"{place} {dotted(path)}{words}".strip())
    return lines


def _hint(path: ValuePath) -> str:
    """The settings beside an unknown one, or the one that was probably meant."""
    known = _names_in(TrainConfig, [key for key in path[:-1] if isinstance(key, str)])
    near = get_close_matches(str(path[-1]), known, n=1)
    return f"; did you mean {near[0]}?" if near else f"; there are {', '.join(known)}"


def _names_in(kind: type[BaseModel], path: Sequence[str]) -> list[str]:
    for key in path:
        field = kind.model_fields.get(key)
        inner = _section_in(field.annotation if field is not None else None)
        if inner is None:
            return []
        kind = inner
    return [*kind.model_fields]


def _section_in(kind: object) -> type[BaseModel] | None:
    """The section that a setting is, or is a list of."""
    for one in (kind, *get_args(kind)):
        if isinstance(one, type) and issubclass(one, BaseModel):
            return one
    return None
