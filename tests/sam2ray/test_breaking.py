"""Processes of a run are killed, as real processes: whatever dies, the same command converges."""

from __future__ import annotations

import random
import re
import signal
import time
from pathlib import Path

import pytest
from breaking import (
    SLOW,
    committed,
    end,
    finish,
    masks,
    require_clean,
    running,
    units,
    wait_for_commits,
    wait_until,
    waves,
    worker,
    write_pictures,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

COUNT = 48


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures that take their time, so that there is something to break."""
    return write_pictures(tmp_path_factory.mktemp("breaking") / "archive", COUNT, SLOW)


@pytest.fixture(scope="module")
def undisturbed(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, str]]:
    output = tmp_path_factory.mktemp("undisturbed")
    code, text = finish(archive, output)
    assert code == 0, text
    require_clean(output)
    return masks(output)


def _converges(archive: Path, output: Path, undisturbed: list[tuple[str, str]]) -> None:
    """The same command again does what is left, and nobody can tell that anything happened."""
    code, text = finish(archive, output)
    assert code == 0, text
    _is_whole(output, undisturbed)


def _is_whole(output: Path, undisturbed: list[tuple[str, str]]) -> None:
    require_clean(output)
    assert masks(output) == undisturbed
    assert {unit["status"] for unit in units(output).values()} == {"ok"}


def test_sigterm_commits_what_is_in_hand_and_other_settings_are_refused(
    archive, tmp_path, undisturbed
):
    with running(archive, tmp_path) as process:
        wait_for_commits(tmp_path, 1, process)
        process.send_signal(signal.SIGTERM)
        code, text = end(process)
    assert code == 1, text
    assert "SIGTERM was received" in text
    assert 0 < len({uri for uri, _ in masks(tmp_path)}) < COUNT

    code, text = finish(archive, tmp_path, "masks.box_nms_thresh=0.5")
    assert code == 2, text
    assert "masks.box_nms_thresh" in text
    _converges(archive, tmp_path, undisturbed)


def test_a_driver_that_is_killed_five_times_in_a_row_loses_and_repeats_nothing(
    archive, tmp_path, undisturbed
):
    chance = random.Random(5)
    for number in range(4):
        with running(archive, tmp_path) as process:
            wait_until(lambda: waves(tmp_path) > number, process)  # noqa: B023 used at once
            time.sleep(chance.uniform(0, 6))  # loading the model takes some of it
            process.kill()
    with running(archive, tmp_path) as process:
        before = committed(tmp_path)
        wait_until(lambda: committed(tmp_path) > before, process)
        process.kill()
    _converges(archive, tmp_path, undisturbed)


def test_killed_processes_cost_a_run_nothing_but_time(archive, tmp_path, undisturbed):
    """A task that fetches and decodes, and the actor with the model."""
    with running(archive, tmp_path) as process:
        worker(process, "ray::MapBatches(prepare)").kill()
        wait_for_commits(tmp_path, 1, process)
        worker(process, "ray::MapWorker(MapBatches(Labeller))").kill()
        code, text = end(process)
    assert code == 0, text
    _is_whole(tmp_path, undisturbed)


def test_a_writer_that_dies_between_its_two_writes_leaves_one_file_of_each_unit(
    archive, tmp_path, undisturbed
):
    mark, output = tmp_path / "killed", tmp_path / "out"
    code, text = finish(archive, output, KILL_BETWEEN_WRITES=str(mark))
    assert code == 0, text
    assert (output / mark.read_text()).exists()
    _is_whole(output, undisturbed)


def test_an_actor_that_dies_in_the_middle_of_a_task_repeats_and_loses_no_unit(tmp_path):
    # Eight units are one input, and two of them a batch: the actor dies with half of them labelled.
    # A task has one output, so that none has gone out that a replay would have to pass over.
    few = write_pictures(tmp_path / "few", 24)
    many = ("masks.points_per_side=12", "masks.box_nms_thresh=1")
    mark, whole, broken = tmp_path / "killed", tmp_path / "whole", tmp_path / "broken"
    code, text = finish(few, whole, *many)
    assert code == 0, text
    code, text = finish(few, broken, *many, KILL_IN_A_TASK=str(mark))
    assert code == 0, text
    assert mark.exists()
    _is_whole(broken, masks(whole))


def test_of_two_runs_at_once_one_is_refused_and_the_other_goes_on(archive, tmp_path, undisturbed):
    with running(archive, tmp_path) as one, running(archive, tmp_path) as other:
        ends = sorted([end(one), end(other)])
    assert [code for code, _ in ends] == [0, 2], ends
    assert re.search("is writing to it|took it over at this moment", ends[1][1])
    _is_whole(tmp_path, undisturbed)
