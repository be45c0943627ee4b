"""An output -> proof that it is whole: every unit once, every mask readable, copies like footers.

Files are read a row group at a time; of each unit some 40 bytes stay. Nothing is written but the
copies of outcomes that killed processes had no time for.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from .compact import MARK, broke_off
from .index_facts import mended_ids
from .kept_config import CONFIG, kept_config
from .live_units import require_output
from .manifest import FOLDER, read_manifest
from .outcomes import OK, OutcomeIndex, count_codes, in_advance, named, result_names
from .packed import (
    PackedRows,
    Rows,
    blocks,
    first_id,
    is_in,
    is_last_of_its_id,
    keep,
    keep_last_of_each,
)
from .records import Ids, as_ids
from .root import SUCCESS, Standing
from .sinks.result_files import UNITS, units_name
from .storage import Store
from .verify_file import UNREADABLE, verify_file

_MOST = 50  # complaints that are kept
_FILES_AHEAD = 2


@dataclass(slots=True)
class Findings:
    """What is wrong with an output, and how much of it was looked at."""

    uri: str
    complaints: list[str] = field(default_factory=list)
    unsaid: int = 0
    files: int = 0
    masks: int = 0
    standing: Standing = field(default_factory=lambda: Standing(0))

    @property
    def is_consistent(self) -> bool:
        """Whether nothing was found."""
        return not self.complaints

    @property
    def summary(self) -> str:
        """One line."""
        verdict = "consistent" if self.is_consistent else "NOT consistent"
        now = self.standing
        return (
            f"{self.uri}: {verdict}: {now.units:,} units ({now.ok:,} done, {now.failed:,} failed), "
            f"{self.files:,} files, {self.masks:,} masks"
        )

    def complain(self, words: Iterator[str] | Sequence[str]) -> None:
        """Keep the first complaints, and count the others."""
        for text in words:
            if len(self.complaints) < _MOST:
                self.complaints.append(text)
            else:
                self.unsaid += 1


@dataclass(frozen=True, slots=True, eq=False)
class _Known:
    """Outcomes of all readable files, sorted by id, attempt, how it ended, and file."""

    names: list[str]
    rows: Rows


def verify_output(store: Store, watch: Callable[[int, int], None] | None = None) -> Findings:
    """Read everything once, and compare it with itself, the config and the manifest."""
    require_output(store)
    findings = Findings(store.uri)
    if broke_off(store):
        findings.complain([f"{MARK}: a compaction into this root broke off: delete the root"])
    names = sorted(result_names(store))
    config_id = _config_id(store, findings)
    packed = PackedRows(attempt="u1", code="u1", file=">u4")
    files = in_advance(lambda name: verify_file(store, name, config_id), names, _FILES_AHEAD)
    for number, file in enumerate(files):
        rows = file.outcomes.rows
        packed.add(rows, attempt=rows["attempt"], code=rows["code"], file=number)
        findings.complain(file.complaints)
        findings.masks += file.rows
        if watch is not None:
            watch(number + 1, len(names))
    findings.files = len(names)
    known = _Known(names, packed.take())
    findings.complain(_repeated(known))
    findings.complain(_copies_without_file(store, names))
    findings.complain(_compare_with_manifest(store, known, findings))
    findings.complain(_faults_of_mark(store, findings.standing))
    return findings


def _config_id(store: Store, findings: Findings) -> str | None:
    try:
        return kept_config(store).config_id
    except UNREADABLE as error:
        findings.complain([f"{CONFIG}: cannot be read: {str(error).splitlines()[0]}"])
        return None


# ---------------------------------------------------------------- units that are there twice


def _repeated(known: _Known) -> Iterator[str]:
    """Units with results in two files, and attempts in two files; a line a pair of files."""
    is_last = is_last_of_its_id(known.rows)
    is_first = np.append(True, is_last)[:-1]
    several = known.rows[~(is_first & is_last)]  # none of most outputs
    good = several[several["code"] == OK]
    yield from _lines(known, *_pairs(good, "low", "high"), "results")
    # A clip's file and the row of its failure may both come of one attempt where its node died in
    # between: the good one counts, everywhere.
    one, other = _pairs(several, "attempt", "low", "high")
    unsaid = (one["code"] != OK) & (other["code"] != OK)
    yield from _lines(known, one[unsaid], other[unsaid], "the same attempt")


def _pairs(rows: Rows, *names: str) -> tuple[Rows, Rows]:
    """Rows of one file after another that are the same in these fields."""
    rows = rows[np.lexsort((rows["file"], *(rows[name] for name in names)))]
    same = np.ones(max(0, len(rows) - 1), bool)
    for name in names:
        same &= rows[name][1:] == rows[name][:-1]
    return rows[:-1][same], rows[1:][same]


def _lines(known: _Known, ones: Rows, others: Rows, what: str) -> Iterator[str]:
    files = np.stack([ones["file"], others["file"]], axis=1)
    for one, other in np.unique(files, axis=0).tolist():
        (of_pair,) = np.nonzero((files == (one, other)).all(axis=1))
        yield (
            f"{known.names[other]}: holds {what} of {len(of_pair):,} units that "
            f"{known.names[one]} holds too, such as unit {first_id(ones[of_pair])}; "
            "`sam2ray compact` writes another root, in which each counts once"
        )


def _copies_without_file(store: Store, names: Sequence[str]) -> Iterator[str]:
    wanted = {units_name(name) for name in names}
    for entry in store.list(UNITS):
        if entry.name not in wanted:
            yield (
                f"{entry.name}: is no copy of a file that is there: its units have no results; "
                "put the file back, or delete this copy"
            )


# ---------------------------------------------------------------- the manifest


def _compare_with_manifest(store: Store, known: _Known, findings: Findings) -> Iterator[str]:
    try:
        manifest = _read_manifest(store)
    except UNREADABLE as error:
        yield f"{FOLDER}: cannot be read: {str(error).splitlines()[0]}"
        return
    if not manifest.has_index:
        yield f"{FOLDER}: holds no complete index: run the same command again"
    yield from _strange(known, manifest.ids)
    yield from _take_stock(known, manifest, findings)


def _strange(known: _Known, ids: Ids) -> Iterator[str]:
    strange = known.rows[~is_in(known.rows, ids)]
    for file in np.unique(strange["file"]).tolist():
        own = strange[strange["file"] == file]
        yield (
            f"{known.names[file]}: holds {len(own):,} units that the manifest does not list, such "
            f"as unit {first_id(own)}"
        )


def _take_stock(known: _Known, manifest: _Manifest, findings: Findings) -> Iterator[str]:
    """How all live units have ended, and which have not; the arrays are used up."""
    live = keep(manifest.ids, ~is_in(manifest.ids, manifest.superseded))
    outcomes = OutcomeIndex(keep_last_of_each(known.rows))
    ended, waiting = count_codes(np.zeros(0, np.uint8)), PackedRows()
    for some in blocks(live):
        is_known, places = outcomes.find(some)
        ended += count_codes(outcomes.codes[places[is_known]])
        waiting.add(some[~is_known])
    findings.standing = Standing(len(live), named(ended))
    if len(waiting):
        yield (
            f"{len(waiting):,} of {len(live):,} units have not ended, such as unit "
            f"{first_id(waiting.take())}: run the same command again"
        )


@dataclass(frozen=True, slots=True, eq=False)
class _Manifest:
    """Ids of all units that were ever listed."""

    has_index: bool
    ids: Ids  # sorted, each once
    superseded: Ids


def _read_manifest(store: Store) -> _Manifest:
    has_index = any(entry.name.endswith(".json") for entry in store.list(FOLDER))
    ids, superseded = PackedRows(), PackedRows()
    for table in read_manifest(store, ["unit_id", "supersedes"]):
        ids.add(as_ids(table["unit_id"]))
        superseded.add(as_ids(table["supersedes"].drop_null()))
    superseded.add(mended_ids(store))
    kept, hidden = (keep_last_of_each(packed.take()) for packed in (ids, superseded))
    return _Manifest(has_index, kept, hidden)


def _faults_of_mark(store: Store, now: Standing) -> Iterator[str]:
    """_SUCCESS says that all units have ended, and how many."""
    if not store.exists(SUCCESS):
        if now.is_final and now.units:
            yield f"{SUCCESS}: is missing, though all units have ended: run the same command again"
        return
    wanted = {"units": now.units, "ok": now.ok, "failed": now.failed}
    try:
        said = json.loads(store.read(SUCCESS))
    except ValueError:
        said = None
    if not now.is_complete:
        yield f"{SUCCESS}: is there, though units wait: run the same command again"
    elif said != wanted:
        yield f"{SUCCESS}: says {said}, but there are {wanted}"
