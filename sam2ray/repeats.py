"""Units that two indexes of a manifest list count once.

Two runs that compare their source with the same past both add what is new in it; a manifest is
never changed, so whoever reads it passes over what was there before.
"""

from __future__ import annotations

import json

import numpy as np

from .manifest import FOLDER
from .packed import first_places, is_in, sorted_ids
from .parquet_tables import read_table
from .records import Ids, as_ids
from .storage import Store


class FirstTimes:
    """Says of units, as they are read one after another, which are met for the first time."""

    def __init__(self, may_repeat: Ids) -> None:
        self._ids = may_repeat  # sorted, each once
        self._met = np.zeros(len(may_repeat), bool)

    @classmethod
    def in_manifest(cls, store: Store) -> FirstTimes:
        """For one reading of a manifest; of its largest index nothing is kept.

        Of two indexes that list a unit at most one is the largest, so the others tell.
        """
        parts = [facts["parts"] for facts in _by_size(store)]
        names = [name for of_index in parts[:-1] for name in of_index]
        return cls(sorted_ids(_ids_in(store, name) for name in names))

    def among(self, ids: Ids) -> np.ndarray:
        """Which of these units were not met before."""
        first = np.ones(len(ids), bool)
        if not len(self._ids):
            return first
        may_repeat = is_in(ids, self._ids)
        places = first_places(self._ids, ids[may_repeat])
        is_first = ~self._met[places]
        _, earliest = np.unique(places, return_index=True)
        is_first[np.setdiff1d(np.arange(len(places)), earliest)] = False
        self._met[places] = True
        first[may_repeat] = is_first
        return first


def _by_size(store: Store) -> list[dict]:
    """What indexes say of themselves, the largest last; those that added nothing have no parts."""
    names = sorted(entry.name for entry in store.list(FOLDER) if entry.name.endswith(".json"))
    indexes = [json.loads(store.read(name)) for name in names]
    return sorted((facts for facts in indexes if facts["parts"]), key=lambda facts: facts["added"])


def _ids_in(store: Store, name: str) -> Ids:
    with store.open(name) as file:
        return as_ids(read_table(file, ["unit_id"])["unit_id"])
