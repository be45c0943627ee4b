"""A model that learns in one process: its weights, their average, and the optimizer of a stage."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from sam2_core import ClassHead, Sam2, load_sam2
from sam2_core.learning.dense import AffinityHead
from sam2_core.learning.lessons import Batch, Learner, Outcome
from sam2_core.learning.scratch import start_from_scratch
from sam2_core.learning.weights import (
    AveragedWeights,
    head_groups,
    make_activations_twice,
    parameter_groups,
)

from ..errors import Sam2RayError
from ..file_systems import options_of, protocol_of
from .train_config import Start, TrainConfig
from .train_stage import Stage

_BETAS = (0.9, 0.95)
_MOST_LOST = 20  # steps in a row whose gradients are no numbers


class Diverged(Sam2RayError):
    """Nothing is learned any more."""


def starting_model(start: Start, seed: int, config: TrainConfig, *, goes_on: bool = False) -> Sam2:
    """The model before the first step, on the CPU; only its shape where a checkpoint follows."""
    if goes_on:  # what it began with may have moved away since
        return Sam2(start.row())
    if start.start == "weights":
        return load_sam2(start.row(), _local(start.checkpoint, config))
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        model = Sam2(start.row())
    start_from_scratch(model)
    return model


def _local(checkpoint: str | None, config: TrainConfig) -> str | None:
    if checkpoint is None:
        return None
    from sam2_core.checkpoint_files import local_checkpoint

    options = options_of(protocol_of(checkpoint), config.storage.options())
    return str(local_checkpoint(checkpoint, options=options))


@dataclass(frozen=True, slots=True, eq=False)
class Averages:
    """Running averages of all that is exported."""

    model: AveragedWeights
    classes: AveragedWeights | None  # of the head, if there is one

    @classmethod
    def of(cls, learner: Learner) -> Averages:
        """Of what has learned nothing yet."""
        head = learner.classes
        return cls(
            AveragedWeights(learner.model, 0.0),
            None if head is None else AveragedWeights(head, 0.0),
        )

    def update(self, learner: Learner, stage: Stage) -> None:
        """Take a step of a stage into account; what does not learn yet would only be remembered."""
        self.model.decay = stage.average
        self.model.update(learner.model)
        if self.classes is not None and stage.learn == "classes":
            assert learner.classes is not None
            self.classes.decay = stage.average
            self.classes.update(learner.classes)

    @contextmanager
    def in_place_of(self, learner: Learner) -> Iterator[None]:
        """Lend the averages to a learner, to be judged or exported."""
        of_head: AbstractContextManager[None] = nullcontext()
        if self.classes is not None:
            assert learner.classes is not None
            of_head = self.classes.in_place_of(learner.classes)
        with self.model.in_place_of(learner.model), of_head:
            yield

    def state_dict(self) -> dict[str, Any]:
        """All of it, for a checkpoint."""
        of_head = {} if self.classes is None else {"head_average": self.classes.state_dict()}
        return {"average": self.model.state_dict(), **of_head}

    def load_state_dict(self, parts: Mapping[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.model.load_state_dict(parts["average"])
        if self.classes is not None:
            self.classes.load_state_dict(parts["head_average"])


@dataclass(slots=True, eq=False)
class Pupil:
    """What learns, and how."""

    learner: Learner
    averages: Averages
    device: torch.device
    stage: Stage
    optimizer: torch.optim.Optimizer
    wrapped: nn.Module  # the learner, or what shares its gradients with others
    lost: int = 0  # steps in a row of which nothing was learned

    @classmethod
    def at_stage(cls, learner: Learner, averages: Averages, stage: Stage) -> Pupil:
        """Freeze what does not learn, and begin anew with the rest."""
        # Gradients of what is frozen now would stay, count in the norm, and be lost by a resume.
        learner.zero_grad(set_to_none=True)
        rates = stage.rates()
        groups = parameter_groups(learner.model, rates)
        learner.model.train(bool(groups))
        # What others learn on from now on is what is judged and exported: the average.
        frozen = [n for n, w in learner.model.named_parameters() if not w.requires_grad]
        averages.model.pour_into(learner.model, frozen)
        if learner.classes is not None:
            learner.classes.requires_grad_(stage.learn == "classes")
            if stage.learn == "classes":
                groups += head_groups(learner.classes, rates)
        if learner.head is not None:
            learns = bool(stage.lesson().dense_weight)
            learner.head.requires_grad_(learns)
            if learns:
                head = [*learner.head.parameters()]
                groups.append({"params": head, "lr": stage.rate, "weight_decay": 0.0})
        for group in groups:
            group["full_rate"] = group["lr"]
        optimizer = torch.optim.AdamW(groups, betas=_BETAS)
        device = next(learner.parameters()).device
        return cls(learner, averages, device, stage, optimizer, learner)

    def share_gradients(self, workers: int) -> None:
        """Average gradients over all workers, with whatever of the learner has some."""
        if workers > 1:
            from torch.nn.parallel import DistributedDataParallel

            self.wrapped = DistributedDataParallel(self.learner, find_unused_parameters=True)

    def step(
        self,
        step: int,
        parts: Sequence[tuple[Batch, float]],
        generator: torch.Generator,
    ) -> dict[str, float]:
        """Learn from batches, each with what its losses are divided by; figures come back."""
        rate = self.stage.rate_share(step)
        for group in self.optimizer.param_groups:
            group["lr"] = group["full_rate"] * rate
        self.optimizer.zero_grad(set_to_none=True)
        outcomes: list[Outcome] = []
        for place, (batch, objects) in enumerate(parts):
            with self._shared_gradients(is_last=place == len(parts) - 1):
                with self._arithmetic():
                    outcome = self.wrapped(batch, self.stage.lesson(), objects, generator)
                with self._attention():  # activations that are made twice are made the same way
                    (outcome.loss / len(parts)).backward()
            outcomes.append(outcome)
        norm = nn.utils.clip_grad_norm_(self.learner.parameters(), self.stage.clip_norm)
        is_lost = not bool(torch.isfinite(norm))
        self._count(step, is_lost=is_lost)
        if not is_lost:
            self.optimizer.step()
            self.averages.update(self.learner, self.stage)
        found = {"gradient_norm": norm.float()} | _means(outcomes)
        numbers = torch.stack([*found.values()]).tolist()
        of_step = {"rate": self.stage.rate * rate, "lost": float(is_lost)}
        return of_step | dict(zip(found, numbers, strict=True))

    def _shared_gradients(self, *, is_last: bool) -> AbstractContextManager[Any]:
        """Workers average what all batches of a step have left, once."""
        from torch.nn.parallel import DistributedDataParallel

        wrapped = self.wrapped
        if isinstance(wrapped, DistributedDataParallel) and not is_last:
            return wrapped.no_sync()
        return nullcontext()

    def _count(self, step: int, *, is_lost: bool) -> None:
        """Give a training up that learns nothing any more."""
        self.lost = self.lost + 1 if is_lost else 0
        if self.lost >= _MOST_LOST:
            raise Diverged(
                f"stage {self.stage.name}: nothing was learned in {self.lost} steps in a row, up "
                f"to step {step + 1:,}, as gradients were no numbers. The last checkpoint may be "
                f"from before: begin a new output from weights of earlier, with a lower rate than "
                f"{self.stage.rate:g}, more warmup_steps, or precision: fp32."
            )

    @contextmanager
    def _arithmetic(self) -> Iterator[None]:
        if self.stage.precision != "bf16":
            yield
            return
        with torch.autocast(self.device.type, torch.bfloat16), self._attention():
            yield

    def _attention(self) -> AbstractContextManager[Any]:
        """On a CPU the fused kernel's way back takes four times as long in bf16 as in fp32."""
        is_slow = self.stage.precision == "bf16" and self.device.type == "cpu"
        return sdpa_kernel(SDPBackend.MATH) if is_slow else nullcontext()


def _means(outcomes: Sequence[Outcome]) -> dict[str, Tensor]:
    """Losses and figures of batches as those of one; of figures that some have not, of the rest."""
    found = {"loss": torch.stack([one.loss.detach().float() for one in outcomes]).mean()}
    for name in dict.fromkeys(name for one in outcomes for name in one.figures):
        values = [one.figures[name].float() for one in outcomes if name in one.figures]
        found[name] = torch.stack(values).nanmean()
    return found


def new_learner(config: TrainConfig, device: torch.device, *, goes_on: bool = False) -> Learner:
    """The model, with the heads that stages learn by or learn."""
    model = starting_model(config.model, config.seed, config, goes_on=goes_on)
    if config.save_memory:
        make_activations_twice(model)
    head = classes = None
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(config.seed)
        if any(stage.lesson().dense_weight for stage in config.stages):
            head = AffinityHead(model.config)
        if config.learns_classes:
            told = config.head
            classes = ClassHead.for_model(model, told.classes, told.ground, told.width)
    return Learner(model, head, classes).to(device)
