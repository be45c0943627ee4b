"""The rows of a stage for one worker, made by Ray Data's tasks on whatever CPUs are free.

Rows come in their order, from any of them on, so that a training goes on where it was.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import ray
import ray.data

from ..quiet import quieten_ray_data
from .labels.opening import Mixture, open_labels
from .samples import SampleMaker
from .train_config import TrainConfig

Rows = Mapping[str, np.ndarray]

_ROWS_A_TASK = 32  # seconds of work at most, and few megabytes
_ROWS_OF_CLIPS = 4


def mixture_of(config: TrainConfig) -> Mixture:
    """All sources of a training."""
    options = config.storage.options()
    model_px = config.model.row().image_size
    sources = [open_labels(labels, options, model_px) for labels in config.labels]
    return Mixture(sources, [labels.share for labels in config.labels], config.seed)


class _Making:
    """Numbers -> rows, in a task; sources are opened once a process."""

    def __init__(self, config: TrainConfig, stage_number: int, clips: bool) -> None:
        self.config, self.stage_number, self.clips = config, stage_number, clips

    def __call__(self, numbers: dict[str, np.ndarray]) -> dict[str, Any]:
        maker = self._maker()
        make = maker.clip if self.clips else maker.picture
        rows = [make(int(number)) for number in numbers["id"]]
        return {name: _column([row[name] for row in rows]) for name in rows[0]}

    def _maker(self) -> SampleMaker:
        stage = self.config.stages[self.stage_number]
        model_px = self.config.model.row().image_size
        return SampleMaker(_opened(self.config), stage, self.stage_number, model_px)


_cache: dict[str, Mixture] = {}


def _opened(config: TrainConfig) -> Mixture:
    key = config.model_dump_json()
    if key not in _cache:
        _cache.clear()
        _cache[key] = mixture_of(config)
    return _cache[key]


def _column(values: list[Any]) -> Any:  # noqa: ANN401 texts in lists, numbers in arrays
    return np.stack(values) if isinstance(values[0], np.ndarray) else values


def batches(
    config: TrainConfig, stage_number: int, first_step: int, rank: int, workers: int
) -> Iterator[Rows]:
    """What a worker learns from, step by step."""
    stage = config.stages[stage_number]
    steps = range(first_step, stage.steps)
    streams = {
        clips: _stream(
            config,
            stage_number,
            [step for step in steps if stage.learns_clips(step) == clips],
            rank,
            workers,
            clips=clips,
        )
        for clips in (False, True)
    }
    for step in steps:
        yield next(streams[stage.learns_clips(step)])


def _stream(
    config: TrainConfig,
    stage_number: int,
    steps: list[int],
    rank: int,
    workers: int,
    *,
    clips: bool,
) -> Iterator[Rows]:
    """Batches of the given steps; nothing is made before the first is asked for."""
    if not steps:
        return
    batch = config.stages[stage_number].batch
    context = ray.data.DataContext.get_current()
    context.execution_options.preserve_order = True
    context.enable_progress_bars = False
    quieten_ray_data()
    first = (np.array(steps, np.int64) * workers + rank) * batch
    numbers = (first[:, None] + np.arange(batch)).ravel()
    rows = _ROWS_OF_CLIPS if clips else _ROWS_A_TASK
    made = ray.data.from_numpy(numbers).rename_columns({"data": "id"})
    made = made.repartition(target_num_rows_per_block=rows)
    making: Any = _Making(config, stage_number, clips)
    made = made.map_batches(making, batch_size=rows)
    numpy: Any = made.iter_batches(batch_size=batch, batch_format="numpy", prefetch_batches=2)
    yield from numpy
