"""Units that break the process they are in: they end as failures, and their neighbours are done."""

from __future__ import annotations

from pathlib import Path

import pytest
from breaking import DEADLY, ENDLESS, finish, masks, require_clean, spoil, units, write_pictures

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def _run_with(tmp_path: Path, word: bytes, *settings: str) -> dict[str, dict]:
    archive = write_pictures(tmp_path / "archive", 12)
    code, text = finish(archive, tmp_path / "undisturbed")
    assert code == 0, text
    spoil(archive / "005.png", word)
    output = tmp_path / "out"
    code, text = finish(archive, output, *settings)
    assert code == 3, text
    require_clean(output)
    found = units(output)
    assert sum(unit["status"] == "ok" for unit in found.values()) == 11
    neighbours = [row for row in masks(tmp_path / "undisturbed") if not row[0].endswith("005.png")]
    assert masks(output) == neighbours
    return found


def test_a_unit_that_kills_its_process_is_poison_and_its_neighbours_are_done(tmp_path):
    found = _run_with(tmp_path, DEADLY, "fetch.threads=16")
    assert found["005.png"]["error_class"] == "poison"


def test_a_unit_that_never_ends_is_timed_out_and_its_neighbours_are_done(tmp_path):
    found = _run_with(tmp_path, ENDLESS, "fetch.threads=16", "limits.unit_timeout_s=8")
    assert found["005.png"]["error_class"] == "timeout"
