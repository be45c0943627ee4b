"""What each worker of a training does: steps, checkpoints, examinations, weights at the end.

All that is drawn depends on the seed, the stage, the step and the worker, so that a training that
was killed goes on as if it had not been: the same steps, with the same losses.
"""

from __future__ import annotations

import io
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
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
from sam2_core.class_head_files import class_head_bytes
from sam2_core.learning.lessons import Batch, Learner
from sam2_core.learning.measures import ClipScore, mean_score

from ..cpu_threads import use_cpu_threads
from ..storage import Store, open_store
from .class_examining import ClassScores, ask_about_classes
from .class_samples import class_batch
from .clip_exams import ask_about_clips
from .examining import PictureScores, ask_about
from .figures import Events, gathered, write_figures
from .labels.class_opening import open_classes
from .labels.labelled import LabelSource
from .labels.opening import open_labels
from .pupil import Averages, Diverged, Pupil, new_learner
from .samples import clip_batch, picture_batch
from .state import Progress, load_state, save_state
from .stream import Rows, batches
from .train_config import TrainConfig
from .train_stage import BatchKind

WEIGHTS = "weights"
BEST, LAST = f"{WEIGHTS}/best.pt", f"{WEIGHTS}/last.pt"
BEST_HEAD, LAST_HEAD = f"{WEIGHTS}/best_head.safetensors", f"{WEIGHTS}/last_head.safetensors"
GIVEN_UP = "given_up.txt"  # why, where a training ended early
_HEAD_BESIDE = {BEST: BEST_HEAD, LAST: LAST_HEAD}

_ASKED_AFTER = {"dense": "prompts", "pictures": "prompts", "clips": "clips", "classes": "classes"}
"""What examinations are about in stages that learn something; dense ones have none."""

_BATCHES: dict[BatchKind, Callable[[Rows], Batch]] = {
    "pictures": picture_batch,
    "clips": clip_batch,
    "classes": class_batch,
}


