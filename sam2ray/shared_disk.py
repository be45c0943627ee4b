"""Local paths of a job -> whether every node that works sees them, asked before any work.

A folder that only the driver's machine has would take the results of that machine alone, and units
would fail as missing on all others.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from . import lease
from .config import JobConfig
from .errors import UsageError
from .listing import source_of
from .nodes import Node, working_nodes
from .readers.files import addressed
from .readers.slices import Slice
from .storage import LocalStore, Store, local_path

_ANSWER_WITHIN_S = 60.0  # a process of Ray has to start first
_NAMED = 3


@dataclass(frozen=True, slots=True)
class Sample:
    """Something that this machine has at a path."""

    setting: str  # what it is there for
    path: str
    size: int | None  # of a file

    def is_here(self) -> bool:
        """Whether the machine that asks has it, too."""
        here = Path(self.path)
        return here.exists() and (self.size is None or here.stat().st_size == self.size)


def require_shared_disks(config: JobConfig, store: Store) -> None:
    """Refuse local paths that some node does not see; the output's lease is held."""
    driver = ray.get_runtime_context().get_node_id()
    others = [node for node in working_nodes() if node.node_id != driver]
    if others:
        require_seen([*samples_of(config, store)], others)


def samples_of(config: JobConfig, store: Store) -> Iterator[Sample]:
    """One file of each place that nodes read or write, where that is a local path."""
    if isinstance(store, LocalStore):
        token = next(iter(store.list(lease.FOLDER)))
        yield Sample("output.uri", str(store.folder / token.name), None)  # it beats
    if any(local_path(uri) is not None for uri in config.source.uri):
        first = next(source_of(config).slices(), None)
        if first is not None:
            yield from _sample("source.uri", _place_in(first, config))
    if config.model.checkpoint is not None:
        yield from _sample("model.checkpoint", config.model.checkpoint)
    if config.semantic.head is not None:
        yield from _sample("semantic.head", config.semantic.head)


def _place_in(piece: Slice, config: JobConfig) -> str:
    """A file of a part of the source, or its folder; nothing is read for it."""
    if piece.files:
        return addressed(replace(piece, files=piece.files[:1]), config.store_options())[0].name
    return f"{piece.uri.rstrip('/')}/{piece.folder}"


def _sample(setting: str, uri: str) -> Iterator[Sample]:
    path = local_path(uri)
    if path is not None and path.exists():
        yield Sample(setting, str(path), path.stat().st_size if path.is_file() else None)


def require_seen(samples: Sequence[Sample], nodes: Sequence[Node]) -> None:
    """Ask each node; one that does not answer in time is not known to see less."""
    asked = {_ask(node, samples): node for node in nodes}
    answered, _ = ray.wait([*asked], num_returns=len(asked), timeout=_ANSWER_WITHIN_S)
    seen = dict(_answers({answer: asked[answer] for answer in answered}))
    faults = [
        _words(sample, [address for address, sees in seen.items() if not sees[number]], len(nodes))
        for number, sample in enumerate(samples)
        if not all(sees[number] for sees in seen.values())
    ]
    if faults:
        raise UsageError(
            "\n".join(faults) + "\nName a store that all nodes reach, such as s3://, or a folder "
            "of a disk that they share."
        )


def _answers(asked: Mapping[ray.ObjectRef[list[bool]], Node]) -> Iterator[tuple[str, list[bool]]]:
    """What nodes said, by their addresses; one that was lost meanwhile has said nothing."""
    for answer, node in asked.items():
        with suppress(RayError):
            yield node.address, ray.get(answer)


def _ask(node: Node, samples: Sequence[Sample]) -> ray.ObjectRef[list[bool]]:
    there = NodeAffinitySchedulingStrategy(node.node_id, soft=False)
    return _look.options(scheduling_strategy=there).remote(samples)


@ray.remote(num_cpus=0, max_retries=0)
def _look(samples: Sequence[Sample]) -> list[bool]:
    return [sample.is_here() for sample in samples]


def _words(sample: Sample, blind: Sequence[str], nodes: int) -> str:
    more = f" and {len(blind) - _NAMED:,} more" if len(blind) > _NAMED else ""
    return (
        f"{sample.setting}: {sample.path} is on the disk of this machine; {len(blind):,} of "
        f"{nodes:,} other nodes do not see it ({', '.join(blind[:_NAMED])}{more})."
    )
