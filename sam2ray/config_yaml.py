"""YAML text -> plain values and the line of each, and back; no tags, no aliases, no key twice.

Scalars are those of YAML 1.2: `off` and `yes` are words and 1e-3 is a number. PyYAML alone would
follow 1.1 and read `compile: off` as false.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import yaml

Path = tuple[str | int, ...]  # the keys and positions that lead to a value

MAX_CHARACTERS = 1 << 20
_MAX_DEPTH = 20
_MAX_DIGITS = 40  # of an integer; longer ones are words, and refused as such

_NULLS = ("", "~", "null", "Null", "NULL")
_BOOLS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]{0,2}(_[0-9]{3})+|[1-9][0-9]*)")
_NUMBER = re.compile(
    r"[-+]?(([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?|\.(inf|Inf|INF))|\.(nan|NaN|NAN)"
)
_SECRETS = "storage"
_AT_MARGIN = re.compile(r"([A-Za-z_]\w*)\s*:(\s|$)")
_LEADING_ZERO = re.compile(r"[-+]?0[0-9]+")


@dataclass(frozen=True, slots=True)
class YamlFault:
    """What is wrong in a text, and where; never with the text itself, which may be a secret."""

    line: int
    words: str


@dataclass(frozen=True, slots=True)
class Document:
    """What a text says."""

    values: dict[str, object] = field(default_factory=dict)
    lines: dict[Path, int] = field(default_factory=dict)
    faults: list[YamlFault] = field(default_factory=list)
    unread: list[Path] = field(default_factory=list)  # where there is more; (): nobody knows where


def read_yaml(text: str) -> Document:
    """The one mapping in a text; what is wrong with it is among the faults."""
    if len(text) > MAX_CHARACTERS:
        return _unreadable(1, f"has more than {MAX_CHARACTERS:,} characters")
    document = _read_whole(text)
    return _read_in_parts(text, document) if document.unread else document


def _read_whole(text: str) -> Document:
    try:
        node = _Reader(text).get_single_node()
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, int(error.position)) + 1
        return _unreadable(line, f"holds the character #x{_code_of(error):04x}")
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        return _unreadable(mark.line + 1 if mark else 1, _words_of(error))
    if node is None or (isinstance(node, yaml.ScalarNode) and _value_of(node) is None):
        return Document()
    if not isinstance(node, yaml.MappingNode):
        return _unreadable(_line_of(node), "must hold settings, key: value")
    document = Document()
    document.values.update(_mapping(node, (), document))
    return document


def _read_in_parts(text: str, whole: Document) -> Document:
    """What the parts of a text say, each of which starts a setting or section at the margin.

    One that is no YAML must not hide what is wrong with the others. Where it is not the parts that
    are wrong but what they are together, nothing is known.
    """
    lines = re.findall(r"[^\n]*\n|[^\n]+", text)
    starts = [number for number, line in enumerate(lines) if _AT_MARGIN.match(line)]
    if len(starts) < 2 or any(line.startswith(("---", "...", "%")) for line in lines):
        return whole
    found = Document()
    for start, end in pairwise([0, *starts[1:], len(lines)]):
        part = _read_whole("".join(lines[start:end]))
        for fault in part.faults:
            found.faults.append(YamlFault(fault.line + start, fault.words))
        if part.unread:
            name = _AT_MARGIN.match(lines[max(start, starts[0])])
            assert name is not None
            found.unread.append((name[1],))
        _add_part(found, part, start)
    if (_SECRETS,) in found.unread:  # what seems to follow may be the rest of a secret
        return whole
    return found if found.unread else whole


def _add_part(found: Document, part: Document, lines_above: int) -> None:
    for path, line in part.lines.items():
        if len(path) == 1 and path in found.lines:
            fault = YamlFault(line + lines_above, _twice(path, found.lines[path]))
            found.faults.append(fault)
    new = {key: value for key, value in part.values.items() if key not in found.values}
    found.values.update(new)
    for path, line in part.lines.items():
        if path[0] in new:
            found.lines[path] = line + lines_above


def read_value(text: str) -> object:
    """One value as a command line has it: flow YAML if it starts like that, else a plain scalar.

    Raises ValueError with words that do not hold the text.
    """
    text = text.strip()
    if not text.startswith(("[", "{", '"', "'")):
        return scalar(text)
    document = read_yaml(f"value: {text}")
    if document.faults:
        raise ValueError(document.faults[0].words)
    return document.values.get("value")


def write_yaml(values: Mapping[str, object]) -> str:
    """The text that reads back as these values, in their order."""
    return yaml.dump(values, Dumper=_Writer, sort_keys=False, allow_unicode=True, width=100)


def scalar(text: str) -> object:
    """What a plain scalar means."""
    if text in _NULLS:
        return None
    if text in _BOOLS:
        return _BOOLS[text]
    if _INTEGER.fullmatch(text):
        return int(text) if len(text) <= _MAX_DIGITS else text
    if _NUMBER.fullmatch(text) and not _LEADING_ZERO.fullmatch(text):
        return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
    return text


class _Reader(yaml.SafeLoader):
    """Nodes without tags and aliases, to a bounded depth."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()
        if isinstance(event, yaml.AliasEvent):
            raise _refusal(event, "aliases (*name) are not read; write the value again or quote it")
        if getattr(event, "tag", None) is not None:
            raise _refusal(event, "tags (!name) are not read; write a plain value or quote it")
        if self.depth == _MAX_DEPTH:
            raise _refusal(event, f"goes deeper than {_MAX_DEPTH} levels")
        self.depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self.depth -= 1


