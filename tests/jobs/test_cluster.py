"""Jobs on a real Ray cluster of several nodes: submitted, stopped, killed, started by a clock."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.dataset as pads
import pytest
from make_clip import textured_picture
from PIL import Image
from ray.job_submission import JobDetails, JobStatus
from ray.util.state import list_actors, list_nodes, list_tasks
from real_cluster import RealCluster, kill_driver, real_cluster, wait_for_end

from sam2ray import lease
from sam2ray.storage import LocalStore
from sam2ray.verify import verify_output

ROOT = Path(__file__).parents[2]
FAULTS = ROOT / "tests" / "support" / "faults"
SLOW = b"this unit is slow"
UNITS = 24
OPTIONS = (
    "--model=nano",
    "--set=model.image_size=64",
    "--set=masks.points_per_side=3",
    "--set=masks.pred_iou_thresh=0",
    "--set=masks.stability_score_thresh=0",
    "--set=output.commit_every_units=2",
    "--set=resources.batch_size=1",
    "--set=resources.actors=2",
)
RUN = ("sam2ray", "run")
WATCHES_FOR_AN_HOUR = """
from functools import partial
from sam2ray import cli, lease
lease.acquire = partial(lease.acquire, watch_s=3600.0)
cli.main()
"""

ASKS_WHO_HAS_ENDED = """
import sys
from dataclasses import replace
from sam2ray.cluster import ensure_ray
from sam2ray.ray_jobs import RayJobs, this_driver

ensure_ray()
me, jobs = this_driver("ours"), RayJobs()
ended = replace(me, job_id=sys.argv[1])
asked = [me, ended, replace(ended, session="another"), replace(me, job_id="99000000")]
print([jobs.has_ended(one) for one in asked])
"""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def cluster() -> Iterator[RealCluster]:
    """Two nodes that work, and a head that does not."""
    environment = {
        "RAY_AUTH_MODE": "disabled",
        "OMP_NUM_THREADS": "1",
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "PYTHONPATH": os.pathsep.join([str(FAULTS), str(ROOT)]),
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        patch.delenv("RAY_ADDRESS", raising=False)
        with real_cluster({"first": 3, "second": 3}) as started:
            yield started


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures each of which takes its time, so that there is something to break."""
    folder = tmp_path_factory.mktemp("pictures")
    for number in range(UNITS):
        _draw(folder / f"{number:03}.png", number, SLOW)
    return folder


def _draw(path: Path, number: int, word: bytes = b"") -> None:
    Image.fromarray(np.asarray(textured_picture(64 + number % 7, 80, number))).save(path)
    with path.open("ab") as file:
        file.write(word)


def _submit(cluster: RealCluster, *command: object) -> str:
    waits = {"RAY_JOB_STOP_WAIT_TIME_S": "60"}
    return cluster.client.submit_job(
        entrypoint=shlex.join(map(str, command)), runtime_env={"env_vars": waits}
    )


def _finish(cluster: RealCluster, *command: object) -> tuple[JobDetails, str]:
    job_id = _submit(cluster, *command)
    job = wait_for_end(cluster.client, job_id)
    return job, cluster.client.get_job_logs(job_id)


def _wait_for_commits(cluster: RealCluster, job_id: str, output: Path, count: int) -> None:
    deadline = time.monotonic() + 300
    while len(list(output.glob("masks/*.parquet"))) < count:
        status, log = cluster.client.get_job_status(job_id), cluster.client.get_job_logs(job_id)
        assert not status.is_terminal(), log
        assert time.monotonic() < deadline, log
        time.sleep(0.2)


def _masks(output: Path) -> list[tuple[str, str]]:
    rows = pads.dataset(output / "masks").to_table(["source_uri", "rle_counts"]).to_pylist()
    return sorted((row["source_uri"], row["rle_counts"]) for row in rows)


def _endings(output: Path) -> list[tuple[str, str, int]]:
    """Name, status and attempt of each row of a unit."""
    rows = pads.dataset(output / "units").to_table().to_pylist()
    return sorted((Path(r["source_uri"]).name, r["status"], r["attempt"]) for r in rows)


def _all_done_at_once() -> list[tuple[str, str, int]]:
    return [(f"{number:03}.png", "ok", 1) for number in range(UNITS)]


def _clean(output: Path) -> None:
    assert verify_output(LocalStore(output)).complaints == []


def _nodes_of(cluster: RealCluster, job_id: str, actor: str) -> list[str]:
    """Names of the nodes where a job had actors of a kind."""
    names = {node.node_id: node.node_name for node in list_nodes(cluster.url)}
    ray_id = cluster.client.get_job_info(job_id).job_id
    actors = list_actors(cluster.url, filters=[("job_id", "=", ray_id)], limit=1000)
    return sorted(names[one.node_id] for one in actors if actor in one.class_name)


