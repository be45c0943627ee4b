"""What an actor books, and the machines that there are -> how many actors each has room for.

Resources of a cluster do not add up: an actor lives on one machine, and its share of a GPU on one
GPU. What is counted over a whole cluster may fit nowhere.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from .tables import amount

_ROUNDING = 1e-6  # thirds are no floats; Ray itself counts in ten-thousandths


@dataclass(frozen=True, slots=True)
class Machine:
    """One node of a cluster."""

    cpus: float
    gpus: float = 0.0
    gpu_kind: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        if not self.gpus:
            return amount(self.cpus, "CPU")
        kind = f" ({self.gpu_kind})" if self.gpu_kind else ""
        return f"{amount(self.cpus, 'CPU')}, {amount(self.gpus, 'GPU')}{kind}"


@dataclass(frozen=True, slots=True)
class Booking:
    """What one actor takes, and on which machines."""

    cpus: float
    gpus: float = 0.0
    gpu_kind: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        of_kind = f" of kind {self.gpu_kind}" if self.gpu_kind else ""
        gpus = f" and {amount(self.gpus, 'GPU')}{of_kind}" if self.gpus else of_kind
        labels = "".join(f", label {key}={value}" for key, value in self.labels.items())
        return f"{amount(self.cpus, 'CPU')}{gpus}{labels}"

    def may_be_on(self, machine: Machine) -> bool:
        """Whether a machine is of the kind that was asked for."""
        if self.gpu_kind is not None and machine.gpu_kind != self.gpu_kind:
            return False
        return all(_meets(machine.labels.get(key), asked) for key, asked in self.labels.items())


def _meets(value: str | None, asked: str) -> bool:
    """Whether a label is as a selector of Ray asks: value, !value, in(a, b), !in(a, b)."""
    is_refusal = asked.startswith("!")
    found = re.fullmatch(r"in\((.*)\)", asked.removeprefix("!"))
    named = [one.strip() for one in found[1].split(",")] if found else [asked.removeprefix("!")]
    return (value in named) != is_refusal


def actors_on(machine: Machine, booking: Booking) -> int | None:
    """How many actors a machine has room for; None: as many as one likes."""
    if not booking.may_be_on(machine):
        return 0
    limits = []
    if booking.cpus:
        limits.append(math.floor(machine.cpus / booking.cpus + _ROUNDING))
    if booking.gpus:
        of_one = math.floor(1 / booking.gpus + _ROUNDING)
        limits.append(of_one * math.floor(machine.gpus + _ROUNDING))
    return min(limits, default=None)


def cpus_left_free(task_cpus: float) -> float:
    """What actors must leave on some machine: Ray Data books a whole CPU to cut up what is due."""
    return max(1.0, task_cpus)


def actors_by_machine(
    machines: Sequence[Machine], booking: Booking, task_cpus: float
) -> list[int | None]:
    """How many actors fit on each machine, so that tasks that feed them find room.

    Ray spreads actors as it likes: so many are left out that no way to place the others fills all
    machines that could run a task.
    """
    counts = [actors_on(machine, booking) for machine in machines]
    if not booking.cpus:
        return counts
    free = cpus_left_free(task_cpus)
    give_way = {}  # actors too many for a task beside them, by machine
    for number, (machine, count) in enumerate(zip(machines, counts, strict=True)):
        assert count is not None
        if machine.cpus + _ROUNDING >= free:
            short = free - (machine.cpus - count * booking.cpus)
            give_way[number] = max(0, math.ceil(short / booking.cpus - _ROUNDING))
    if not give_way or min(give_way.values()) == 0:  # some machine can never be filled
        return counts
    keeps_room = min(give_way, key=lambda one: (give_way[one], -one))
    # Elsewhere one too many is no harm; and where no task fits, nobody need go instead of here.
    return [
        (count or 0) - (give_way[number] - (number != keeps_room)) if number in give_way else 0
        for number, count in enumerate(counts)
    ]


def room_in_words(machines: Sequence[Machine], counts: Sequence[int | None]) -> str:
    """How many actors fit where, machines that are alike together."""
    alike = Counter((str(machine), count) for machine, count in zip(machines, counts, strict=True))
    return "; ".join(
        f"{_how_many(count)} on {'each of ' if nodes > 1 else ''}{amount(nodes, 'node')} of {kind}"
        for (kind, count), nodes in alike.items()
    )


def _how_many(count: int | None) -> str:
    return "any number" if count is None else f"{count:,}" if count else "none"
