"""What runs inside Ray: the ledger as an actor, and a labeller with what a job hands it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray
import torch
from label_bench import prepared, units_of
from make_video import write_video

from sam2ray.config import JobConfig
from sam2ray.ledger import Ending, Verdict
from sam2ray.planner import Cluster, make_plan
from sam2ray.processes import (
    Job,
    Labeller,
    RayLedger,
    RunHandles,
    load_labeller,
    start_ledger,
    this_process,
)
from sam2ray.room import Machine
from sam2ray.sinks.commit import Committer
from sam2ray.sinks.result_files import EMBEDDINGS, ResultPlace, read_outcomes
from sam2ray.stages.outcome_rows import Stamp
from sam2ray.stages.specs import prepare_spec
from sam2ray.storage import LocalStore
from sam2ray.weights import weights_digest

pytestmark = pytest.mark.usefixtures("two_cpus")


def config(output: Path) -> JobConfig:
    return JobConfig.model_validate(
        {
            "mode": "embed",
            "source": {"uri": "in"},
            "output": {"uri": str(output)},
            "model": {"name": "nano", "image_size": 64},
        }
    )


def test_the_ledger_answers_across_processes_and_says_when_the_run_stops(tmp_path):
    actor = start_ledger(config(tmp_path), actors=2)
    client, process = RayLedger(actor), this_process("label")
    assert client.begin(process, ["a", "b"]) == [Verdict.TOGETHER] * 2
    client.end(process, ["a", "b"])
    client.report([Ending("a", None, 3, 1, {"model": 0.5})])
    assert not client.is_stopping()
    ray.get(actor.stop.remote("SIGTERM was received", 1))
    assert client.is_stopping()
    assert client.begin(process, ["c"]) == [Verdict.SKIP]


@pytest.mark.parametrize("module", ["ledger, sam2ray.nodes", "commit_sink"])
def test_who_counts_and_who_commits_need_no_torch_in_their_processes(module):
    script = f"import sys, sam2ray.{module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


@pytest.fixture
def threads() -> Iterator[None]:
    """An actor sets how many threads compute in its process, and how."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)
    torch.set_flush_denormal(False)


@pytest.mark.usefixtures("threads")
def test_a_labeller_commits_videos_by_itself(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    write_video(folder / "a.mp4", 5)
    units = units_of(folder)
    told = config(tmp_path / "out")
    store = LocalStore(tmp_path / "out")
    job = Job(
        told,
        make_plan(told, Cluster((Machine(2),))),
        Stamp("nano", "config", "run"),
        prepare_spec(told),
        Committer(ResultPlace(store, EMBEDDINGS, "run"), 0, 256, 1 << 28, "zstd"),
        RunHandles("run", start_ledger(told, actors=1), 600.0),
        load_labeller,
        weights_digest(told),
    )
    (row,) = Labeller(job)(prepared(units)).to_pylist()
    assert (row["status"], row["masks"], row["is_committed"]) == ("ok", 5, True)
    (name,) = [entry.name for entry in store.list(EMBEDDINGS)]
    assert read_outcomes(store, name)["unit_id"].to_pylist() == [units[0].unit_id]