class _Writer(yaml.SafeDumper):
    """Words that YAML 1.1 or 1.2 would take for something else are quoted."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ANN401, ARG002 - of the base class
        return True


def _text_node(writer: _Writer, text: str) -> yaml.ScalarNode:
    # What is not printable (a line end of Unicode, say) survives in double quotes only.
    style = None if text.isprintable() else '"'
    return writer.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Writer.add_representer(str, _text_node)
_Writer.add_implicit_resolver("tag:yaml.org,2002:float", _NUMBER, [*"-+.0123456789"])


def _mapping(node: yaml.MappingNode, path: Path, document: Document) -> dict[str, object]:
    values: dict[str, object] = {}
    for key_node, value_node in node.value:
        line = _line_of(key_node)
        if not isinstance(key_node, yaml.ScalarNode):
            document.faults.append(YamlFault(line, "a list or mapping is no name of a setting"))
            continue
        here = (*path, str(key_node.value))
        if key_node.value in values:
            document.faults.append(YamlFault(line, _twice(here, document.lines[here])))
            continue
        document.lines[here] = line
        values[key_node.value] = _value(value_node, here, document)
    return values


def _twice(path: Path, line: int) -> str:
    return f"{dotted(path)} is written a second time; first in line {line}"


def _value(node: yaml.Node, path: Path, document: Document) -> object:
    if isinstance(node, yaml.MappingNode):
        return _mapping(node, path, document)
    if isinstance(node, yaml.SequenceNode):
        return [_item(item, (*path, place), document) for place, item in enumerate(node.value)]
    assert isinstance(node, yaml.ScalarNode)
    return _value_of(node)


def _item(node: yaml.Node, path: Path, document: Document) -> object:
    document.lines[path] = _line_of(node)
    return _value(node, path, document)


def _value_of(node: yaml.ScalarNode) -> object:
    plain = node.style is None
    return scalar(node.value) if plain else node.value


def _line_of(node: yaml.Node) -> int:
    return node.start_mark.line + 1


def dotted(path: Path) -> str:
    """A path as messages have it: source.uri[1]; hostile names cannot break the line."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return printable(text.removeprefix("."))


def printable(text: str, longest: int = 80) -> str:
    """A text in one line, its unprintable characters escaped, cut off where it is long."""
    shown = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text[: longest + 1])
    return shown if len(text) <= longest else f"{shown[: longest - 3]}..."


def _unreadable(line: int, words: str) -> Document:
    return Document(faults=[YamlFault(line, words)], unread=[()])


def _refusal(event: yaml.Event, words: str) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=words, problem_mark=event.start_mark)


def _words_of(error: yaml.MarkedYAMLError) -> str:
    """What the parser says; of the text it quotes single characters, and names of tags."""
    words = re.sub(r" tag handle .*", " tag", error.problem or "is no YAML")
    words = words.replace(r"character '\t' that cannot start any token", "a tab: use spaces")
    return words.removeprefix("but ")


def _code_of(error: yaml.reader.ReaderError) -> int:
    return error.character if isinstance(error.character, int) else ord(error.character)
