"""What is listed now, beside what earlier indexes know of the same sources: is it still the same?

What has no version now is taken for what it was: a server was away, or a file is. And what had none
before is taken for what has one now: its unit stays, unless its size says that it is another. From
then on the version that was seen first is the one it is compared with. A source that is taken for
another kind, a moving picture for a clip, is another unit; its content is the same, so it repeats.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, get_args

import numpy as np
import pyarrow as pa

from .packed import first_places, is_in
from .records import UNIT_COLUMNS, Ids, Kind, Unit, as_hex, as_ids
from .unit_rows import unit_of, unit_table

PAST_COLUMNS = ("source_key", "unit_id", "content_id", "version", "length", "kind")
_KINDS = get_args(Kind)
_NO_LENGTH = -1


@dataclass(slots=True, eq=False)
class Past:
    """What earlier indexes know of the sources of a bucket, in the order of its rows."""

    table: pa.Table  # what is listed now, sorted by its keys
    keys: Ids
    contents: Ids
    known: np.ndarray  # bool: whether there was such a source
    latest_ids: Ids
    latest_contents: Ids
    latest_kinds: np.ndarray
    repeats: np.ndarray  # how often a source had this very content
    unversioned: np.ndarray  # bool: nobody could tell which version there is now
    latest_versions: dict[int, str]  # of those, by their places
    latest_unversioned: np.ndarray  # bool: nobody could tell which version there was
    latest_lengths: np.ndarray
    told: np.ndarray  # bool: the same as before, and now there is a version

    @classmethod
    def of(cls, table: pa.Table) -> Past:
        """Nothing is known yet."""
        keys, contents = as_ids(table["source_key"]), as_ids(table["content_id"]).copy()
        none = np.zeros(len(keys), bool)
        return cls(
            table,
            keys,
            contents,
            none.copy(),
            np.zeros_like(keys),
            np.zeros_like(keys),
            _kinds(table),
            np.zeros(len(keys), np.int32),
            _are_unversioned(table),
            {},
            none.copy(),
            np.full(len(keys), _NO_LENGTH, np.int64),
            none.copy(),
        )

    def take(self, table: pa.Table) -> None:
        """Take note of what an index says, the oldest first; it names a source once at most."""
        keys = as_ids(table["source_key"])
        listed = is_in(keys, self.keys)
        places = first_places(self.keys, keys[listed])
        contents = as_ids(table["content_id"])[listed]
        self.known[places] = True
        self.latest_ids[places] = as_ids(table["unit_id"])[listed]
        self.latest_contents[places] = contents
        self.repeats[places] += contents == self.contents[places]
        self.latest_kinds[places] = _kinds(table)[listed]
        self.latest_unversioned[places] = _are_unversioned(table)[listed]
        self.latest_lengths[places] = _lengths(table)[listed]
        if self.unversioned.any():
            versions = table["version"].filter(pa.array(listed)).to_pylist()
            told = zip(places.tolist(), versions, strict=True)
            self.latest_versions |= {at: one for at, one in told if self.unversioned[at]}

    def keep_unless_known_otherwise(self) -> None:
        """A version that nobody can tell, now or when it was listed last, is no other one."""
        silent = np.zeros(len(self.keys), bool)
        silent[[*self.latest_versions]] = True
        for at, unit in self._units(silent & self.known):
            self._keep_if_it_was(replace(unit, version=self.latest_versions[at]), at)
        lengths = _lengths(self.table)
        is_other = (lengths != self.latest_lengths) & (lengths != _NO_LENGTH)
        is_other &= self.latest_lengths != _NO_LENGTH
        is_other |= self.latest_kinds != _kinds(self.table)
        may_be_told = self.changed & self.latest_unversioned & ~self.unversioned & ~is_other
        for at, unit in self._units(may_be_told):
            # Damage is known by its version: where another is looked at, it counts for mended.
            if unit.fault is None:
                self.told[at] = self._keep_if_it_was(replace(unit, version=""), at)

    def _keep_if_it_was(self, unit: Unit, at: int) -> bool:
        was_so = bool(as_ids([unit.content_id])[0] == self.latest_contents[at])
        if was_so:
            self.contents[at] = self.latest_contents[at]
        return was_so

    def _units(self, chosen: np.ndarray) -> Iterator[tuple[int, Unit]]:
        rows = self.table.filter(pa.array(chosen))
        places = iter(np.flatnonzero(chosen).tolist())
        for batch in rows.to_batches(max_chunksize=8192):
            yield from ((next(places), unit_of(row)) for row in batch.to_pylist())

    @property
    def changed(self) -> np.ndarray:
        """Which sources have other content than they had last, or are of another kind."""
        is_other = self.latest_contents != self.contents
        return self.known & (is_other | (self.latest_kinds != _kinds(self.table)))

    def successors(self) -> list[Unit]:
        """The units of the rows that changed, each naming the one whose place it takes."""
        changed = self.changed
        earlier = as_hex(self.latest_ids[changed])
        repeats = self.repeats[changed].tolist()
        return [
            replace(unit, supersedes=unit_id, repeat=repeat)
            for (_, unit), unit_id, repeat in zip(
                self._units(changed), earlier, repeats, strict=True
            )
        ]

    def as_told(self) -> pa.Table:
        """Rows of units that have a version now, under the ids that they have without."""
        table = unit_table([unit for _, unit in self._units(self.told)])
        ids = pa.array(as_hex(self.latest_ids[self.told]), pa.string())
        place = UNIT_COLUMNS.get_field_index("unit_id")
        return table.set_column(place, UNIT_COLUMNS.field(place), ids)


def _are_unversioned(table: pa.Table) -> np.ndarray:
    return np.array([not one for one in table["version"].to_pylist()], bool)


def _kinds(table: pa.Table) -> np.ndarray:
    return np.array([_KINDS.index(one) for one in table["kind"].to_pylist()], np.int8)


def _lengths(table: pa.Table) -> np.ndarray[Any, np.dtype[np.int64]]:
    return table["length"].fill_null(_NO_LENGTH).to_numpy()
