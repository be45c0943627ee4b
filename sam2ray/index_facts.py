"""What earlier indexes know: shards as they were, damage, and units that count no more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import pyarrow as pa

from .manifest import markers, read_manifest, row_groups
from .packed import sorted_ids
from .readers.places import is_animation
from .records import Ids, Kind, as_ids
from .storage import Store

_OF_SHARDS = ("source_uri", "version", "member", "length", "fault", "kind")


def late_columns(store: Store, keep: Sequence[str]) -> tuple[str, ...]:
    """Columns to be kept that units were listed without, before they were named."""
    kept = [facts.get("keep", ()) for facts in markers(store) if facts["added"]]
    return tuple(name for name in keep if any(name not in columns for columns in kept))


def known_shards(store: Store, animations: Kind = "image") -> dict[str, str]:
    """The version of each shard that the latest index with members of it has seen.

    Damaged ones are left out: they are to be looked at each time. So are those whose members that
    may move were taken for something else than `animations` are taken for now.
    """
    versions: dict[str, str] = {}
    damaged: set[tuple[str, str]] = set()
    moving: dict[str, str] = {}  # the latest kind of such members
    for table in read_manifest(store, _OF_SHARDS):
        # Rows of tables are members as well, but have no length.
        is_inside = [table[name].is_valid().to_numpy() for name in ("member", "length")]
        inside = table.filter(pa.array(is_inside[0] & is_inside[1]))
        shards = inside.select(["source_uri", "version"])
        for row in shards.group_by(["source_uri", "version"]).aggregate([]).to_pylist():
            versions[row["source_uri"]] = row["version"]
        for row in inside.filter(inside["fault"].is_valid()).to_pylist():
            damaged.add((row["source_uri"], row["version"]))
        moving |= _kinds_of_moving(inside)
    return {
        uri: version
        for uri, version in versions.items()
        if (uri, version) not in damaged and moving.get(uri, animations) == animations
    }


def _kinds_of_moving(members: pa.Table) -> dict[str, str]:
    """What members that may move are taken for, by their shards: all of one in the same way."""
    may_move = [is_animation(name) for name in members["member"].to_pylist()]
    kinds = members.filter(pa.array(may_move, pa.bool_())).select(["source_uri", "kind"])
    return {row["source_uri"]: row["kind"] for row in kinds.to_pylist()}


@dataclass(frozen=True, slots=True)
class Damage:
    """A unit that stands for what cannot be read in a file."""

    unit_id: str
    source_uri: str
    version: str


def known_damages(store: Store) -> list[Damage]:
    """What indexes found to be damaged, in whatever version of a file."""
    found: list[Damage] = []
    for group in row_groups(store):
        faults = group.read(["fault"])["fault"]
        if faults.null_count < len(faults):  # of most groups nothing else is read
            table = group.read(["unit_id", "source_uri", "version"]).filter(faults.is_valid())
            found += [Damage(**row) for row in table.to_pylist()]
    return found


def mended_ids(store: Store) -> Ids:
    """Units that stand for damage in files that had other content when they were listed last.

    What takes a mended shard's place are its members: none of them names the damage. It counts
    again if the shard goes back to what it was.
    """
    versions: dict[str, str] = {}
    for facts in markers(store):
        versions |= facts.get("looked_at", {})
    # No damage counts for mended before an index says so: most outputs know of none.
    damages = known_damages(store) if versions else []
    mended = (one for one in damages if versions.get(one.source_uri, one.version) != one.version)
    return as_ids([one.unit_id for one in mended])


def superseded_ids(store: Store) -> Ids:
    """Units that count no more, sorted: a newer one has taken their place, or they were mended."""
    tables = read_manifest(store, ["supersedes"])
    named = (as_ids(table["supersedes"].drop_null()) for table in tables)
    return sorted_ids(chain(named, [mended_ids(store)]))
