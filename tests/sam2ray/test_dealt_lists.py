"""Large lists: rows that tasks deal out and bring together are the units of one process."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest
from make_archive import write_parquet

from sam2ray import dealt_lists, shares
from sam2ray.config_file import load_config
from sam2ray.errors import UsageError
from sam2ray.listing import list_source
from sam2ray.listing_progress import ListingState
from sam2ray.manifest import RUNS, Listed, Merged, read_manifest
from sam2ray.storage import LocalStore

SETTINGS = ("mode=prompt", "prompts.coordinates=pixels", "source.keep=[camera]")


@pytest.fixture
def lists(tmp_path: Path) -> Path:
    """Three tables of one list, whose addresses stand in all of them; and a file that is none."""
    folder = tmp_path / "lists"
    rows = [
        {
            "uri": f"s3://b/{n * 7 % 11}.jpg",
            "box": [n, 0, n + 9, 9],
            "camera": str(n % 3),
            "etag": "1",
        }
        for n in range(60)
    ]
    columns = {name: [row[name] for row in rows[:20]] for name in rows[0]}
    write_parquet(folder / "a.parquet", columns, row_group=3)
    cells = [f'{row["uri"]},"{row["box"]}",{row["camera"]},1' for row in rows[20:40]]
    (folder / "b.csv").write_text("\n".join(["uri,box,camera,etag", *cells, "one cell"]) + "\n")
    lines = [json.dumps(row) for row in rows[40:]]
    (folder / "c.jsonl").write_text("\n".join([*lines, '{"uri": ""}']) + "\n")
    (folder / "notes.txt").write_text("to be ignored")
    return folder


def _listed(source: Path, store: LocalStore, states: list[ListingState]) -> tuple[Listed, Merged]:
    config = load_config(None, SETTINGS, source=str(source), output=str(store.folder))
    return list_source(config, store, "1", watch=states.append)


@pytest.mark.usefixtures("two_cpus")
def test_a_list_that_is_dealt_out_to_tasks_has_the_units_of_one_that_is_not(
    tmp_path: Path, lists: Path, monkeypatch: pytest.MonkeyPatch
):
    alone, together = LocalStore(tmp_path / "alone"), LocalStore(tmp_path / "together")
    expected, _ = _listed(lists, alone, [])
    monkeypatch.setattr(shares, "_LARGE_LIST_S", 0.0)
    monkeypatch.setattr(dealt_lists, "UNITS_PER_BUCKET", 25)
    states: list[ListingState] = []
    listed, merged = _listed(lists, together, states)
    assert len(listed.runs) == 3, "ranges of addresses"
    assert (listed.units, listed.ignored) == (expected.units, expected.ignored)
    assert listed.ignored == {".txt": 1, "broken row": 1, "no address": 1}
    assert (merged.added, merged.duplicates) == (11, 0)
    tables = [pa.concat_tables(read_manifest(store)) for store in (alone, together)]
    assert tables[0].sort_by("source_key") == tables[1].sort_by("source_key")
    assert not list(together.list(RUNS)), "nothing is left of what tasks wrote on the way"
    rows = [state for state in states if "rows" in state.doing]
    assert (rows[-1].entries, rows[-1].done) == (60, 9), "the blocks of three tables"

    (lists / "d.csv").write_text("uri,box,camera,etag,kind\ns3://b/x,,,,audio\n")
    with pytest.raises(UsageError, match=r"d\.csv: row 0: kind is one of .*, not 'audio'\.$"):
        _listed(lists, LocalStore(tmp_path / "refused"), [])
