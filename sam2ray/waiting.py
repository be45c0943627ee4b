"""Seconds of stages -> which of them a job waited for, and what would help."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from .planner import Plan

Stage = Literal["model", "decode", "fetch", "start"]

_BUSY = 0.85  # of the time of all models: more than this they can hardly be
_FEEDING = 0.5  # of the run: where fetching and decoding take less, they held up nobody

_HELP = {
    "decode": "add CPUs or decode.mode=scaled",
    "fetch": "raise fetch.threads, or run nearer to the store",
}


@dataclass(frozen=True, slots=True)
class Wait:
    """What held a job up."""

    stage: Stage
    model_busy: float  # share of the time that models were there
    advice: str

    def __str__(self) -> str:
        busy = f"model busy {self.model_busy:.0%}".replace("%", " %")
        if self.stage == "start":
            return f"{busy}; {self.advice}"
        return f"{busy}, {self.stage}-bound: {self.advice}"


def what_it_waited_for(seconds: Mapping[str, float], elapsed_s: float, plan: Plan) -> Wait | None:
    """Judge a run by the seconds of its stages, summed over processes; None if it did nothing.

    Fetching and decoding overlap in threads that wait for one another, so that their sums say which
    of the two it was, but not how busy CPUs were.
    """
    if elapsed_s <= 0 or not any(seconds.values()):
        return None
    # Not with the packing: that is done while the model has the next batch.
    busy = min(1.0, seconds.get("model", 0.0) / (plan.actors * elapsed_s))
    if busy >= _BUSY:
        more = "add GPUs" if plan.device == "cuda" else "add CPUs, or use a GPU"
        return Wait("model", busy, more)
    fetch, decode = seconds.get("fetch", 0.0), seconds.get("decode", 0.0)
    if fetch + decode < _FEEDING * elapsed_s:
        return Wait("start", busy, "else it was starting, listing and committing")
    stage: Stage = "decode" if decode >= fetch else "fetch"
    return Wait(stage, busy, _HELP[stage])
