"""Config files, `--set` and options of the command line -> one JobConfig, or all that is wrong.

Later words win: files in their order, then `--set`, then options. Every fault is one line that says
where it was written.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path
from typing import Any

from .config import JobConfig
from .config_check import judge, overlap
from .config_faults import SECTIONS, Keys, Place, explain
from .config_yaml import MAX_CHARACTERS, dotted, printable, read_value, read_yaml
from .config_yaml import Path as ValuePath
from .errors import UsageError

ConfigPath = str | os.PathLike[str]

_OF_JOBS = ("models", "jobs")
OF_TRAININGS = ("training",)
OPTIONS = {  # of the command line: what they set, and what users call them
    "source": ("source.uri", "SOURCE"),
    "output": ("output.uri", "OUT"),
    "mode": ("mode", "--mode"),
    "model": ("model.name", "--model"),
    "checkpoint": ("model.checkpoint", "--checkpoint"),
    "head": ("semantic.head", "--head"),
    "prompts": ("prompts.file", "--prompts"),
    "keep": ("source.keep", "--keep"),
}


def load_config(
    paths: ConfigPath | Sequence[ConfigPath] | None = None,
    assignments: Sequence[str] = (),
    **overrides: object,
) -> JobConfig:
    """The settings of a job.

    `paths` are config files or names of shipped ones; `assignments` are `a.b=value`, as `--set` has
    them; `overrides` are the options of OPTIONS, or further paths of settings; None: not given.
    """
    draft = Draft()
    for path in [paths] if isinstance(paths, str | os.PathLike) else paths or ():
        draft.read_file(path)
    for assignment in assignments:
        draft.assign(assignment)
    for option, value in overrides.items():
        if value is not None:
            setting, name = OPTIONS.get(option, (option, option))
            draft.write(tuple(setting.split(".")), _plain(value), Place(name, says_setting=True))
    return draft.config()


def config_of(text: str, name: str) -> JobConfig:
    """The settings in a text, such as the config that is kept with an output."""
    draft = Draft()
    draft.read_text(text, name)
    return draft.config()


@dataclass(slots=True)
class Draft:
    """Settings as they were written, where, and what was wrong so far."""

    values: dict[str, Any] = field(default_factory=lambda: {"source": {}, "output": {}})
    places: dict[ValuePath, Place] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    unread: set[ValuePath] = field(default_factory=set)  # what could not be read; (): who knows
    settled: set[ValuePath] = field(default_factory=set)  # what was written after it

    def read_file(self, path: ConfigPath) -> None:
        """Add what a file says."""
        name = os.fspath(path)
        try:
            text = _text_of(_found(name), name)
        except UsageError as error:
            self._miss((), str(error))
        else:
            self.read_text(text, name)

    def read_text(self, text: str, name: str) -> None:
        """Add what a text says; `name` is what its lines are called by."""
        document = read_yaml(text)
        name = _called(name)
        self.faults += [f"{name}:{fault.line}: {fault.words}" for fault in document.faults]
        for path in document.unread:
            self._forget(path)
        self.places |= {path: Place(f"{name}:{line}:") for path, line in document.lines.items()}
        self.settled |= document.lines.keys()
        self._merge((), document.values)

    def assign(self, assignment: str) -> None:
        """Add `a.b=value`."""
        setting, equals, text = assignment.partition("=")
        keys = tuple(setting.strip().split("."))
        if not equals or not all(keys):
            words = f"--set {_start_of(setting)}: write setting=value, as in decode.mode=exact"
            self._miss(keys if all(keys) else (), words)
            return
        try:
            self.write(keys, read_value(text), Place("--set"))
        except ValueError as error:
            self._miss(keys, f"--set {dotted(keys)}: {error}; put text that is no YAML in quotes")

    def write(self, keys: Keys, value: object, place: Place) -> None:
        """Add one value that stands in one place."""
        if isinstance(value, dict) and value:
            for key, inner in value.items():
                self.write((*keys, key), inner, place)
            return
        if keys not in SECTIONS:
            for path in [path for path in self.places if path[: len(keys)] == keys]:
                del self.places[path]  # of the items of an earlier list
        self.places[keys] = place
        self.settled.add(keys)
        self._merge(keys, value)

    def config(self) -> JobConfig:
        """What it all amounts to; all faults at once if there is one."""
        judged = judge(self.values, self._is_known)
        if judged.config is not None and not self.faults:
            return judged.config
        raise UsageError("\n".join([*self.faults, *explain(judged.faults, self.places)]))

    def _is_known(self, setting: Keys) -> bool:
        """Whether nothing that could not be read may have been about a setting."""
        return setting in self.settled or not any(overlap(setting, one) for one in self.unread)

    def _miss(self, path: ValuePath, fault: str) -> None:
        self.faults.append(fault)
        self._forget(path)

    def _forget(self, path: ValuePath) -> None:
        """Take note that something was written there that nobody can read."""
        self.unread.add(path)
        self.settled = {one for one in self.settled if not overlap(one, path)}

    def _merge(self, keys: Keys, value: object) -> None:
        """Put a value in its place, and of a mapping each value, so that sections add up."""
        if isinstance(value, dict):
            self._put(keys, {})
            for key, inner in value.items():
                self._merge((*keys, key), inner)
        elif value is None and keys in SECTIONS:  # a section whose lines are all comments
            self._put(keys, {})
        else:
            self._put(keys, value)

    def _put(self, keys: Keys, value: object) -> None:
        node = self.values
        for key in keys[:-1]:
            node = node.setdefault(key, {})
            if not isinstance(node, dict):  # already wrong, and said where that was written
                return
        if keys and not (value == {} and isinstance(node.get(keys[-1]), dict)):
            node[keys[-1]] = value


def _called(name: str) -> str:
    return printable(name, longest=200)


def _start_of(assignment: str) -> str:
    """The name in what is no assignment; what follows it may be a secret."""
    found = re.match(r"[\w.]*", assignment.strip())
    return found[0] if found else ""


def _plain(value: object) -> object:
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def _text_of(path: Path, name: str) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(4 * MAX_CHARACTERS + 1)
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{_called(name)} is not UTF-8 at byte {error.start}") from error
    except OSError as error:
        raise UsageError(f"{_called(name)} cannot be read: {error.strerror or error}") from error


# ---------------------------------------------------------------- configs that ship


def shipped_config(name: str, folders: Sequence[str] = _OF_JOBS) -> Path:
    """The file of a shipped config, such as jobs/all_masks."""
    shipped = shipped_configs(folders)
    name = name.removesuffix(".yaml")
    if name not in shipped:
        near = get_close_matches(name, shipped, n=1)
        hint = f"did you mean {near[0]}?" if near else f"shipped are {', '.join(shipped)}"
        raise UsageError(f"{_called(name)} is neither a file nor a shipped config; {hint}")
    return shipped[name]


def shipped_configs(folders: Sequence[str] = _OF_JOBS) -> dict[str, Path]:
    """All configs that ship in some folders, by name: models/... and jobs/..."""
    folder = _shipped_folder()
    paths = sorted(path for name in folders for path in (folder / name).glob("*.yaml"))
    return {path.relative_to(folder).with_suffix("").as_posix(): path for path in paths}


def _shipped_folder() -> Path:
    """In a wheel they lie inside the package; in a checkout beside it."""
    package = Path(str(files("sam2ray")))
    inside = package / "configs"
    return inside if inside.is_dir() else package.parent / "configs"


def _found(name: str) -> Path:
    """The file of this name, or else the shipped config."""
    path = Path(name).expanduser()
    return path if path.exists() else shipped_config(name)
