"""A plan that the cluster has no room for yet -> nodes are asked for, and waited for."""

from __future__ import annotations

import time
from collections.abc import Callable

from ray.autoscaler.sdk import request_resources

from .cluster import cluster
from .config import JobConfig
from .errors import UsageError
from .planner import Cluster, Plan, make_plan

_LOOKS_EVERY_S = 2.0


def plan_with_room(config: JobConfig, say: Callable[[str], None]) -> tuple[Plan, Cluster]:
    """The plan of a job, and the cluster that it is made for; UsageError if none has room in time.

    Only who says how many actors there are to be, or that they are on GPUs, waits for anything:
    all others take what there is.
    """
    deadline = time.monotonic() + config.resources.wait_s
    is_asking = False
    try:
        while True:
            try:
                there = cluster()
                return make_plan(config, there), there
            except UsageError as error:
                if time.monotonic() >= deadline:
                    raise
                if not is_asking:
                    is_asking = True
                    say(f"{error} Waiting up to {config.resources.wait_s:g} s for nodes.")
                    _ask_for_nodes(config)
            time.sleep(_LOOKS_EVERY_S)
    finally:
        if is_asking:
            request_resources(bundles=[])  # else it would hold nodes for ever


def _ask_for_nodes(config: JobConfig) -> None:
    """Tell the autoscaler, where there is one, what is about to be needed."""
    told = config.resources
    count = 1 if told.actors == "auto" else told.actors
    bundle = {"CPU": told.cpus_per_actor + told.decode_cpus}
    if config.model.device == "cuda":
        bundle["GPU"] = 1.0 if told.gpus_per_actor == "auto" else told.gpus_per_actor
    if told.accelerator_type is not None:
        bundle[f"accelerator_type:{told.accelerator_type}"] = 0.001
    selectors = [dict(told.label_selector)] * count
    request_resources(bundles=[bundle] * count, bundle_label_selectors=selectors)
