"""What a job takes of a cluster: decided from frozen values, before anything is started."""

from __future__ import annotations

import math
from dataclasses import dataclass

from .config import JobConfig
from .errors import UsageError
from .root import Wave

_BLOCK_BYTES = 96 << 20  # of decoded pictures: what one step hands to the next
_OWN_BYTES = 36 << 20  # of a picture of 12 megapixels
_BLOCKS_AN_ACTOR = 2  # at least: one is prepared while the model has the other


@dataclass(frozen=True, slots=True)
class Cluster:
    """What there is."""

    cpus: float
    gpus: float


@dataclass(frozen=True, slots=True)
class WaveShape:
    """How many units of a wave travel together, and how many an actor gets at once."""

    units_per_block: int
    units_per_batch: int


@dataclass(frozen=True, slots=True)
class Plan:
    """How many processes there are, what each books, and how much travels at a time."""

    device: str
    actors: int
    gpus_per_actor: float
    cpus_per_actor: float
    threads_per_actor: int
    cpus_per_task: float
    units_per_block: int  # at most, of pictures

    @property
    def in_words(self) -> str:
        """How many models there are, and where."""
        number = f"{self.actors} models" if self.actors > 1 else "1 model"
        if self.device == "cuda":
            return f"{number} on cuda, {self.gpus_per_actor:g} of a GPU each"
        return f"{number} on {self.device}, {self.threads_per_actor} of its threads each"


def make_plan(config: JobConfig, cluster: Cluster) -> Plan:
    """Share a cluster out between models and what feeds them."""
    device = _device(config, cluster)
    gpus = _gpus_per_actor(config, device)
    cpus = config.resources.cpus_per_actor
    task_cpus = config.resources.decode_cpus
    if cpus + task_cpus > cluster.cpus:  # on a tiny machine both must fit, or nothing moves
        cpus, task_cpus = cluster.cpus / 2, cluster.cpus / 2
    actors = _actors(config, cluster, gpus, cpus, task_cpus)
    threads = config.resources.threads_per_actor
    return Plan(
        device,
        actors,
        gpus,
        cpus,
        max(1, round(cpus)) if threads == "auto" else threads,
        task_cpus,
        units_per_block(config),
    )


def shape_of_wave(config: JobConfig, plan: Plan, wave: Wave) -> WaveShape:
    """Blocks so small that every actor gets some: one that is being worked on is not shared."""
    if wave.are_clips:
        # More than there are lanes, so that a lane that is free takes the next.
        block = min(clips_per_block(config), math.ceil(wave.units / plan.actors))
        return WaveShape(block, block)
    batch = config.resources.batch_size
    even = batch * math.ceil(wave.units / (batch * plan.actors * _BLOCKS_AN_ACTOR))
    return WaveShape(min(plan.units_per_block, even), batch)


def clips_per_block(config: JobConfig) -> int:
    """Videos that an actor takes at once."""
    return 2 * config.resources.video_lanes


def units_per_block(config: JobConfig) -> int:
    """Pictures that travel together: a few batches, but no more than fits into a block."""
    side = config.model.row().image_size
    of_one = 3 * side**2 * (4 if config.decode.mode == "exact" else 1)
    if needs_own_pixels(config):
        of_one = _OWN_BYTES
    batch = config.resources.batch_size
    return max(1, min(4 * batch, max(batch, _BLOCK_BYTES // of_one)))


def needs_own_pixels(config: JobConfig) -> bool:
    """Whether pictures travel as large as they are: crops are cut from them."""
    return config.mode == "auto" and config.masks.crop_n_layers > 0


def _device(config: JobConfig, cluster: Cluster) -> str:
    wanted = config.model.device
    if wanted == "auto":
        return "cuda" if cluster.gpus > 0 and config.resources.gpus_per_actor != 0 else "cpu"
    if wanted == "cuda" and cluster.gpus == 0:
        raise UsageError(
            "model.device=cuda, but this cluster has no GPU: write auto or cpu, or submit the job "
            "to a cluster that has some."
        )
    return wanted


def _gpus_per_actor(config: JobConfig, device: str) -> float:
    if device == "cpu":
        return 0.0
    share = config.resources.gpus_per_actor
    return 1.0 if share == "auto" else float(share)


def _actors(config: JobConfig, cluster: Cluster, gpus: float, cpus: float, task_cpus: float) -> int:
    room = math.floor((cluster.cpus - task_cpus) / cpus) if cpus else math.inf
    if gpus:
        room = min(room, math.floor(cluster.gpus / gpus))
    room = max(1, room)
    wanted = config.resources.actors
    if wanted == "auto":
        return int(room) if room != math.inf else 1
    if wanted > room:
        raise UsageError(
            f"resources.actors={wanted}, but there is room for {int(room)}: the cluster has "
            f"{cluster.cpus:g} CPUs and {cluster.gpus:g} GPUs, and each actor takes {cpus:g} and "
            f"{gpus:g}; {task_cpus:g} CPUs feed them. Write fewer, or auto."
        )
    return wanted
