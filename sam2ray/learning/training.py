"""A training from its config to weights: Ray Train runs the loop, this starts and watches it."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.fs as pafs
import yaml
from pydantic import ValidationError

from sam2_core.network.class_head import UNKNOWN

from .. import lease
from ..cluster import cluster, ensure_ray
from ..errors import Sam2RayError, UsageError
from ..file_systems import file_system
from ..readers.places import absolute
from ..root import new_run_id
from ..storage import Store, local_path, open_store
from .curve import draw_curve
from .examining import numbers_of
from .figures import figure_files, read_figure_file, read_figures
from .labels.class_opening import open_classes
from .labels.labelled import BadLabels, ClassSource, LabelledClasses, LabelSource
from .labels.opening import open_labels
from .loop import BEST, BEST_HEAD, GIVEN_UP, LAST, LAST_HEAD, train_worker
from .stream import class_mixture_of, mixture_of
from .train_config import Labels, TrainConfig

KEPT = "training.yaml"
CURVE = "curve.png"
_RUN = "checkpoints"  # Ray Train's folder below the output
_LOOKS_EVERY_S = 2.0
_LONGEST_WAIT_S = 6 * 3600  # of workers for one that is slower: deaths are noticed without it
_OF_THE_RUN = ("output", "workers", "save_memory", "checkpoint_every_steps", "storage")

Say = Callable[[str], None]


class TrainingFailed(Sam2RayError):
    """A training was given up; its checkpoints are there."""


@dataclass(frozen=True, slots=True)
class Trained:
    """What a training came to."""

    uri: str
    figures: pa.Table
    has_best: bool
    heads: tuple[str, ...] = ()  # files of heads, as they are called in the output

    @property
    def skipped(self) -> dict[str, list[str]]:
        """What could not be learned from: reasons by source, each once however often it came up."""
        found: dict[str, list[str]] = {}
        told = self.figures["skipped"].to_pylist()
        for text in dict.fromkeys(text for texts in told for text in texts):
            source, _, reason = text.partition("\t")
            found.setdefault(source, []).append(reason)
        return found


def train(config: TrainConfig, say: Say) -> Trained:
    """Learn, or go on with what was learned before. `say` hears a line now and then."""
    store = open_store(config.output, config.storage.options())
    with closing(lease.acquire(store, lease.this_process(new_run_id()))):
        is_begun = _is_begun(store, config)
        _refuse_empty_labels(config)  # a name that was mistyped pins nothing
        if not is_begun:
            store.put(KEPT, yaml.safe_dump(_kept(config), sort_keys=False).encode())
        ensure_ray()
        if remark := remark_on_cpus(config, cluster().cpus):
            say(remark)
        store.delete(GIVEN_UP)
        with _telling(store, config, say):
            _fit(_named_for_all(config), store)
        if store.exists(GIVEN_UP):
            raise TrainingFailed(store.read(GIVEN_UP).decode())
        figures = pa.concat_tables(read_figures(store))
        store.put(CURVE, draw_curve(figures, config))
        heads = tuple(name for name in (BEST_HEAD, LAST_HEAD) if store.exists(name))
        return Trained(store.uri, figures, store.exists(BEST), heads)


def _kept(config: TrainConfig) -> dict[str, Any]:
    """What makes two trainings the same; what only says how one runs may change."""
    return config.model_dump(mode="json", exclude={*_OF_THE_RUN})


def _is_begun(store: Store, config: TrainConfig) -> bool:
    """Whether an output holds this training; one that holds another, or other files, is refused."""
    kept = _kept(config)
    try:
        found = _as_of_today(yaml.safe_load(store.read(KEPT)), config)
    except FileNotFoundError:
        if any(True for _ in store.level() if not getattr(_, "name", "").startswith("_sam2ray")):
            raise UsageError(
                f"{store.uri} holds files and no training: name a folder that is empty."
            ) from None
        return False
    if found != kept:
        keys = ", ".join(sorted(_differences(found, kept)))
        raise UsageError(
            f"{store.uri} holds another training, which differs in {keys}: name another output, "
            "or say the same as before."
        )
    return True


def _as_of_today(kept: Any, config: TrainConfig) -> Any:  # noqa: ANN401 YAML
    """What was kept, with settings that did not exist then at their defaults."""
    try:
        read = TrainConfig.model_validate({**kept, "output": config.output})
    except (TypeError, ValidationError):  # what has changed its meaning is shown as it is
        return kept
    return _kept(read)


def _differences(one: Any, other: Any, path: str = "") -> Iterator[str]:  # noqa: ANN401 YAML
    if isinstance(one, dict) and isinstance(other, dict):
        for key in one.keys() | other.keys():
            yield from _differences(one.get(key), other.get(key), f"{path}.{key}".lstrip("."))
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for place, (left, right) in enumerate(zip(one, other, strict=True)):
            yield from _differences(left, right, f"{path}.{place}")
    elif one != other:
        yield path


def remark_on_cpus(config: TrainConfig, cpus: float) -> str:
    """That workers leave no CPU to what makes samples, which waits for ever; else nothing."""
    workers = config.workers
    taken = workers.count * workers.cpus
    if taken + 1 <= cpus:
        return ""
    enough = max(0.0, math.floor((cpus - 1) / workers.count * 100) / 100)
    return (
        f"workers book {taken:g} of the cluster's {cpus:g} CPUs, and what makes samples needs one "
        f"more: nothing moves before further nodes come. If none will, stop, and start again with "
        f"--set workers.cpus={enough:g}."
    )


def _refuse_empty_labels(config: TrainConfig) -> None:
    """What is missing is said before anything starts."""
    of_masks = [stage for stage in config.stages if stage.learn != "classes"]
    if of_masks:
        mixture = mixture_of(config)
        if any(stage.learn == "clips" for stage in of_masks):
            mixture.require("clips")
        if any(stage.learn != "clips" or stage.pictures_every for stage in of_masks):
            mixture.require("pictures")
    if config.learns_classes:
        class_mixture_of(config)
    exam = config.examined
    if exam is None:
        return
    model_px, options = config.model.row().image_size, config.storage.options()
    sources: list[LabelSource | ClassSource] = []
    if config.learns_classes:
        sources.append(open_classes(exam, config.head, options, model_px))
    if any(stage.learn in ("pictures", "clips") for stage in of_masks):
        sources.append(open_labels(exam, options, model_px))
    for source in sources:
        _refuse_empty_examination(source, config.examination.pictures)


def _refuse_empty_examination(source: LabelSource | ClassSource, most: int) -> None:
    """One picture with something in it is enough; hours later it would be late to hear of none."""
    why = "it has no pictures"
    for number in numbers_of(source, most):
        why = _why_not(source, number)
        if not why:
            return
    raise UsageError(f"examination.labels: {source.name}: nothing can be asked about: {why}.")


def _why_not(source: LabelSource | ClassSource, number: int) -> str:
    try:
        shown = source.picture(number)
    except BadLabels as error:
        return str(error)
    if isinstance(shown, LabelledClasses):
        return "" if (shown.ids != UNKNOWN).any() else "no pixel of its pictures has a class"
    return "" if len(shown.masks) else "its pictures have no masks"


def _fit(config: TrainConfig, store: Store) -> None:
    from ray.train import (
        CheckpointConfig,
        FailureConfig,
        RunConfig,
        ScalingConfig,
        TrainingFailedError,
    )
    from ray.train.torch import TorchConfig, TorchTrainer

    workers = config.workers
    gpus = workers.gpus if workers.gpus != "auto" else cluster().gpus > 0
    trainer = TorchTrainer(
        train_worker,
        torch_config=TorchConfig(timeout_s=_LONGEST_WAIT_S),
        train_loop_config={"config": config},
        scaling_config=ScalingConfig(
            num_workers=workers.count,
            use_gpu=bool(gpus),
            resources_per_worker={"CPU": workers.cpus, **({"GPU": 1} if gpus else {})},
        ),
        run_config=RunConfig(
            name=_RUN,
            **_storage(store, config),
            failure_config=FailureConfig(max_failures=workers.failures),
            checkpoint_config=CheckpointConfig(num_to_keep=2),
        ),
    )
    try:
        trainer.fit()
    except TrainingFailedError as error:
        raise TrainingFailed(_cause(error)) from error


def _storage(store: Store, config: TrainConfig) -> dict[str, Any]:
    """Where Ray Train keeps checkpoints: it is to reach a store as everything else here does."""
    path = local_path(store.uri)
    if path is not None:
        return {"storage_path": str(path)}
    files = file_system(store.uri, config.storage.options())
    reached = pafs.PyFileSystem(pafs.FSSpecHandler(files))
    return {"storage_path": files._strip_protocol(store.uri), "storage_filesystem": reached}


def _named_for_all(config: TrainConfig) -> TrainConfig:
    """Workers, and tasks that make samples, have working folders of their own."""
    exam, start = config.examination, config.model
    of_exam = None if exam.labels is None else _named(exam.labels)
    checkpoint = None if start.checkpoint is None else absolute(start.checkpoint)
    return config.model_copy(
        update={
            "output": absolute(config.output),
            "labels": tuple(_named(labels) for labels in config.labels),
            "examination": exam.model_copy(update={"labels": of_exam}),
            "model": start.model_copy(update={"checkpoint": checkpoint}),
        }
    )


def _named(labels: Labels) -> Labels:
    places = {"uri": labels.uri, "pictures": labels.pictures}
    update = {name: None if uri is None else absolute(uri) for name, uri in places.items()}
    return labels.model_copy(update=update)


def _cause(error: BaseException) -> str:
    """The error at the bottom, which is what happened."""
    failures = getattr(error, "worker_failures", None)
    if failures:
        first = next(iter(failures.values()))
        error = first if isinstance(first, BaseException) else error
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {error}"


# ---------------------------------------------------------------- what is said meanwhile


@contextmanager
def _telling(store: Store, config: TrainConfig, say: Say) -> Iterator[None]:
    """Say how it goes, after each checkpoint."""
    ended = threading.Event()
    teller = threading.Thread(target=partial(_tell, store, config, say, ended), daemon=True)
    teller.start()
    try:
        yield
    finally:
        ended.set()
        teller.join()


def _tell(store: Store, config: TrainConfig, say: Say, ended: threading.Event) -> None:
    told = set(figure_files(store)[:-1])  # by an earlier run; it is said where this one begins
    while True:
        is_last = ended.wait(_LOOKS_EVERY_S)
        for name in figure_files(store):
            if name not in told:
                told.add(name)
                say(_line(read_figure_file(store, name), config))
        if is_last:
            return


def _line(table: pa.Table, config: TrainConfig) -> str:
    number, step = table["stage_number"][-1].as_py(), table["step"][-1].as_py() + 1
    stage = config.stages[number]
    parts = [f"{stage.name} {step:,} of {stage.steps:,}"]
    for name, word in (
        ("loss", "loss"),
        ("alike_iou", "alike"),
        ("first_iou", "first answers"),
        ("last_iou", "last answers"),
        ("followed_iou", "followed"),
        ("iou_1_clicks", "examined: one click"),
        ("iou_3_clicks", "three"),
        ("iou_box", "box"),
        ("class_iou", "classes"),
        ("j_and_f", "J&F"),
        ("miou", "examined: mIoU"),
    ):
        mean = _mean(table, name)
        if mean is not None:
            parts.append(f"{word} {mean:.3f}")
    lost = sum(value or 0 for value in table["lost"].to_pylist())
    if lost:
        parts.append(f"{lost:g} steps taught nothing, as gradients were no numbers")
    seconds = _mean(table, "seconds")
    if seconds:
        parts.append(f"{1 / seconds:.1f} steps/s")
    return ", ".join(parts)


def _mean(table: pa.Table, name: str) -> float | None:
    """Of what is there."""
    known = [value for value in table[name].to_pylist() if value is not None and value == value]
    return sum(known) / len(known) if known else None


def weights_of(trained: Trained) -> dict[str, str]:
    """Where weights lie, by what they are."""
    found = {"last": f"{trained.uri}/{LAST}"}
    return {"best": f"{trained.uri}/{BEST}", **found} if trained.has_best else found


def heads_of(trained: Trained) -> dict[str, str]:
    """Where heads of classes lie, by the weights that they belong to."""
    words = {BEST_HEAD: "best", LAST_HEAD: "last"}
    return {words[name]: f"{trained.uri}/{name}" for name in trained.heads}
