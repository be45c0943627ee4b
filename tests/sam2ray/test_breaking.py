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
from shared_ray import SharedRay, shared_ray

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

COUNT = 48
AT_ONCE = "fetch.threads=8"  # where nothing has to be caught in the act


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures that take their time, so that there is something to break."""
    return write_pictures(tmp_path_factory.mktemp("breaking") / "archive", COUNT, SLOW)


@pytest.fixture(scope="module")
def undisturbed(
    archive: Path, ray: SharedRay, tmp_path_factory: pytest.TempPathFactory
) -> list[tuple[str, str]]:
    output = tmp_path_factory.mktemp("undisturbed")
    code, text = finish(archive, output, AT_ONCE, ray=ray)
    assert code == 0, text
    require_clean(output)
    return masks(output)


def _converges(
    archive: Path, output: Path, ray: SharedRay, undisturbed: list[tuple[str, str]]
) -> None:
    """The same command again does what is left, and nobody can tell that anything happened."""
    code, text = finish(archive, output, AT_ONCE, ray=ray)
    assert code == 0, text
    _is_whole(output, undisturbed)


def _is_whole(output: Path, undisturbed: list[tuple[str, str]]) -> None:
    require_clean(output)
    assert masks(output) == undisturbed
    assert {unit["status"] for unit in units(output).values()} == {"ok"}


def test_sigterm_commits_what_is_in_hand_and_other_settings_are_refused(
    archive, tmp_path, ray, undisturbed
):
    with running(archive, tmp_path, ray=ray) as process:
        wait_for_commits(tmp_path, 1, process)
        process.send_signal(signal.SIGTERM)
        code, text = end(process)
    assert code == 1, text
    assert "SIGTERM was received" in text
    assert 0 < len({uri for uri, _ in masks(tmp_path)}) < COUNT

    code, text = finish(archive, tmp_path, "masks.box_nms_thresh=0.5", ray=ray)
    assert code == 2, text
    assert "masks.box_nms_thresh" in text
    _converges(archive, tmp_path, ray, undisturbed)


def test_a_driver_that_is_killed_five_times_in_a_row_loses_and_repeats_nothing(
    archive, tmp_path, ray, undisturbed
):
    """Some have a Ray of their own, which ends with them; others leave one that clears up."""
    chance = random.Random(5)
    for number in range(4):
        with running(archive, tmp_path, ray=ray if number % 2 else None) as process:
            wait_until(lambda: waves(tmp_path) > number, process)  # noqa: B023 used at once
            time.sleep(chance.uniform(0, 6))  # loading the model takes some of it
            process.kill()
    with running(archive, tmp_path) as process:
        before = committed(tmp_path)
        wait_until(lambda: committed(tmp_path) > before, process)
        process.kill()
    _converges(archive, tmp_path, ray, undisturbed)


@pytest.mark.long
def test_what_a_run_with_six_cpus_has_begun_one_with_two_ends(archive, tmp_path, ray, undisturbed):
    output, more = tmp_path / "out", ("resources.actors=3", "resources.batch_size=1")
    with (
        shared_ray(tmp_path, cpus=6) as larger,
        running(archive, output, *more, ray=larger) as process,
    ):
        wait_for_commits(output, 2, process)
        process.kill()
        _, text = end(process)
    assert "the cluster has 6 CPUs" in text
    assert 0 < len(units(output)) < COUNT
    code, text = finish(archive, output, ray=ray)
    assert code == 0, text
    assert "the cluster has 2 CPUs" in text
    _is_whole(output, undisturbed)


def test_one_cpu_is_enough(archive, tmp_path, undisturbed):
    """Ray Data books a whole one to cut up what is due, whatever models and tasks leave."""
    output = tmp_path / "out"
    with shared_ray(tmp_path, cpus=1) as small:
        code, text = finish(archive, output, AT_ONCE, ray=small)
    assert code == 0, text
    assert "the cluster has 1 CPU " in text
    _is_whole(output, undisturbed)


def test_killed_processes_cost_a_run_nothing_but_time(archive, tmp_path, ray, undisturbed):
    """A task that fetches and decodes, and the actor with the model."""
    with running(archive, tmp_path, ray=ray) as process:
        worker(process, "ray::MapBatches(prepare)").kill()
        wait_for_commits(tmp_path, 1, process)
        worker(process, "ray::MapWorker(MapBatches(Labeller))").kill()
        code, text = end(process)
    assert code == 0, text
    _is_whole(tmp_path, undisturbed)


def test_a_writer_that_dies_between_its_two_writes_leaves_one_file_of_each_unit(
    archive, tmp_path, ray, undisturbed
):
    ray.arm("kill-between-writes")
    code, text = finish(archive, tmp_path, ray=ray)
    assert code == 0, text
    assert (tmp_path / ray.done_by("kill-between-writes")).exists()
    _is_whole(tmp_path, undisturbed)


def test_an_actor_that_dies_in_the_middle_of_a_task_repeats_and_loses_no_unit(
    archive, tmp_path, ray, undisturbed
):
    # Eight units are one input, and two of them a batch: the actor dies with half of them labelled.
    # A task has one output, so that none has gone out that a replay would have to pass over.
    ray.arm("kill-in-a-task")
    code, text = finish(archive, tmp_path, ray=ray)
    assert code == 0, text
    assert ray.done_by("kill-in-a-task") == "two batches"
    _is_whole(tmp_path, undisturbed)


def test_of_two_runs_at_once_one_is_refused_and_the_other_goes_on(
    archive, tmp_path, ray, undisturbed
):
    with running(archive, tmp_path, ray=ray) as one, running(archive, tmp_path, ray=ray) as other:
        ends = sorted([end(one), end(other)])
    assert [code for code, _ in ends] == [0, 2], ends
    assert re.search("is writing to it|took it over at this moment", ends[1][1])
    _is_whole(tmp_path, undisturbed)
