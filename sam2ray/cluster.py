"""The Ray cluster that a job runs on: joined, or started on this machine without its own words."""

from __future__ import annotations

import importlib
import logging
import os

import ray
from ray.exceptions import RayError

from .cluster_address import VARIABLE, refused, require_cluster
from .errors import UsageError
from .interrupts import keeping_own_signals
from .nodes import Node, working_nodes
from .planner import Cluster
from .quiet import quieten_ray_data, starting_quietly
from .room import Machine

_KIND = "accelerator_type:"  # how Ray calls the kind of a node's GPUs, as a resource


def ensure_ray() -> None:
    """Join the cluster of this job, or start one on this machine."""
    if not ray.is_initialized():
        address = os.environ.get(VARIABLE)
        if address:
            _join(address)
        else:
            with starting_quietly(), keeping_own_signals():
                ray.init(log_to_driver=False, logging_level=logging.ERROR, include_dashboard=False)
    importlib.import_module("ray.data")  # sets its loggers up
    quieten_ray_data()


def _join(address: str) -> None:
    require_cluster(address)
    try:
        with starting_quietly(), keeping_own_signals():
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    # Of other versions, of a token that is wanted, of a cluster that ends at this moment.
    except (ConnectionError, RuntimeError, ValueError, RayError) as error:
        raise refused(address, f"it cannot be joined: {_in_one_line(error)}") from error


def _in_one_line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")


def cluster() -> Cluster:
    """What Ray says there is."""
    found = Cluster(tuple(_machine(node) for node in working_nodes()))
    if not found.cpus:
        raise UsageError(
            "This Ray cluster has no CPUs: wait for its nodes, or look at `ray status`."
        )
    return found


def _machine(node: Node) -> Machine:
    kinds = [name.removeprefix(_KIND) for name in node.resources if name.startswith(_KIND)]
    has = node.resources
    kind = kinds[0] if kinds else ""
    return Machine(has.get("CPU", 0.0), has.get("GPU", 0.0), kind, node.labels)
