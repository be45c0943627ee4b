"""What pydantic found wrong -> one line each, in a user's words, with the place it was written.

No value of `storage` is ever in such a line, nor what an address may hold of passwords.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches

from pydantic_core import ErrorDetails

from .config import JobConfig
from .config_section import Contradiction, public_uri, settings_of
from .config_yaml import Path, dotted, printable

Keys = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a setting was written: `job.yaml:12:`, `--set`, or an option such as `--mode`."""

    label: str
    says_setting: bool = False  # an option: nobody has to be told which setting it means


SETTINGS: dict[Keys, object] = {path: field.annotation for path, field in settings_of(JobConfig)}
SECTIONS = frozenset(path[:depth] for path in SETTINGS for depth in range(1, len(path)))
_HIDDEN = "storage"  # the section

_MOST_LINES = 100

_WORDS = {
    "string_type": "must be text; put it in quotes if it looks like a number",
    "string_too_short": "must not be empty",
    "too_short": "must not be empty",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "string_unicode": "must be plain Unicode text",
    "int_type": "must be an integer",
    "float_type": "must be a number",
    "finite_number": "must be a finite number",
    "bool_type": "must be true or false",
    "tuple_type": "must be a list",
    "dict_type": "must be a mapping, key: value",
}


def explain(faults: Iterable[ErrorDetails], places: Mapping[Path, Place]) -> list[str]:
    """The lines that say what is wrong, as it was written one after another."""
    grouped: dict[Path, list[ErrorDetails]] = {}
    for detail in faults:
        grouped.setdefault(setting_of(detail["loc"]), []).append(detail)
    found = [(_written(path, details, places), path, details) for path, details in grouped.items()]
    order = {path: number for number, path in enumerate(places)}
    found.sort(key=lambda one: len(order) if one[0] is None else order[one[0]])
    lines = [
        _line(path, details, None if written is None else places[written])
        for written, path, details in found[:_MOST_LINES]
    ]
    more = len(found) - len(lines)
    return [*lines, f"and {more:,} more of this kind"] if more else lines


def involved_in(fault: ErrorDetails) -> list[Keys]:
    """The settings that a fault is about."""
    context = fault.get("ctx", {})
    if fault["type"] == "fault":
        return [tuple(name.split(".")) for name in context["involved"]]
    here = _words_in(setting_of(fault["loc"]))
    if isinstance(context.get("error"), Contradiction):
        return [(*here, name) for name in context["error"].involved]
    return [here]


def setting_of(location: Path) -> Path:
    """The setting and the position in it, without what pydantic says of its own branches."""
    path: Path = ()
    for part in location:
        is_branch = isinstance(part, str) and path in SETTINGS and not _holds_names(path)
        if not is_branch and part != "[key]":
            path = (*path, part)
    return path


def _holds_names(path: Path) -> bool:
    return "dict[" in str(SETTINGS.get(_words_in(path), ""))


def _words_in(path: Path) -> Keys:
    return tuple(part for part in path if isinstance(part, str))


def _written(path: Path, details: list[ErrorDetails], places: Mapping[Path, Place]) -> Path | None:
    """What was written of a setting: itself, the section around it, or something in it.

    Of settings that contradict each other it is the last: till then nothing was wrong.
    """
    together = [one for one in involved_in(details[0]) if one in places]
    if details[0]["type"] == "value_error" and together:
        order = list(places)
        return max(together, key=order.index)
    for depth in range(len(path), 0, -1):
        if path[:depth] in places:
            return path[:depth]
    return next((written for written in places if written[: len(path)] == path), None)


def _line(path: Path, details: list[ErrorDetails], place: Place | None) -> str:
    kind = details[0]["type"]
    subject = _subject(path, place)
    if kind == "extra_forbidden":
        return f"{subject} is not a setting; {_hint(_words_in(path))}"
    if kind == "missing":
        return f"{subject} is missing: write it in a config or on the command line"
    if kind == "fault":
        return f"{subject} {_words_of(details[0])}"
    if kind == "value_error":
        return f"{subject}: {_words_of(details[0])}"
    if path[:1] != (_HIDDEN,):
        subject += f"={_value(details[0]['input'])}"
    if kind == "model_type":
        return f"{subject}: must be a section, such as {_example(path)}"
    return f"{subject}: {_joined(map(_words_of, details))}{_near(details)}"


def _subject(path: Path, place: Place | None) -> str:
    if place is None:
        return dotted(path)
    return place.label if place.says_setting else f"{place.label} {dotted(path)}"


# ---------------------------------------------------------------- words


def _words_of(detail: ErrorDetails) -> str:
    if detail["type"] in _WORDS:
        return _WORDS[detail["type"]].format_map(detail.get("ctx", {}))
    if detail["type"] == "value_error":
        return str(detail.get("ctx", {})["error"])
    return detail["msg"].replace("Input should be", "must be", 1)


def _joined(words: Iterator[str]) -> str:
    """What each branch of a setting asks for, in one sentence."""
    first, *others = dict.fromkeys(words)
    return " or ".join([first, *(text.removeprefix("must be ") for text in others)])


def _near(details: list[ErrorDetails]) -> str:
    """The choice that was probably meant."""
    value = details[0]["input"]
    if not isinstance(value, str):
        return ""
    expected = " ".join(str(detail.get("ctx", {}).get("expected", "")) for detail in details)
    near = get_close_matches(value.lower(), re.findall(r"'([^']+)'", expected), n=1)
    return f"; did you mean {near[0]}?" if near else ""


def _hint(path: Keys) -> str:
    """What may have been meant by an unknown setting."""
    near = near_setting(path)
    if near is not None:
        return f"did you mean {near}?"
    where = f"{dotted(path[:-1])} has" if len(path) > 1 else "there are"
    return f"{where} {', '.join(_names_in(path[:-1]))}"


def near_setting(path: Keys) -> str | None:
    """The setting that was probably meant: beside this one, or of this name elsewhere."""
    name = path[-1].lower()
    beside = get_close_matches(name, _names_in(path[:-1]), n=1)
    if beside:
        return dotted((*path[:-1], beside[0]))
    known = {known[-1]: known for known in sorted({*SETTINGS, *SECTIONS}, key=len, reverse=True)}
    elsewhere = get_close_matches(name, known, n=1, cutoff=0.8)
    return dotted(known[elsewhere[0]]) if elsewhere else None


def _names_in(section: Path) -> list[str]:
    depth = len(section)
    names = (path[depth] for path in SETTINGS if path[:depth] == section and len(path) > depth)
    return list(dict.fromkeys(names))


def _example(path: Path) -> str:
    name = next(iter(_names_in(path)), "name")
    return f"{path[-1]}: {{{name}: ...}}"


def _value(value: object) -> str:
    if isinstance(value, str):
        return printable(public_uri(value), longest=60) or "''"
    return printable(json.dumps(value, default=str), longest=60)