def train_worker(settings: Mapping[str, Any]) -> None:
    """The function that Ray Train runs in each worker."""
    config: TrainConfig = settings["config"]
    use_cpu_threads(config.workers.threads)
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
        progress, parts = self._restored()
        learner = new_learner(self.config, self.device, goes_on=bool(parts))
        averages = Averages.of(learner)
        if parts:
            learner.load_state_dict(parts["learner"])
            averages.load_state_dict(parts)
        events = Events(self.config.output, self._steps_before(progress.stage) + progress.step)
        try:
            for number in range(progress.stage, len(self.config.stages)):
                begun = progress if number == progress.stage else self._next(progress)
                pupil = Pupil.at_stage(learner, averages, self.config.stages[number])
                if begun.step:
                    pupil.optimizer.load_state_dict(parts["optimizer"])
                pupil.share_gradients(self.workers)
                progress = self._stage(pupil, begun, events)
        except Diverged as fault:  # of all workers at once, and of each attempt: no death of one
            if not self.rank:
                self.store.put(GIVEN_UP, str(fault).encode())
            return
        finally:
            events.close()
        self._export(learner, averages, len(self.config.stages) - 1, LAST)

    def _next(self, progress: Progress) -> Progress:
        """The beginning of a stage; marks of classes, prompts and clips are not compared."""
        number, stages = progress.stage + 1, self.config.stages
        asks_alike = _ASKED_AFTER[stages[number].learn] == _ASKED_AFTER[stages[number - 1].learn]
        return Progress(number, 0, progress.best if asks_alike else float("-inf"))

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
            kind = stage.kind_of(step)
            drawn = [next(rows) for _ in range(stage.accumulate)]
            made = (_BATCHES[kind](row).to(self.device) for row in drawn)
            parts = [(part, self._objects(part)) for part in made]
            found = pupil.step(step, parts, self._generator(progress, step))
            now = time.perf_counter()
            self.waiting.append(
                {
                    "stage": stage.name,
                    "stage_number": progress.stage,
                    "step": step,
                    "kind": kind,
                    "skipped": [t for row in drawn for texts in row["skipped"] for t in texts],
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

    def _objects(self, batch: Batch) -> float:
        """Objects of a worker's batch, on average: gradients are averaged over workers."""
        count = torch.tensor(float(batch.count), device=self.device)
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
        if self.config.examined is None or self.config.stages[progress.stage].learn == "dense":
            return False
        return is_last or progress.step % exam.every_steps == 0

    def _examined(self, pupil: Pupil, progress: Progress) -> Progress:
        """Ask the average of the weights, each worker its share; keep the best."""
        with _judged(pupil.learner, pupil.averages):
            if pupil.stage.learn == "classes":
                mark = self._mark_for_classes(pupil.learner)
            else:
                of_clips = pupil.stage.learn == "clips"
                mark = self._mark_for_prompts(pupil.learner, of_clips=of_clips)
        if self.rank or not mark > progress.best:  # nor is one without a mark
            return progress
        self._export(pupil.learner, pupil.averages, progress.stage, BEST)
        return replace(progress, best=mark)

    def _mark_for_prompts(self, learner: Learner, *, of_clips: bool) -> float:
        """The mean of IoU by one click and by box; after clips, of that and of J&F."""
        exam, labels = self.config.examination, self.config.examined
        assert labels is not None
        options = self.config.storage.options()
        source = open_labels(labels, options, self.config.model.row().image_size)
        own, scores = PictureScores(), PictureScores()
        numbers = self._share_of(source.pictures, exam.pictures)
        for _ in ask_about(learner.model, source, numbers, own):
            pass
        for of_one in self._everyones(own):
            scores.extend(of_one)
        figures = scores.figures()
        mark = float(np.mean([figures["iou_1_clicks"], figures["iou_box"]]))
        if of_clips and self._most_of(source.clips, exam.clips):
            own_clips = self._share_of(source.clips, exam.clips)
            followed = self._followed(learner, source, own_clips, scores)
            figures["j_and_f"] = followed
            if followed == followed:  # else no clip could be judged
                mark = (mark + followed) / 2
        self._note_examination(source.name, figures, scores.skipped)
        return mark

    def _followed(
        self, learner: Learner, source: LabelSource, own: range, scores: PictureScores
    ) -> float:
        """J&F of everybody's clips."""
        skipped: list[str] = []
        asked = ask_about_clips(learner.model, source, own, skipped, self.config.examination.frames)
        found = [(score.j, score.f) for clip in asked for score in clip.scores]
        everyones = self._everyones((found, skipped))
        scores.skipped += [reason for _, reasons in everyones for reason in reasons]
        pairs = (pair for of_one, _ in everyones for pair in of_one)
        return mean_score(ClipScore(*pair) for pair in pairs).j_and_f

    def _share_of(self, there: int | None, most: int) -> range:
        """The pictures or clips that this worker asks about: the others would only wait."""
        return range(self._most_of(there, most))[self.rank :: self.workers]

    def _most_of(self, there: int | None, most: int) -> int:
        """How many are asked about; somebody may be writing labels, and workers see more or less.

        All workers agree, or one would wait for what another does not do.
        """
        known = [count for count in self._everyones(there) if count is not None]
        return min([most, *known])

    def _everyones(self, own: Any) -> list[Any]:  # noqa: ANN401 whatever can be pickled
        """What each worker has found."""
        if self.workers == 1:
            return [own]
        found: list[Any] = [None] * self.workers
        torch.distributed.all_gather_object(found, own)
        return found

    def _note_examination(
        self, name: str, figures: Mapping[str, float], skipped: Sequence[str]
    ) -> None:
        """Keep it with the figures of its step; rows of workers become one."""
        if not self.rank:
            self.waiting[-1] |= figures
            self.waiting[-1]["skipped"] += [f"{name}\t{reason}" for reason in skipped]

    def _mark_for_classes(self, learner: Learner) -> float:
        """The mIoU of classes."""
        exam, labels, head = self.config.examination, self.config.examined, learner.classes
        assert labels is not None
        assert head is not None
        model_px, options = self.config.model.row().image_size, self.config.storage.options()
        source = open_classes(labels, self.config.head, options, model_px)
        names = head.config.classes
        own, scores = ClassScores(names), ClassScores(names)
        numbers = self._share_of(source.pictures, exam.pictures)
        for _ in ask_about_classes(learner.model, head, source, numbers, own):
            pass
        for counts, skipped in self._everyones((own.counts, own.skipped)):
            scores.add(counts)
            scores.skipped += skipped
        self._note_examination(source.name, {"miou": scores.miou}, scores.skipped)
        return scores.miou

    # ------------------------------------------------------------ what is kept

    def _checkpoint(self, pupil: Pupil, progress: Progress, events: Events) -> None:
        """Figures first: those of a checkpoint are never missing, and are only written again."""
        if self.workers > 1:
            self.waiting = gathered(self.waiting, self.workers)
        if self.rank:
            self.waiting.clear()
            ray.train.report({"stage": progress.stage, "step": progress.step})
            return
        write_figures(self.store, self.waiting)
        events.write(self.waiting, self._steps_before(progress.stage))
        last = self.waiting[-1]
        self.waiting.clear()
        with tempfile.TemporaryDirectory() as folder:
            parts = {
                "learner": pupil.learner.state_dict(),
                "optimizer": pupil.optimizer.state_dict(),
                **pupil.averages.state_dict(),
            }
            save_state(Path(folder), progress, parts)
            ray.train.report(
                {"stage": progress.stage, "step": progress.step, "loss": last["loss"]},
                checkpoint=ray.train.Checkpoint.from_directory(folder),
            )

    def _export(self, learner: Learner, averages: Averages, stage: int, name: str) -> None:
        """Weights in the official layout, and beside them the head that belongs to them."""
        if self.rank:
            return
        file = io.BytesIO()
        with averages.in_place_of(learner):
            torch.save(export_checkpoint(learner.model), file)
            head = self._head_of(learner, stage)
        self.store.put(name, file.getvalue())
        if head is not None:
            self.store.put(_HEAD_BESIDE[name], head)

    def _head_of(self, learner: Learner, stage: int) -> bytes | None:
        """The file of a head that has learned something by the end of a stage."""
        has_learned = any(one.learn == "classes" for one in self.config.stages[: stage + 1])
        if learner.classes is None or not has_learned:
            return None
        learner.classes.belong_to(learner.model)
        return class_head_bytes(learner.classes)


@contextmanager
def _judged(learner: Learner, averages: Averages) -> Iterator[None]:
    """Lend the averages to the learner, in eval mode."""
    were_training = [module for module in learner.modules() if module.training]
    learner.eval()
    try:
        with averages.in_place_of(learner):
            yield
    finally:
        for module in were_training:
            module.training = True
