"""The address book of a run as an actor beside its driver, and as listings and stages know it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import ray
from ray.actor import ActorHandle
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from .address_book import AddressBook
from .records import Unit

_AT_A_TIME = 10_000


@dataclass(frozen=True, slots=True, eq=False)
class RayAddresses:
    """Asks and tells the actor; can be sent to tasks."""

    actor: ActorHandle

    def keep(self, units: Sequence[Unit]) -> None:
        """Keep the whole addresses of units, and return when they are kept."""
        wholes = [(unit.source_key, unit.whole_uri) for unit in units if unit.whole_uri is not None]
        for start in range(0, len(wholes), _AT_A_TIME):
            ray.get(self.actor.take.remote(wholes[start : start + _AT_A_TIME]))

    def find(self, keys: Sequence[str]) -> list[str | None]:
        """The whole addresses of units by their source keys, where there are any."""
        return ray.get(self.actor.find.remote(keys))


@contextmanager
def address_book() -> Iterator[RayAddresses]:
    """A book for one run, on the node of its driver: they end together."""
    here = ray.get_runtime_context().get_node_id()
    options: dict[str, Any] = {
        "num_cpus": 0,
        "max_restarts": 0,
        "scheduling_strategy": NodeAffinitySchedulingStrategy(here, soft=False),
    }
    actor = cast("ActorHandle", ray.remote(**options)(AddressBook).remote())
    try:
        yield RayAddresses(actor)
    finally:
        ray.kill(actor)  # processes that are used again would keep it alive
