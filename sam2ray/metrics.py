"""How a run is doing -> gauges on Ray's metrics endpoint; jobs/dashboards/ draws them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from .ledger import Tally
from .live_state import units_to_do
from .root import Selection, Standing


@dataclass(frozen=True, slots=True)
class Measure:
    """One value of one gauge."""

    name: str
    value: float
    label: str = ""  # of the gauge's own kind; "" where it has none


GAUGES = {  # name: what it is, and the label that tells its values apart
    "sam2ray_units": ("Units of the output, without superseded ones.", None),
    "sam2ray_units_waiting": ("Units that this run has still to do, at most.", None),
    "sam2ray_units_ended": ("Units that ended in this run, by ok and error class.", "ending"),
    "sam2ray_masks": ("Masks that were committed in this run.", None),
    "sam2ray_frames": ("Frames with results in this run, pictures too.", None),
    "sam2ray_stage_seconds": ("Seconds in this run, summed over a stage's processes.", "stage"),
    "sam2ray_actors": ("Actors with models, as planned; they may be starting.", None),
    "sam2ray_elapsed_seconds": ("Seconds since this run began its work.", None),
}
OUTPUT_LABEL = "output"
PREFIX = "ray_"  # what Ray's exporter puts in front of every name


def measures(before: Standing, tally: Tally, chosen: Selection) -> Iterator[Measure]:
    """What the gauges show."""
    ended = sum(tally.ended.values())
    yield Measure("sam2ray_units", before.units)
    yield Measure("sam2ray_units_waiting", max(0, units_to_do(before, chosen) - ended))
    for ending, count in tally.ended.items():
        yield Measure("sam2ray_units_ended", count, ending)
    yield Measure("sam2ray_masks", tally.masks)
    yield Measure("sam2ray_frames", tally.frames)
    for stage, seconds in tally.seconds.items():
        yield Measure("sam2ray_stage_seconds", seconds, stage)
    yield Measure("sam2ray_actors", tally.actors)
    yield Measure("sam2ray_elapsed_seconds", tally.elapsed_s)


class RunGauges:
    """Feeds the gauges; `output` tells runs of several outputs apart."""

    def __init__(self, output: str, chosen: Selection) -> None:
        self._output = output
        self._chosen = chosen
        self._gauges: dict[str, Any] = {}  # ray's, made when there is a cluster

    def __call__(self, before: Standing, tally: Tally) -> None:
        """Set all gauges."""
        gauges = self._gauges = self._gauges or _made()
        for measure in measures(before, tally, self._chosen):
            label = GAUGES[measure.name][1]
            own = {} if label is None else {label: measure.label}
            gauges[measure.name].set(measure.value, {OUTPUT_LABEL: self._output, **own})


def _made() -> dict[str, Any]:
    from ray.util.metrics import Gauge

    return {
        name: Gauge(name, words, (OUTPUT_LABEL, *([label] if label else [])))
        for name, (words, label) in GAUGES.items()
    }
