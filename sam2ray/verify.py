"""An output -> proof that it is whole: every unit once, every mask readable, copies like footers.

Files are read a row group at a time; of each unit some 20 bytes stay. Nothing is written.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow.parquet as pq

from .compact import MARK, broke_off
from .kept_config import CONFIG, kept_config
from .live_units import require_output
from .manifest import FOLDER, manifest_parts
from .outcomes import OK, OutcomeIndex, in_advance, index_of, result_names
from .records import Ids, as_hex, as_ids, is_in
from .root import SUCCESS, Standing
from .sinks.result_files import UNITS, units_name
from .storage import Store
from .verify_file import UNREADABLE, FileFindings, verify_file

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
    """Outcomes of all readable files."""

    names: list[str]
    ids: Ids
    attempts: np.ndarray
    codes: np.ndarray
    files: np.ndarray


def verify_output(store: Store, watch: Callable[[int, int], None] | None = None) -> Findings:
    """Read everything once, and compare it with itself, the config and the manifest."""
    require_output(store)
    findings = Findings(store.uri)
    if broke_off(store):
        findings.complain([f"{MARK}: a compaction into this root broke off: delete the root"])
    names = sorted(result_names(store))
    config_id = _config_id(store, findings)
    found: list[FileFindings] = []
    for file in in_advance(lambda name: verify_file(store, name, config_id), names, _FILES_AHEAD):
        found.append(file)
        findings.complain(file.complaints)
        findings.masks += file.rows
        if watch is not None:
            watch(len(found), len(names))
    findings.files = len(names)
    known = _known(found)
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


def _known(found: Sequence[FileFindings]) -> _Known:
    indexes = [file.outcomes for file in found]
    empty = index_of([])
    files = np.repeat(np.arange(len(found)), [len(index) for index in indexes])
    return _Known(
        [file.name for file in found],
        np.concatenate([empty.ids, *(index.ids for index in indexes)]),
        np.concatenate([empty.attempts, *(index.attempts for index in indexes)]),
        np.concatenate([empty.codes, *(index.codes for index in indexes)]),
        files,
    )


# ---------------------------------------------------------------- units that are there twice


def _repeated(known: _Known) -> Iterator[str]:
    """Units with results in two files, and attempts in two files; a line a pair of files."""
    ids = known.ids
    good = np.flatnonzero(known.codes == OK)
    good = good[np.lexsort((known.files[good], ids["low"][good], ids["high"][good]))]
    pairs = _neighbours(good, ids[good])
    yield from _lines(known, pairs, "results")

    order = np.lexsort((known.files, known.attempts, ids["low"], ids["high"]))
    again = _neighbours(order, ids[order], known.attempts[order])
    seen = {tuple(pair) for pair in pairs.tolist()}
    others = [pair for pair in again.tolist() if tuple(pair) not in seen]
    yield from _lines(known, np.array(others, np.int64).reshape(-1, 2), "the same attempt")


def _neighbours(order: np.ndarray, *keys: np.ndarray) -> np.ndarray:
    """Pairs of outcomes [N, 2] that are the same by all keys; `order` has sorted them."""
    same = np.ones(max(0, len(order) - 1), bool)
    for key in keys:
        same &= key[1:] == key[:-1]
    (places,) = np.nonzero(same)
    return np.stack([order[places], order[places + 1]], axis=1)


def _lines(known: _Known, pairs: np.ndarray, what: str) -> Iterator[str]:
    files = known.files[pairs]
    for one, other in np.unique(files, axis=0).tolist():
        (of_pair,) = np.nonzero((files == (one, other)).all(axis=1))
        (unit_id,) = as_hex(known.ids[pairs[of_pair[0], :1]])
        yield (
            f"{known.names[other]}: holds {what} of {len(of_pair):,} units that "
            f"{known.names[one]} holds too, such as unit {unit_id}; `sam2ray compact` writes "
            "another root, in which each counts once"
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
    manifest = _Manifest()
    try:
        manifest.read(store)
    except UNREADABLE as error:
        yield f"{FOLDER}: cannot be read: {str(error).splitlines()[0]}"
        return
    if not manifest.has_index:
        yield f"{FOLDER}: holds no complete index: run the same command again"
    ids = np.unique(manifest.ids)
    if len(ids) < len(manifest.ids):
        yield f"{FOLDER}: lists {len(manifest.ids) - len(ids):,} units twice"
    hidden = np.unique(manifest.superseded)
    live = ids[~is_in(ids, hidden)]
    outcomes = _latest(known)
    ended, places = outcomes.find(live)
    codes = OutcomeIndex(outcomes.ids, outcomes.attempts, outcomes.codes[places[ended]])
    findings.standing = Standing(len(live), codes.count())
    waiting = live[~ended]
    if len(waiting):
        yield (
            f"{len(waiting):,} of {len(live):,} units have not ended, such as unit "
            f"{as_hex(waiting[:1])[0]}: run the same command again"
        )
    strange = ~is_in(known.ids, ids)
    for file in np.unique(known.files[strange]).tolist():
        own = known.ids[strange & (known.files == file)]
        yield (
            f"{known.names[file]}: holds {len(own):,} units that the manifest does not list, such "
            f"as unit {as_hex(own[:1])[0]}"
        )


@dataclass(slots=True)
class _Manifest:
    """Ids of all units that were ever listed."""

    ids: Ids = field(default_factory=lambda: as_ids([]))
    superseded: Ids = field(default_factory=lambda: as_ids([]))
    has_index: bool = False

    def read(self, store: Store) -> None:
        self.has_index = any(entry.name.endswith(".json") for entry in store.list(FOLDER))
        listed, superseded = [self.ids], [self.superseded]
        for name in manifest_parts(store):
            with store.open(name) as file:
                table = pq.read_table(file, columns=["unit_id", "supersedes"])
            listed.append(as_ids(table["unit_id"]))
            superseded.append(as_ids(table["supersedes"].drop_null()))
        self.ids, self.superseded = np.concatenate(listed), np.concatenate(superseded)


def _latest(known: _Known) -> OutcomeIndex:
    """The outcome of each unit that counts, sorted by id."""
    order = np.lexsort((known.attempts, known.ids["low"], known.ids["high"]))
    ids = known.ids[order]
    last = np.ones(len(ids), bool)
    last[:-1] = ids[1:] != ids[:-1]
    chosen = order[last]
    return OutcomeIndex(known.ids[chosen], known.attempts[chosen], known.codes[chosen])


def _faults_of_mark(store: Store, now: Standing) -> Iterator[str]:
    """_SUCCESS says that all units have ended, and how many."""
    if not store.exists(SUCCESS):
        if now.earns_mark and now.units:
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
