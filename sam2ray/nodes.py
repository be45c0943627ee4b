"""Nodes of the cluster, as the ledger asks after them; alone, so that it loads no torch for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import ray


@dataclass(frozen=True, slots=True)
class Node:
    """One machine of a cluster, or what Ray takes for one, with all that it has."""

    node_id: str
    address: str
    resources: Mapping[str, float]
    labels: Mapping[str, str]


def working_nodes() -> list[Node]:
    """The nodes that are there and have something to work with; a head may have nothing."""
    return [
        Node(node["NodeID"], node["NodeManagerAddress"], node["Resources"], node["Labels"])
        for node in ray.nodes()
        if node["Alive"] and (node["Resources"].get("CPU") or node["Resources"].get("GPU"))
    ]


def node_is_sound(node_id: str) -> bool:
    """Whether a node is there and stays: what dies with its node was not killed by a unit."""
    return any(node["NodeID"] == node_id and node["Alive"] for node in ray.nodes())
