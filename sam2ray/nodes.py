"""Nodes of the cluster, as the ledger asks after them; alone, so that it loads no torch for it."""

from __future__ import annotations

import ray


def node_is_sound(node_id: str) -> bool:
    """Whether a node is there and stays: what dies with its node was not killed by a unit."""
    return any(node["NodeID"] == node_id and node["Alive"] for node in ray.nodes())
