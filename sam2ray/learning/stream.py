"""The rows of a stage for one worker, made by Ray Data's tasks on whatever CPUs are free.

Rows come in their order, from any of them on, so that a training goes on where it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, get_args

import numpy as np
import ray
import ray.data

from ..quiet import quieten_ray_data
from ..unhurried import Unhurried
from .class_samples import ClassSampleMaker
from .labels.class_opening import ClassMixture, open_classes
from .labels.opening import Mixture, open_labels
from .samples import Row, SampleMaker
from .train_config import CLASS_KINDS, TrainConfig
from .train_stage import BatchKind

Rows = Mapping[str, np.ndarray]

_ROWS_A_TASK = 32  # seconds of work at most, and few megabytes
_ROWS_OF_CLIPS = 4


def mixture_of(config: TrainConfig) -> Mixture:
    """All sources of masks; what is only of classes is left out if there is anything else."""
    options = config.storage.options()
    model_px = config.model.row().image_size
    with_masks = [labels for labels in config.labels if labels.kind != "classes"]
    labels = with_masks or config.labels
    sources = [open_labels(one, options, model_px) for one in labels]
    return Mixture(sources, [one.share for one in labels], config.seed)


def class_mixture_of(config: TrainConfig) -> ClassMixture:
    """All sources that say what is of a class; others are left out if there is one."""
    options = config.storage.options()
    model_px = config.model.row().image_size
    with_classes = [labels for labels in config.labels if labels.kind in CLASS_KINDS]
    labels = with_classes or config.labels
    sources = [open_classes(one, config.head, options, model_px) for one in labels]
    return ClassMixture(sources, [one.share for one in labels], config.seed)


class _Making:
    """Numbers -> rows, in a task; sources are opened once a process."""

    def __init__(self, config: TrainConfig, stage_number: int, kind: BatchKind) -> None:
        self.config, self.stage_number, self.kind = config, stage_number, kind

    def __call__(self, numbers: dict[str, np.ndarray]) -> dict[str, Any]:
        make = self._make()
        rows = [make(int(number)) for number in numbers["id"]]
        return {name: _column([row[name] for row in rows]) for name in rows[0]}

    def _make(self) -> Callable[[int], Row]:
        config, number = self.config, self.stage_number
        stage, model_px = config.stages[number], config.model.row().image_size
        if self.kind == "classes":
            mixture = _opened(config, class_mixture_of)
            return ClassSampleMaker(mixture, stage, number, model_px).picture
        maker = SampleMaker(_opened(config, mixture_of), stage, number, model_px)
        return maker.clip if self.kind == "clips" else maker.picture


_cache: dict[tuple[str, str], Any] = {}


def _opened(config: TrainConfig, opening: Callable[[TrainConfig], Any]) -> Any:  # noqa: ANN401
    key = (config.model_dump_json(), opening.__name__)
    if key not in _cache:
        _cache.clear()
        _cache[key] = opening(config)
    return _cache[key]


def _column(values: list[Any]) -> Any:  # noqa: ANN401 texts in lists, numbers in arrays
    return np.stack(values) if isinstance(values[0], np.ndarray) else values


def batches(
    config: TrainConfig, stage_number: int, first_step: int, rank: int, workers: int
) -> Iterator[Rows]:
    """What a worker learns from, step by step: so many batches for each as the stage says."""
    stage = config.stages[stage_number]
    steps = range(first_step, stage.steps)
    streams = {
        kind: _stream(
            config,
            stage_number,
            [step for step in steps if stage.kind_of(step) == kind],
            rank,
            workers,
            kind,
        )
        for kind in get_args(BatchKind)
    }
    for step in steps:
        for _ in range(stage.accumulate):
            yield next(streams[stage.kind_of(step)])


def _stream(
    config: TrainConfig,
    stage_number: int,
    steps: list[int],
    rank: int,
    workers: int,
    kind: BatchKind,
) -> Iterator[Rows]:
    """Batches of the given steps; nothing is made before the first is asked for."""
    if not steps:
        return
    stage = config.stages[stage_number]
    batch, parts = stage.batch, stage.accumulate
    context = ray.data.DataContext.get_current()
    context.execution_options.preserve_order = True
    context.enable_progress_bars = False
    context.custom_execution_callback_classes = [Unhurried]
    quieten_ray_data()
    turns = np.array(steps, np.int64)[:, None] * parts + np.arange(parts)
    first = (turns.ravel() * workers + rank) * batch
    numbers = (first[:, None] + np.arange(batch)).ravel()
    rows = _ROWS_OF_CLIPS if kind == "clips" else _ROWS_A_TASK
    made = ray.data.from_numpy(numbers).rename_columns({"data": "id"})
    made = made.repartition(target_num_rows_per_block=rows)
    making: Any = _Making(config, stage_number, kind)
    made = made.map_batches(making, batch_size=rows)
    numpy: Any = made.iter_batches(batch_size=batch, batch_format="numpy", prefetch_batches=2)
    yield from numpy
