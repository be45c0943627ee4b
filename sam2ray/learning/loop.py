"""What each worker of a training does: steps, checkpoints, examinations, weights at the end.

All that is drawn depends on the seed, the stage, the step and the worker, so that a training that
was killed goes on as if it had not been: the same steps, with the same losses.
"""

from __future__ import annotations

import io
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import ray.train
import ray.train.torch
import torch
import torch.distributed

from sam2_core import export_checkpoint
from sam2_core.learning.lessons import ClipBatch, Learner, PictureBatch
from sam2_core.learning.weights import AveragedWeights

from ..storage import Store, open_store
from .examining import PictureScores, ask_about, numbers_of
from .figures import Events, write_figures
from .labels.opening import open_labels
from .pupil import Pupil, new_learner
from .samples import clip_batch, picture_batch
from .state import Progress, load_state, save_state
from .stream import batches
from .train_config import TrainConfig

WEIGHTS = "weights"
BEST, LAST = f"{WEIGHTS}/best.pt", f"{WEIGHTS}/last.pt"


def train_worker(settings: Mapping[str, Any]) -> None:
    """The function that Ray Train runs in each worker."""
    config: TrainConfig = settings["config"]
    torch.set_num_threads(config.workers.threads)
    context = ray.train.get_context()
    worker = _Worker(
        config,
        context.get_world_rank(),
        context.get_world_size(),
        ray.train.torch.get_device(),
        open_store(config.output, config.storage.options()),
    )
    worker.run()


@dataclass(slots=True, eq=False)
class _Worker:
    config: TrainConfig
    rank: int
    workers: int
    device: torch.device
    store: Store
    waiting: list[dict[str, Any]] = field(default_factory=list)  # figures since the last checkpoint

    def run(self) -> None:
        """Go on from the last checkpoint to the end."""
        learner = new_learner(self.config, self.device)
        average = AveragedWeights(learner.model, 0.0)
        progress, parts = self._restored()
        if parts:
            learner.load_state_dict(parts["learner"])
            average.load_state_dict(parts["average"])
        events = Events(self.config.output, self._steps_before(progress.stage) + progress.step)
        try:
            for number in range(progress.stage, len(self.config.stages)):
                begun = progress if number == progress.stage else Progress(number, 0, progress.best)
                pupil = Pupil.at_stage(learner, average, self.config.stages[number])
                if begun.step:
                    pupil.optimizer.load_state_dict(parts["optimizer"])
                pupil.share_gradients(self.workers)
                progress = self._stage(pupil, begun, events)
        finally:
            events.close()
        self._export(learner, average, LAST)

    def _restored(self) -> tuple[Progress, dict[str, Any]]:
        checkpoint = ray.train.get_checkpoint()
        if checkpoint is None:
            return Progress(), {}
        with checkpoint.as_directory() as folder:
            return load_state(Path(folder))

    def _stage(self, pupil: Pupil, progress: Progress, events: Events) -> Progress:
        stage = self.config.stages[progress.stage]
        rows = batches(self.config, progress.stage, progress.step, self.rank, self.workers)
        began = time.perf_counter()
        for step in range(progress.step, stage.steps):
            row = next(rows)
            is_clip = stage.learns_clips(step)
            batch = (clip_batch(row) if is_clip else picture_batch(row)).to(self.device)
            found = pupil.step(step, batch, self._objects(batch), self._generator(progress, step))
            now = time.perf_counter()
            self.waiting.append(
                {
                    "stage": stage.name,
                    "stage_number": progress.stage,
                    "step": step,
                    "kind": "clips" if is_clip else "pictures",
                    "skipped": [text for texts in row["skipped"] for text in texts],
                    "seconds": now - began,
                    **found,
                }
            )
            began = now
            progress = replace(progress, step=step + 1)
            is_last = step + 1 == stage.steps
            if self._is_exam(progress, is_last):
                progress = self._examined(pupil, progress)
            if is_last or progress.step % self.config.checkpoint_every_steps == 0:
                self._checkpoint(pupil, progress, events)
        return progress

    def _objects(self, batch: PictureBatch | ClipBatch) -> float:
        """Objects of a worker's batch, on average: gradients are averaged over workers."""
        targets = batch.targets_Nhw if isinstance(batch, PictureBatch) else batch.targets_NThw
        count = torch.tensor(float(len(targets)), device=self.device)
        if self.workers > 1:
            torch.distributed.all_reduce(count)
        return max(1.0, float(count) / self.workers)

    def _generator(self, progress: Progress, step: int) -> torch.Generator:
        """Whatever is drawn in this step, here."""
        numbers = [self.config.seed, progress.stage, step, self.rank]
        seed = int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)
        return torch.Generator(self.device).manual_seed(seed)

    def _steps_before(self, stage_number: int) -> int:
        return sum(stage.steps for stage in self.config.stages[:stage_number])

    # ------------------------------------------------------------ examinations

    def _is_exam(self, progress: Progress, is_last: bool) -> bool:
        exam = self.config.examination
        if exam.labels is None or self.config.stages[progress.stage].learn == "dense":
            return False
        return is_last or progress.step % exam.every_steps == 0

    def _examined(self, pupil: Pupil, progress: Progress) -> Progress:
        """Ask the average of the weights, on the first worker; keep the best."""
        if self.rank:
            return progress
        exam, model = self.config.examination, pupil.learner.model
        assert exam.labels is not None
        options = self.config.storage.options()
        source = open_labels(exam.labels, options, self.config.model.row().image_size)
        scores = PictureScores()
        with _judged(pupil.learner, pupil.average):
            for _ in ask_about(model, source, numbers_of(source, exam.pictures), scores):
                pass
        figures = scores.figures()
        self.waiting[-1] |= figures
        mark = float(np.mean([figures["iou_1_clicks"], figures["iou_box"]]))
        if not mark > progress.best:
            return progress
        self._export(pupil.learner, pupil.average, BEST)
        return replace(progress, best=mark)

    # ------------------------------------------------------------ what is kept

    def _checkpoint(self, pupil: Pupil, progress: Progress, events: Events) -> None:
        """Figures first: those of a checkpoint are never missing, and are only written again."""
        if self.rank:
            ray.train.report({"stage": progress.stage, "step": progress.step})
            return
        write_figures(self.store, self.waiting)
        events.write(self.waiting, self._steps_before(progress.stage))
        last = self.waiting[-1]
        self.waiting.clear()
        with tempfile.TemporaryDirectory() as folder:
            parts = {
                "learner": pupil.learner.state_dict(),
                "average": pupil.average.state_dict(),
                "optimizer": pupil.optimizer.state_dict(),
            }
            save_state(Path(folder), progress, parts)
            ray.train.report(
                {"stage": progress.stage, "step": progress.step, "loss": last["loss"]},
                checkpoint=ray.train.Checkpoint.from_directory(folder),
            )

    def _export(self, learner: Learner, average: AveragedWeights, name: str) -> None:
        """Weights in the official layout, as any program of SAM 2 reads them."""
        if self.rank:
            return
        file = io.BytesIO()
        with average.in_place_of(learner.model):
            torch.save(export_checkpoint(learner.model), file)
        self.store.put(name, file.getvalue())


@contextmanager
def _judged(learner: Learner, average: AveragedWeights) -> Iterator[None]:
    """Lend the average to the model, in eval mode."""
    was_training = learner.training
    learner.eval()
    try:
        with average.in_place_of(learner.model):
            yield
    finally:
        learner.train(was_training)
