"""Units that break the process they are in: they end as failures, and their neighbours are done."""

from __future__ import annotations

from pathlib import Path

import pytest
from breaking import DEADLY, ENDLESS, finish, masks, require_clean, spoil, units, write_pictures
from shared_ray import SharedRay

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


SPOILT = "005.png"


@pytest.fixture(scope="module")
def neighbours(ray: SharedRay, tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, str]]:
    """Masks of all pictures but the one that will be spoilt, by the names of their files."""
    folder = tmp_path_factory.mktemp("undisturbed")
    archive, output = write_pictures(folder / "archive", 12), folder / "out"
    code, text = finish(archive, output, ray=ray)
    assert code == 0, text
    return [row for row in _by_name(output) if row[0] != SPOILT]


def _by_name(output: Path) -> list[tuple[str, str]]:
    return [(Path(uri).name, counts) for uri, counts in masks(output)]


def _run_with(
    tmp_path: Path,
    word: bytes,
    ray: SharedRay,
    neighbours: list[tuple[str, str]],
    *settings: str,
) -> dict[str, dict]:
    archive = write_pictures(tmp_path / "archive", 12)
    spoil(archive / SPOILT, word)
    output = tmp_path / "out"
    code, text = finish(archive, output, *settings, ray=ray)
    assert code == 3, text
    require_clean(output)
    found = units(output)
    assert sum(unit["status"] == "ok" for unit in found.values()) == 11
    assert _by_name(output) == neighbours
    return found


def test_a_unit_that_kills_its_process_is_poison_and_its_neighbours_are_done(
    tmp_path, ray, neighbours
):
    found = _run_with(tmp_path, DEADLY, ray, neighbours, "fetch.threads=16")
    assert found[SPOILT]["error_class"] == "poison"


def test_a_unit_that_never_ends_is_timed_out_and_its_neighbours_are_done(tmp_path, ray, neighbours):
    settings = ("fetch.threads=16", "limits.unit_timeout_s=8")
    found = _run_with(tmp_path, ENDLESS, ray, neighbours, *settings)
    assert found[SPOILT]["error_class"] == "timeout"
