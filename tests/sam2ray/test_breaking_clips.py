"""Clips that break the process they are in: they end as failures, and their neighbours are done."""

from __future__ import annotations

from pathlib import Path

import pytest
from breaking import DEADLY, ENDLESS, finish, masks, require_clean, spoil, units
from make_video import write_video

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(600)]

CLIPS, FRAMES = 6, 8
SETTINGS = ("resources.video_lanes=2", "limits.unit_timeout_s=6")


def _write_clips(folder: Path) -> Path:
    folder.mkdir()
    for number in range(CLIPS):
        write_video(folder / f"{number}.mp4", FRAMES + number)
    return folder


def _masks(output: Path, spoilt: tuple[str, ...] = ()) -> list[tuple[str, str]]:
    named = [(Path(uri).name, counts) for uri, counts in masks(output)]
    return [row for row in named if row[0] not in spoilt]


def test_clips_that_kill_their_process_or_never_end_cost_their_neighbours_nothing(tmp_path):
    """Both in one archive: a frame that kills the actor, and one that its decoder never gives."""
    sound = tmp_path / "sound"
    code, text = finish(_write_clips(tmp_path / "undisturbed"), sound, *SETTINGS)
    assert code == 0, text
    archive, output = _write_clips(tmp_path / "archive"), tmp_path / "out"
    spoil(archive / "1.mp4", DEADLY)
    spoil(archive / "4.mp4", ENDLESS)
    code, text = finish(archive, output, *SETTINGS)
    assert code == 3, text
    require_clean(output)
    found = units(output)
    classes = {name: unit["error_class"] for name, unit in sorted(found.items())}
    assert classes == {f"{n}.mp4": {1: "poison", 4: "timeout"}.get(n) for n in range(CLIPS)}
    assert all(found[f"{n}.mp4"]["frames"] == FRAMES + n for n in range(CLIPS) if n not in (1, 4))
    neighbours = _masks(output)
    assert {name for name, _ in neighbours} == {"0.mp4", "2.mp4", "3.mp4", "5.mp4"}
    assert neighbours == _masks(sound, ("1.mp4", "4.mp4"))
