"""Prompts under names, and units -> units with their prompts, whatever order both come in.

A name means a unit by its whole address, else by its path within the source, else by its bare name
if only one unit has it and no other name means that one: of cam1/7.jpg and cam2/7.jpg one is about
a picture that is not there.

Units and prompts meet in shares of a Spill, so that neither side has to fit into memory: all ways
of naming a file agree on what stands before its first dot.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace

from ...addresses import public_name
from ...errors import UsageError
from ...records import Unit
from ..places import base_name, media_kind
from ..spill import Record, Spill
from .fields import PromptFields, prompts_text

_EXAMPLES = 3


@dataclass(frozen=True, slots=True)
class NamedPrompts:
    """Prompts, and the name that a file of prompts gives to what they belong to."""

    name: str
    prompts: tuple[PromptFields, ...]
    by_stem: bool = False  # the name has no suffix: sav_000001 means sav_000001.mp4


@dataclass(slots=True)
class JoinReport:
    """How prompts and units found each other."""

    units: int = 0
    units_with_prompts: int = 0
    names: int = 0  # that prompts were written under
    unmatched: int = 0
    ambiguous: int = 0
    bare: int = 0  # that agree with their unit in its bare name alone, and in no folder
    examples: list[str] = field(default_factory=list)  # of names without their one unit
    example_unit: str = ""
    example_name: str = ""

    def describe(self) -> str:
        """One line for a log."""
        text = (
            f"{self.units_with_prompts} of {self.units} units have prompts; of {self.names} names, "
            f"{self.unmatched} match no unit and {self.ambiguous} several"
        )
        if self.bare:
            text += f"; {self.bare} match by their bare name alone, whatever folder they name"
        return f"{text} (such as {', '.join(self.examples)})" if self.examples else text


class PromptJoin:
    """One join; `report` is complete when `run` has ended."""

    def __init__(self, roots: Sequence[str], spill: Spill | None = None) -> None:
        self._roots = sorted((f"{root.rstrip('/')}/" for root in roots), key=len, reverse=True)
        self._spill = Spill() if spill is None else spill
        self.report = JoinReport()

    def run(self, units: Iterable[Unit], prompts: Iterable[NamedPrompts]) -> Iterator[Unit]:
        """Every unit once, with its prompts if it has any; UsageError behind them if none has."""
        with self._spill as spill:
            for unit in units:
                self.report.units += 1
                self.report.example_unit = self.report.example_unit or _title(unit)
                spill.add(_meeting_point(_title(unit)), ["unit", asdict(unit)])
            for named in prompts:
                name = public_name(named.name)  # as units are called, whoever signed it and when
                self.report.example_name = self.report.example_name or name
                spill.add(_meeting_point(name), ["prompts", name, named.prompts, named.by_stem])
            for share in spill.shares():
                for records in share.values():
                    yield from self._meet(records)
        self._refuse_strangers()

    def _meet(self, records: Sequence[Record]) -> Iterator[Unit]:
        units = [Unit(**record[1]) for record in records if record[0] == "unit"]
        by_name: dict[tuple[str, bool], list[PromptFields]] = {}
        for kind, *content in records:
            if kind == "prompts":
                name, prompts, by_stem = content
                by_name.setdefault((name, by_stem), []).extend(prompts)
        names = _Names(units, self._roots)
        meant = {key: names.find(*key) for key in by_name}
        claims = Counter(match.places[0] for match in meant.values() if len(match.places) == 1)
        found: dict[int, list[PromptFields]] = {}
        for key, match in meant.items():
            is_rival = match.is_bare and len(match.places) == 1 and claims[match.places[0]] > 1
            self._count(key[0], 2 if is_rival else len(match.places))
            if len(match.places) == 1 and not is_rival:
                self.report.bare += match.is_bare
                found.setdefault(match.places[0], []).extend(by_name[key])
        self.report.units_with_prompts += len(found)
        for place, unit in enumerate(units):
            yield _with_prompts(unit, found[place]) if place in found else unit

    def _count(self, name: str, matches: int) -> None:
        report = self.report
        report.names += 1
        report.unmatched += matches == 0
        report.ambiguous += matches > 1
        if matches != 1 and len(report.examples) < _EXAMPLES:
            report.examples.append(name)

    def _refuse_strangers(self) -> None:
        report = self.report
        if not report.names:
            raise UsageError("The file of prompts holds no prompt.")
        if report.units and not report.units_with_prompts:
            raise UsageError(
                f"No prompt belongs to any unit. Prompts are for {report.example_name!r} and so "
                f"on, the source holds {report.example_unit!r} and so on. Names match by their "
                "whole address, by the path within the source, or by a bare name that is unique "
                f"({report.ambiguous} of {report.names} names mean several units)."
            )


@dataclass(frozen=True, slots=True)
class _Match:
    """The units that a name means."""

    places: Sequence[int]
    is_bare: bool = False  # by its last part alone: its folders are not those of the unit


class _Names:
    """What units may be called, from the most to the least exact."""

    def __init__(self, units: Sequence[Unit], roots: Sequence[str]) -> None:
        self._addresses: dict[str, list[int]] = {}
        self._paths: dict[str, list[int]] = {}
        self._bases: dict[str, list[int]] = {}
        self._stems: dict[str, list[int]] = {}
        for place, unit in enumerate(units):
            path = unit.member or _relative(unit.source_uri, roots)
            base = base_name(path)
            if unit.member is None:
                self._addresses.setdefault(unit.source_uri.rstrip("/"), []).append(place)
            self._paths.setdefault(path.removeprefix("./"), []).append(place)
            self._bases.setdefault(base, []).append(place)
            self._stems.setdefault(_stem(base), []).append(place)

    def find(self, name: str, by_stem: bool) -> _Match:
        """The units that a name means; the first way of naming that finds any decides."""
        name = name.rstrip("/")
        base = base_name(name)
        ways: list[tuple[Mapping[str, list[int]], str]] = [
            (self._addresses, name),
            (self._paths, name.removeprefix("./")),
            (self._bases, base),
        ]
        if by_stem:
            ways.append((self._stems, base))
        for known, key in ways:
            if key in known:
                exact = known is self._addresses or known is self._paths
                return _Match(known[key], is_bare=not exact and base != name.removeprefix("./"))
        return _Match([])


def _with_prompts(unit: Unit, prompts: list[PromptFields]) -> Unit:
    own = json.loads(unit.prompts) if unit.prompts else []
    return replace(unit, prompts=prompts_text([*own, *prompts]))


def _title(unit: Unit) -> str:
    return unit.member or unit.source_uri


def _meeting_point(name: str) -> str:
    return base_name(name).partition(".")[0]


def _stem(base: str) -> str:
    return base.rpartition(".")[0] if media_kind(base) else base


def _relative(uri: str, roots: Sequence[str]) -> str:
    for root in roots:
        if uri.startswith(root):
            return uri.removeprefix(root)
    return uri
