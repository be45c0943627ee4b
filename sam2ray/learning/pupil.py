"""A model that learns in one process: its weights, their average, and the optimizer of a stage."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from sam2_core import Sam2, load_sam2
from sam2_core.learning.dense import AffinityHead
from sam2_core.learning.lessons import ClipBatch, Learner, Outcome, PictureBatch
from sam2_core.learning.scratch import match_queries_and_keys
from sam2_core.learning.weights import (
    AveragedWeights,
    make_activations_twice,
    parameter_groups,
)

from ..file_systems import options_of, protocol_of
from .train_config import Stage, Start, TrainConfig

_BETAS = (0.9, 0.95)


def starting_model(start: Start, seed: int, config: TrainConfig) -> Sam2:
    """The model before the first step, on the CPU."""
    if start.start == "weights":
        return load_sam2(start.row(), _local(start.checkpoint, config))
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        model = Sam2(start.row())
    match_queries_and_keys(model)
    return model


def _local(checkpoint: str | None, config: TrainConfig) -> str | None:
    if checkpoint is None:
        return None
    from sam2_core.checkpoint_files import local_checkpoint

    options = options_of(protocol_of(checkpoint), config.storage.options())
    return str(local_checkpoint(checkpoint, options=options))


@dataclass(slots=True, eq=False)
class Pupil:
    """What learns, and how."""

    learner: Learner
    average: AveragedWeights
    device: torch.device
    stage: Stage
    optimizer: torch.optim.Optimizer
    wrapped: nn.Module  # the learner, or what shares its gradients with others

    @classmethod
    def at_stage(cls, learner: Learner, average: AveragedWeights, stage: Stage) -> Pupil:
        """Freeze what does not learn, and begin anew with the rest."""
        groups = parameter_groups(learner.model, stage.rates())
        if learner.head is not None:
            learns = bool(stage.lesson().dense_weight)
            learner.head.requires_grad_(learns)
            if learns:
                head = [*learner.head.parameters()]
                groups.append({"params": head, "lr": stage.rate, "weight_decay": 0.0})
        for group in groups:
            group["full_rate"] = group["lr"]
        optimizer = torch.optim.AdamW(groups, betas=_BETAS)
        average.decay = stage.average
        device = next(learner.parameters()).device
        return cls(learner, average, device, stage, optimizer, learner)

    def share_gradients(self, workers: int) -> None:
        """Average gradients over all workers, with whatever of the learner has some."""
        if workers > 1:
            from torch.nn.parallel import DistributedDataParallel

            self.wrapped = DistributedDataParallel(self.learner, find_unused_parameters=True)

    def step(
        self,
        step: int,
        batch: PictureBatch | ClipBatch,
        objects: float,
        generator: torch.Generator,
    ) -> dict[str, float]:
        """Learn from one batch; what is to be watched comes back."""
        rate = self.stage.rate_share(step)
        for group in self.optimizer.param_groups:
            group["lr"] = group["full_rate"] * rate
        self.optimizer.zero_grad(set_to_none=True)
        with self._arithmetic():
            outcome: Outcome = self.wrapped(batch, self.stage.lesson(), objects, generator)
        outcome.loss.backward()
        norm = nn.utils.clip_grad_norm_(self.learner.parameters(), self.stage.clip_norm)
        if bool(torch.isfinite(norm)):
            self.optimizer.step()
            self.average.update(self.learner.model)
        names = [*outcome.figures]
        values = [outcome.loss.detach(), norm, *(outcome.figures[name] for name in names)]
        loss, length, *figures = torch.stack([value.float() for value in values]).tolist()
        found = {"loss": loss, "gradient_norm": length, "rate": self.stage.rate * rate}
        return found | dict(zip(names, figures, strict=True))

    def _arithmetic(self) -> AbstractContextManager[Any]:
        enabled = self.stage.precision == "bf16"
        return torch.autocast(self.device.type, torch.bfloat16, enabled=enabled)


def new_learner(config: TrainConfig, device: torch.device) -> Learner:
    """The model, with a head where a stage learns densely."""
    model = starting_model(config.model, config.seed, config)
    if config.save_memory:
        make_activations_twice(model)
    head = None
    if any(stage.lesson().dense_weight for stage in config.stages):
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(config.seed)
            head = AffinityHead(model.config)
    return Learner(model, head).to(device)
