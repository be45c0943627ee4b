"""What a job takes of a cluster: decided from frozen values, before anything is started."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from .config import JobConfig
from .errors import UsageError
from .room import Booking, Machine, actors_by_machine, cpus_left_free, room_in_words
from .root import Wave
from .tables import amount

_BLOCK_BYTES = 96 << 20  # of decoded pictures: what one step hands to the next
_OWN_BYTES = 36 << 20  # of a picture of 12 megapixels
_BLOCKS_AN_ACTOR = 2  # at least: one is prepared while the model has the other


@dataclass(frozen=True, slots=True)
class Cluster:
    """What there is."""

    machines: tuple[Machine, ...]

    @property
    def cpus(self) -> float:
        """CPUs of all machines."""
        return sum(machine.cpus for machine in self.machines)

    @property
    def gpus(self) -> float:
        """GPUs of all machines."""
        return sum(machine.gpus for machine in self.machines)

    def __str__(self) -> str:
        where = f" on {len(self.machines):,} nodes" if len(self.machines) > 1 else ""
        return f"{amount(self.cpus, 'CPU')} and {amount(self.gpus, 'GPU')}{where}"


@dataclass(frozen=True, slots=True)
class WaveShape:
    """How many units of a wave travel together, and how many an actor and a write get at once."""

    units_per_block: int
    units_per_batch: int
    units_per_write: int


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
    booking, task_cpus = bookings(config, cluster, device)
    actors = _actors(config, cluster, booking, task_cpus)
    threads = config.resources.threads_per_actor
    return Plan(
        device,
        actors,
        booking.gpus,
        booking.cpus,
        max(1, round(booking.cpus)) if threads == "auto" else threads,
        task_cpus,
        units_per_block(config),
    )


def bookings(config: JobConfig, cluster: Cluster, device: str) -> tuple[Booking, float]:
    """What an actor takes, and how many CPUs a task that feeds it."""
    told = config.resources
    cpus, task_cpus = told.cpus_per_actor, told.decode_cpus
    if cpus + cpus_left_free(task_cpus) > cluster.cpus:  # a tiny machine: all must fit somehow
        largest = max(machine.cpus for machine in cluster.machines)
        task_cpus = min(task_cpus, max(largest / 2, min(1.0, largest)))
        cpus = max(0.0, min(cpus, largest - cpus_left_free(task_cpus)))
    share = told.gpus_per_actor
    gpus = 0.0 if device == "cpu" else 1.0 if share == "auto" else float(share)
    return Booking(cpus, gpus, told.accelerator_type, told.label_selector), task_cpus


def room_for_actors(config: JobConfig, cluster: Cluster, plan: Plan) -> str:
    """How many actors of a plan have room on which nodes, in words."""
    booking, task_cpus = bookings(config, cluster, plan.device)
    counts = actors_by_machine(cluster.machines, booking, task_cpus)
    return room_in_words(cluster.machines, counts)


def remark_on_device(config: JobConfig, plan: Plan) -> str:
    """What should not pass unnoticed of a device that nobody named; else nothing."""
    if config.model.device != "auto" or plan.device != "cpu":
        return ""
    if config.resources.gpus_per_actor == 0:
        return ""  # somebody did
    return (
        "model.device=auto: models run on CPUs, as no node has a GPU now. Nodes that come later "
        "are not waited for: where GPUs are meant, stop, and start again with "
        "--set model.device=cuda, which refuses to begin without, and waits with "
        "--set resources.wait_s=600 until one comes."
    )


def shape_of_wave(config: JobConfig, plan: Plan, wave: Wave) -> WaveShape:
    """Blocks so small that every actor gets some: one that is being worked on is not shared."""
    if wave.are_clips:
        # More than there are lanes, so that a lane that is free takes the next.
        block = min(clips_per_block(config), math.ceil(wave.units / plan.actors))
        return WaveShape(block, block, 1)  # clips have files of their own: nothing waits for more
    batch = config.resources.batch_size
    even = batch * math.ceil(wave.units / (batch * plan.actors * _BLOCKS_AN_ACTOR))
    return WaveShape(min(plan.units_per_block, even), batch, config.output.commit_every_units)


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


def _actors(config: JobConfig, cluster: Cluster, booking: Booking, task_cpus: float) -> int:
    largest = max(machine.cpus for machine in cluster.machines)
    if task_cpus > largest:
        raise UsageError(
            f"resources.decode_cpus={task_cpus:g}, but no node has as many CPUs: the largest has "
            f"{largest:g}."
        )
    counts = actors_by_machine(cluster.machines, booking, task_cpus)
    room = sum(count or 0 for count in counts)
    has_bounds = None not in counts
    wanted = config.resources.actors
    if has_bounds and (room == 0 or (wanted != "auto" and wanted > room)):
        asked = "auto" if wanted == "auto" else f"{wanted:,}"
        raise UsageError(
            f"resources.actors={asked}, but there is room for {room:,}: each takes {booking}, "
            f"{amount(task_cpus, 'CPU')} feed them, and the cluster has "
            f"{_with_room(cluster, counts)}. Write other resources.*, or add nodes."
        )
    if wanted == "auto":
        return room if has_bounds else 1
    return wanted


def _with_room(cluster: Cluster, counts: Sequence[int | None]) -> str:
    return f"{cluster} (room for {room_in_words(cluster.machines, counts)})"
