"""Labelled units -> result files of whole units, each a commit, and a word to the ledger."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ..lease import check_still_held
from ..ledger import Ending
from ..records import OUTCOME_SCHEMA
from ..stages.columns import bytes_of, unpack_rows
from ..stages.hands import LedgerClient
from .result_files import ResultFile, ResultPlace, copy_outcomes, read_outcomes

_SECONDS = ("fetch_s", "decode_s", "model_s", "pack_s")
_TOLD = ["unit_id", "attempt", "error_class", "masks", "frames", *_SECONDS]


@dataclass(frozen=True, slots=True)
class Committer:
    """Writes what a batch of units brought, in files of bounded size."""

    place: ResultPlace
    lease: int
    commit_every_units: int
    commit_every_bytes: int
    compression: str

    def commit(self, labelled: pa.Table, ledger: LedgerClient) -> int:
        """Commit all units of a table that are not committed yet; how many there were."""
        kept = labelled.filter(_is_not(labelled["skipped"]))
        waiting = kept.filter(_is_not(kept["is_committed"]))
        written, next_part = self._written_before(labelled)
        is_written = pc.field("unit_id").isin(pa.array(written, pa.string()))
        report(waiting.filter(is_written), ledger)
        new = waiting.filter(~is_written)
        for number, part in enumerate(self._parts(new), start=next_part):
            self._write(part, self._name(labelled, number))
            report(part, ledger)
        report(kept.filter(kept["is_committed"]), ledger)
        return len(kept)

    def _written_before(self, labelled: pa.Table) -> tuple[list[str], int]:
        """Units of a table that were committed by who died over it, and the number of files.

        Where a node was lost, what it held is made again, and may have failed this time or be of
        another size: which units are in a file is told by the file, not by counting.
        """
        store, written, part = self.place.store, [], 0
        while store.exists(name := self._name(labelled, part)):
            outcomes = read_outcomes(store, name)
            copy_outcomes(store, name, outcomes)
            written += outcomes["unit_id"].to_pylist()
            part += 1
        return written, part

    def _name(self, labelled: pa.Table, part: int) -> str:
        ids, attempts = labelled["unit_id"].to_pylist(), labelled["attempt"].to_pylist()
        return self.place.name_of(ids, attempts, part)

    def _parts(self, units: pa.Table) -> Iterator[pa.Table]:
        """Units in order, so many that a file has its size; a large one may have its own."""
        sizes = [0 if packed is None else len(packed) for packed in bytes_of(units["rows"])]
        start = total = 0
        for place, size in enumerate(sizes):
            full = place - start >= self.commit_every_units
            if place > start and (full or total + size > self.commit_every_bytes):
                yield units.slice(start, place - start)
                start, total = place, 0
            total += size
        if start < len(sizes):
            yield units.slice(start)

    def _write(self, units: pa.Table, name: str) -> None:
        with ResultFile(self.place, compression=self.compression) as file:
            for packed in bytes_of(units["rows"]):
                if packed is not None:
                    file.add(unpack_rows(packed))
            file.commit(
                units.select(OUTCOME_SCHEMA.names),
                still_mine=lambda: check_still_held(self.place.store, self.lease),
                name=name,
                is_new=True,  # see _written_before: parts are written one after another
            )


def _is_not(flags: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.call_function("invert", [flags])


def report(units: pa.Table, ledger: LedgerClient) -> None:
    """Tell the ledger how committed units ended."""
    if len(units):
        ledger.report([ending_of(row) for row in units.select(_TOLD).to_pylist()])


def ending_of(outcome: Mapping[str, Any]) -> Ending:
    """How a unit ended, as much as a tally needs."""
    return Ending(
        outcome["unit_id"],
        outcome["error_class"],
        outcome["masks"] or 0,
        outcome["frames"] or 0,
        {name.removesuffix("_s"): outcome[name] for name in _SECONDS if outcome[name]},
        is_first=outcome["attempt"] <= 1,
    )