@pytest.fixture(scope="module")
def undisturbed(
    cluster: RealCluster, archive: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, str]:
    """The output of a job that was submitted by hand from a checkout, and what was printed."""
    output = tmp_path_factory.mktemp("undisturbed")
    submission = ("ray", "job", "submit", "--address", cluster.url, "--submission-id", "by-hand")
    run = ("python", "jobs/label.py", str(archive), str(output), *OPTIONS)
    done = subprocess.run(
        [*submission, "--working-dir", str(ROOT), "--", *run],
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return output, done.stdout


def test_a_job_that_is_submitted_from_a_checkout_runs_and_says_how_it_goes(
    cluster: RealCluster, undisturbed: tuple[Path, str]
):
    output, printed = undisturbed
    job = cluster.client.get_job_info("by-hand")
    assert (job.status, job.driver_exit_code) == (JobStatus.SUCCEEDED, 0)
    log = cluster.client.get_job_logs("by-hand")
    for text in (printed, log):
        assert re.search(rf"^0 of {UNITS} units, 0 masks, ", text, re.MULTILINE)
        assert re.search(rf"│ done +│ {UNITS} +│", text)
    assert _endings(output) == _all_done_at_once()
    _clean(output)


def test_models_are_spread_over_the_nodes_and_the_books_are_kept_beside_the_driver(
    cluster: RealCluster, undisturbed: tuple[Path, str]
):
    assert _nodes_of(cluster, "by-hand", "Labeller") == ["first", "second"]
    assert _nodes_of(cluster, "by-hand", "Ledger") == ["head"]


@pytest.mark.long
def test_a_job_that_is_stopped_commits_what_is_in_hand_and_the_same_again_does_the_rest(
    cluster: RealCluster, archive: Path, tmp_path: Path, undisturbed: tuple[Path, str]
):
    job_id = _submit(cluster, *RUN, archive, tmp_path, *OPTIONS)
    _wait_for_commits(cluster, job_id, tmp_path, 1)
    cluster.client.stop_job(job_id)
    assert wait_for_end(cluster.client, job_id).status == JobStatus.STOPPED
    assert "SIGTERM was received" in cluster.client.get_job_logs(job_id)
    assert 0 < len(_endings(tmp_path)) < UNITS
    again, log = _finish(cluster, *RUN, archive, tmp_path, *OPTIONS)
    assert again.status == JobStatus.SUCCEEDED, log
    assert _endings(tmp_path) == _all_done_at_once()
    assert _masks(tmp_path) == _masks(undisturbed[0])
    _clean(tmp_path)


@pytest.mark.long
def test_the_output_of_a_job_whose_driver_was_killed_is_taken_over_at_once(
    cluster: RealCluster, archive: Path, tmp_path: Path, undisturbed: tuple[Path, str]
):
    job_id = _submit(cluster, *RUN, archive, tmp_path, *OPTIONS)
    _wait_for_commits(cluster, job_id, tmp_path, 1)
    kill_driver(cluster.client, job_id)
    assert wait_for_end(cluster.client, job_id).driver_exit_code == 137
    _move_holder_elsewhere(tmp_path)
    patient = ("python", "-c", WATCHES_FOR_AN_HOUR, "run")
    again, log = _finish(cluster, *patient, archive, tmp_path, *OPTIONS)
    assert again.status == JobStatus.SUCCEEDED, log
    assert _endings(tmp_path) == _all_done_at_once()
    assert _masks(tmp_path) == _masks(undisturbed[0])
    _clean(tmp_path)


def test_only_a_job_that_is_known_to_have_ended_is_said_to_have(
    cluster: RealCluster, undisturbed: tuple[Path, str]
):
    ended = cluster.client.get_job_info("by-hand").job_id
    job, log = _finish(cluster, "python", "-c", ASKS_WHO_HAS_ENDED, ended)
    assert job.status == JobStatus.SUCCEEDED, log
    assert "[False, True, False, False]" in log


def _move_holder_elsewhere(output: Path) -> None:
    """As if the driver had run on another machine: here its process could be looked for."""
    store = LocalStore(output)
    path = output / lease.FOLDER / f"{lease.newest(store):06}.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"host": "elsewhere"}))


def test_a_scheduled_run_is_one_at_a_time_and_does_what_is_new(
    cluster: RealCluster, tmp_path: Path
):
    pictures, output = tmp_path / "pictures", tmp_path / "masks"
    pictures.mkdir()
    for number in range(6):
        _draw(pictures / f"{number}.png", number, SLOW)
    first = _start_scheduled(cluster, pictures, output)
    _wait_until_submitted(cluster, "nightly-0001")
    code, said = _ended(_start_scheduled(cluster, pictures, output))
    assert code == 2
    assert re.search(
        r"^nightly-0001 is (running|pending): nothing was submitted\.$", said, re.MULTILINE
    )
    code, said = _ended(first)
    assert code == 0, said
    assert re.search(r"│ this run +│ 6 units, .*, 6 new in the manifest +│", said)

    _draw(pictures / "1.png", 100)  # changed
    _draw(pictures / "new.png", 101)
    (pictures / "broken.png").write_bytes(b"<html>not found</html>")
    code, said = _ended(_start_scheduled(cluster, pictures, output))
    assert code == 3, said
    assert re.search(r"│ this run +│ 3 units, .*, 3 new in the manifest +│", said)
    job = cluster.client.get_job_info("nightly-0002")
    assert (job.status, job.driver_exit_code) == (JobStatus.FAILED, 3)
    names = [name for name, _, _ in _endings(output)]
    assert names == sorted(
        [*(f"{number}.png" for number in range(6)), "1.png", "broken.png", "new.png"]
    )
    _clean(output)


def _start_scheduled(cluster: RealCluster, archive: Path, output: Path) -> subprocess.Popen[str]:
    script = str(ROOT / "jobs" / "scheduled.py")
    return subprocess.Popen(
        [sys.executable, script, "nightly", cluster.url, *RUN, archive, output, *OPTIONS],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    said, _ = process.communicate(timeout=400)
    return process.returncode, said


def _wait_until_submitted(cluster: RealCluster, submission_id: str) -> None:
    deadline = time.monotonic() + 120
    while submission_id not in [job.submission_id for job in cluster.client.list_jobs()]:
        assert time.monotonic() < deadline
        time.sleep(0.2)


@pytest.mark.parametrize(
    ("name", "moment"),
    [
        ("second", "pictures are decoded"),
        ("third", "results are written"),
    ],
)
@pytest.mark.long
def test_a_node_that_dies_costs_time_and_no_attempt_of_any_unit(
    name: str,
    moment: str,
    cluster: RealCluster,
    archive: Path,
    tmp_path: Path,
    undisturbed: tuple[Path, str],
):
    node = cluster.node(name) or cluster.add_worker(name, 3)
    job_id = _submit(cluster, *RUN, archive, tmp_path, *OPTIONS)
    if moment == "pictures are decoded":
        _wait_until_decoding(cluster, job_id, name)
    else:
        _wait_for_commits(cluster, job_id, tmp_path, 1)
    node.raylet.kill()
    job = wait_for_end(cluster.client, job_id)
    assert job.status == JobStatus.SUCCEEDED, cluster.client.get_job_logs(job_id)
    assert _endings(tmp_path) == _all_done_at_once()
    assert _masks(tmp_path) == _masks(undisturbed[0])
    _clean(tmp_path)


@pytest.mark.long
def test_a_run_waits_for_the_nodes_that_its_actors_need(
    cluster: RealCluster, archive: Path, tmp_path: Path
):
    job_id = _submit(
        cluster,
        *RUN,
        archive,
        tmp_path,
        *OPTIONS,
        '--set=resources.label_selector={"pool": "late"}',
        "--set=resources.wait_s=300",
    )
    deadline = time.monotonic() + 120
    while "Waiting up to 300 s for nodes" not in cluster.client.get_job_logs(job_id):
        assert time.monotonic() < deadline, cluster.client.get_job_logs(job_id)
        time.sleep(0.3)
    cluster.add_worker("awaited", 3, "--labels=pool=late")
    job = wait_for_end(cluster.client, job_id)
    log = cluster.client.get_job_logs(job_id)
    assert job.status == JobStatus.SUCCEEDED, log
    assert "2 models on cpu" in log
    _clean(tmp_path)


def _wait_until_decoding(cluster: RealCluster, job_id: str, name: str) -> None:
    """Wait until a node has pictures in hand."""
    (node_id,) = (node.node_id for node in list_nodes(cluster.url) if node.node_name == name)
    deadline = time.monotonic() + 300
    while node_id not in _decoding_nodes(cluster, job_id):
        log = cluster.client.get_job_logs(job_id)
        assert not cluster.client.get_job_status(job_id).is_terminal(), log
        assert time.monotonic() < deadline, log
        time.sleep(0.1)


def _decoding_nodes(cluster: RealCluster, job_id: str) -> list[str | None]:
    ray_id = cluster.client.get_job_info(job_id).job_id
    of_it = [("job_id", "=", ray_id), ("name", "=", "MapBatches(prepare)")]
    tasks = list_tasks(cluster.url, filters=of_it) if ray_id else []
    return [task.node_id for task in tasks if task.state == "RUNNING"]
