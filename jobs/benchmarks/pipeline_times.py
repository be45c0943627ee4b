"""Diaries of model stages -> rates over the middle of a run, and where other time went."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True, slots=True)
class Event:
    """Something that an actor did, and for how many units or frames."""

    what: str  # batch: all that is done with one; model and ledger: parts of it
    count: int
    began: float
    ended: float


@dataclass(frozen=True, slots=True)
class Window:
    """The middle of a run."""

    began: float
    ended: float
    count: int  # units or frames that left the model in it

    @property
    def seconds(self) -> float:
        """How long it is."""
        return self.ended - self.began

    @property
    def rate(self) -> float:
        """Units or frames a second."""
        return self.count / self.seconds

    def covered_by(self, events: Sequence[Event], *whats: str) -> float:
        """Seconds of it in which at least one event of these kinds was going on."""
        seconds, until = 0.0, self.began
        for event in sorted(events, key=lambda e: e.began):
            began, ended = max(event.began, until), min(event.ended, self.ended)
            if event.what in whats and began < ended:
                seconds += ended - began
                until = ended
        return seconds


@dataclass(frozen=True, slots=True)
class Profile:
    """What one actor did in a window, in seconds.

    An actor has two batches in hand at a time. What happens beside the model costs nothing: each
    moment counts as the model's if it was at work, else as the ledger's, else as the labeller's.
    """

    asleep: float  # what the bare loop would take
    late: float  # of the stage beyond that: waking up, and making rows
    ledger: float  # waiting for its answers
    inside: float  # of the labeller otherwise: Arrow, waiting for frames, committing clips
    between: float  # batches: Ray hands the next one over, or there is none yet

    def __str__(self) -> str:
        whole = self.asleep + self.late + self.ledger + self.inside + self.between
        parts = {
            "beyond its sleep": self.late,
            "ledger": self.ledger,
            "labeller": self.inside,
            "between batches": self.between,
        }
        return ", ".join(f"{name} {100 * part / whole:.1f} %" for name, part in parts.items())


class TooFewBatches(Exception):
    """A run was too short to be looked at in parts."""


def read_diary(folder: Path) -> list[Event]:
    """What all actors noted."""
    files = sorted(folder.glob("*.jsonl"))
    return [Event(*json.loads(line)) for file in files for line in file.read_text().splitlines()]


def middle(events: Sequence[Event], share: float = 0.8) -> Window:
    """The middle of what left the model."""
    return part(events, (1 - share) / 2, (1 + share) / 2)


def part(events: Sequence[Event], start: float, end: float, what: str = "model") -> Window:
    """What left the model from one share of the run to another: whole batches, end to end."""
    done = sorted((event for event in events if event.what == what), key=lambda e: e.ended)
    ends = np.cumsum([event.count for event in done])
    low, high = start * ends[-1], end * ends[-1]
    inside = [place for place, so_far in enumerate(ends) if low < so_far <= high]
    if len(inside) < 2:
        raise TooFewBatches(f"{len(done)} batches are too few to have a part {start} to {end}")
    first, last = inside[0], inside[-1]
    return Window(done[first].ended, done[last].ended, int(ends[last] - ends[first]))


def profile(events: Sequence[Event], window: Window, seconds_each: float) -> Profile:
    """Where an actor's time went; of one actor alone."""
    asleep = window.count * seconds_each
    model = window.covered_by(events, "model")
    asked = window.covered_by(events, "model", "ledger")
    busy = window.covered_by(events, "model", "ledger", "batch")
    return Profile(asleep, model - asleep, asked - model, busy - asked, window.seconds - busy)
