"""What runs in Ray's processes: the ledger, tasks that prepare, and actors that label.

Everything they do is written elsewhere without Ray; here it gets its processes.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import pyarrow as pa
import ray
from ray.actor import ActorHandle
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from sam2_core import load_class_head, load_sam2

from .config import JobConfig
from .cpu_threads import use_cpu_threads
from .heads import checked_head
from .ledger import Ledger, Process
from .nodes import node_is_sound
from .planner import Plan
from .ray_addresses import RayAddresses
from .ray_ledger import RayLedger
from .sinks.commit import Committer
from .stages.hands import Hands
from .stages.label import Labeller as BatchWork
from .stages.make_labeller import make_labeller
from .stages.outcome_rows import Stamp
from .stages.prepare import Preparer, PrepareSpec
from .stages.warm_up import warm_up
from .weights import checked_weights


def start_ledger(config: JobConfig, actors: int) -> ActorHandle:
    """The ledger of a run, on the node of its driver: they end together."""
    here = ray.get_runtime_context().get_node_id()
    options: dict[str, Any] = {
        "num_cpus": 0,
        "max_restarts": 0,
        # Not soft: Ray takes that for leave to go anywhere where the driver's node has no CPUs.
        "scheduling_strategy": NodeAffinitySchedulingStrategy(here, soft=False),
    }
    ledger = ray.remote(**options)(Ledger).remote(
        node_is_sound,
        stop_window=config.limits.stop_window,
        max_failed_fraction=config.limits.max_failed_fraction,
        actors=actors,
    )
    return cast("ActorHandle", ledger)


def this_process(stage: str) -> Process:
    """The process that asks."""
    return Process(ray.get_runtime_context().get_node_id(), os.getpid(), stage)


@dataclass(frozen=True, slots=True, eq=False)
class RunHandles:
    """What every process of a run is given."""

    run_id: str
    ledger: ActorHandle
    unit_timeout_s: float
    addresses: RayAddresses | None = None  # of units whose addresses carry secrets

    def hands(self, stage: str) -> Hands:
        """Hands for one stage of this process."""
        return Hands(RayLedger(self.ledger), this_process(stage), self.unit_timeout_s)


_preparers: dict[str, Preparer] = {}  # of this run alone: processes of tasks are used again


def prepare(todo: pa.Table, *, spec: PrepareSpec, handles: RunHandles) -> pa.Table:
    """A task's work: fetch and decode a batch."""
    preparer = _preparers.get(handles.run_id)
    if preparer is None:
        _preparers.clear()
        preparer = _preparers[handles.run_id] = Preparer(
            spec,
            handles.hands("prepare"),
            None if handles.addresses is None else handles.addresses.find,
        )
    return preparer(todo)


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """All that the processes of a run are told."""

    config: JobConfig
    plan: Plan
    stamp: Stamp
    prepare: PrepareSpec
    committer: Committer
    handles: RunHandles
    load: LoadLabeller
    weights: str  # their digest, as the driver recorded it
    head: str | None = None  # that of a head of classes


LoadLabeller = Callable[[Job], BatchWork]
"""Makes, in an actor, what turns its prepared units into labelled ones."""


def load_labeller(job: Job) -> BatchWork:
    """SAM 2, loaded and warmed up, and what the job does with it."""
    config, plan = job.config, job.plan
    use_cpu_threads(plan.threads_per_actor)
    model = load_sam2(
        config.model.row(),
        checked_weights(config, job.weights),
        device=plan.device,
        precision=config.model.precision,
        compile=config.model.compile,
    )
    place = checked_head(config, job.head)
    head = None if place is None else load_class_head(place, model)
    if plan.device != "cpu" or config.model.compile != "off":  # else nothing is ever compiled
        warm_up(config, model, head)
    hands = job.handles.hands("label")
    return make_labeller(config, model, hands, job.stamp, job.committer, head=head)


class Labeller:
    """An actor: it loads once, and labels batch after batch."""

    def __init__(self, job: Job) -> None:
        self._label = job.load(job)

    def __call__(self, prepared: pa.Table) -> pa.Table:
        """Label a batch."""
        return self._label(prepared)
