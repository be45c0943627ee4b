"""The Ray cluster that a job runs on: joined, or started on this machine without its own words."""

from __future__ import annotations

import importlib
import logging
import os

import ray

from .errors import UsageError
from .interrupts import keeping_own_signals
from .planner import Cluster
from .quiet import quieten_ray_data, starting_quietly


def ensure_ray() -> None:
    """Join the cluster of this job, or start one on this machine."""
    if not ray.is_initialized():
        address = os.environ.get("RAY_ADDRESS")
        with starting_quietly(), keeping_own_signals():
            ray.init(
                address=address,
                log_to_driver=False,
                logging_level=logging.ERROR,
                include_dashboard=None if address else False,
            )
    importlib.import_module("ray.data")  # sets its loggers up
    quieten_ray_data()


def cluster() -> Cluster:
    """What Ray says there is."""
    resources = ray.cluster_resources()
    if not resources.get("CPU"):
        raise UsageError(
            "This Ray cluster has no CPUs: wait for its nodes, or look at `ray status`."
        )
    return Cluster(resources["CPU"], resources.get("GPU", 0.0))
