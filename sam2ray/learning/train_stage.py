"""What one stage of a training may be told: what is learned, from how much, and how fast."""

from __future__ import annotations

from math import cos, pi
from typing import Annotated, Literal

from pydantic import Field, model_validator

from sam2_core import ConfigError
from sam2_core.learning.classes import ClassLossConfig
from sam2_core.learning.clips import ClipInteraction
from sam2_core.learning.lessons import Lesson
from sam2_core.learning.losses import LossConfig
from sam2_core.learning.pictures import Interaction
from sam2_core.learning.weights import PARTS, LearningRates

from ..config_section import Section, Share, Text, result, section

What = Literal["dense", "pictures", "clips", "classes"]
BatchKind = Literal["pictures", "clips", "classes"]
Weight = Annotated[float, Field(ge=0)]


_LEARN_FROM: dict[What, tuple[str, ...]] = {
    "dense": ("encoder",),
    "pictures": ("encoder", "prompts", "decoder"),
    "clips": tuple(PARTS),
}
"""Parts of a model that each kind of lesson can teach anything."""


class Loss(Section):
    """How wrong answers are; by default as SAM 2 was trained."""

    focal: float = result(20.0, "Weight of the focal loss.", ge=0)
    dice: float = result(1.0, "Weight of the dice loss.", ge=0)
    iou: float = result(1.0, "Weight of the error of predicted IoU.", ge=0)
    absolute_iou: bool = result(
        True,
        "Predicted IoU is judged by |error|, which teaches what is usual; false: by its square, "
        "which teaches the mean.",
    )
    presence: float = result(1.0, "Weight of whether the object is there.", ge=0)
    others: float = result(
        0.0, "Of three masks: what all count, beside the one that fits best.", ge=0
    )
    focal_alpha: Share = result(0.25, "What a pixel of the object counts, against one beside it.")
    focal_gamma: float = result(2.0, "How little counts what is right already.", ge=0)
    blank_absent: bool = result(
        True, "Masks of what is taken for absent are blank, and learn nothing."
    )


class Stage(Section):
    """One stretch of learning: what is learned, on how much, and how fast."""

    name: Text = result(..., "What it is called in figures.")
    learn: What = result(
        ...,
        "dense: the encoder alone, what belongs together; pictures: prompts; clips: memory too; "
        "classes: a head that needs no prompt.",
    )
    steps: int = result(..., "Steps of the optimizer.", ge=1)
    batch: int = result(4, "Pictures or clips of each worker in a step.", ge=1)
    accumulate: int = result(1, "Batches of each worker whose gradients make one step.", ge=1)
    objects: int = result(8, "Most objects of a picture or clip.", ge=1)
    frames: int = result(8, "Frames of a clip.", ge=1)
    pictures_every: int = result(
        0, "Of clips: each n-th step learns from pictures instead; 0: none.", ge=0
    )
    rate: float = result(5e-6, "Learning rate after the warm-up.", gt=0)
    last_rate: Share = result(0.01, "Share of it at the end, along half a cosine.")
    warmup_steps: int = result(0, "Steps in which it grows from nothing.", ge=0)
    parts: dict[str, Weight] = result(
        {},
        "Factors of the rate by part: encoder, prompts, decoder, memory; 0 freezes one. Of classes "
        "all are 0 that are not named: the head alone learns.",
    )
    encoder_decay: Share = result(1.0, "Factor from each encoder block to the one before.")
    weight_decay: float = result(0.1, "Of matrices.", ge=0)
    clip_norm: float = result(1.0, "Longer gradients are shortened to this.", gt=0)
    average: Share = result(0.999, "Decay of the running average of weights, which is exported.")
    dense_weight: float = result(
        0.0, "Weight of the dense losses beside prompts (pictures only).", ge=0
    )
    dense_clicks: int = result(16, "Pixels a picture whose like is sought.", ge=1)
    target_stride: Literal[1, 2, 4] = result(
        1,
        "Masks are learned at the model's size by this, and how much of each pixel they cover; 4 "
        "is where logits are made.",
    )
    corrections: int = result(7, "Clicks after the first answer.", ge=0)
    middle_chance: Share = result(
        0.0, "How often a click is in the middle of where it helps, and not anywhere there."
    )
    box_chance: Share = result(0.5, "How often a box comes first, and not a click.")
    box_slack: Share = result(
        0.1, "Corners of boxes are off by up to this share of a side; 0 where boxes will be exact."
    )
    mask_chance: Share = result(0.5, "How often a clip begins with masks.")
    through_answers: bool = result(
        False, "An answer learns from what is made of it as the next prompt, too."
    )
    prompted_frames: int = result(2, "Most frames of a clip that are prompted.", ge=1)
    flip: bool = result(True, "Mirror pictures half of the time.")
    crop: Share = result(1.0, "Cut out parts of pictures, from this share of their side on.")
    turn: float = result(0.0, "Turn pictures, by up to so many degrees either way.", ge=0, le=180)
    colour: Share = result(
        0.0, "Brightness, contrast and saturation are changed by up to this share of theirs."
    )
    grey: Share = result(0.0, "How often pictures lose their colours.")
    class_dice: float = result(0.0, "Of classes: weight of dice beside the cross entropy.", ge=0)
    class_weights: dict[str, Weight] = result(
        {}, "Of classes: what a pixel of a class counts, by its name; 1 where none is written."
    )
    precision: Literal["fp32", "bf16"] = result("fp32", "Arithmetic; bf16 is fast on GPUs.")
    loss: Loss = section(Loss, "How wrong answers are.")

    @model_validator(mode="after")
    def _makes_sense(self) -> Stage:
        if self.learn in ("clips", "classes") and self.dense_weight:
            raise ValueError(f"dense_weight is of pictures: set it to 0 in a stage of {self.learn}")
        if self.learn != "classes" and (self.class_dice or self.class_weights):
            raise ValueError("class_dice and class_weights are of stages that learn classes")
        if self.learn != "clips" and self.pictures_every:
            raise ValueError("pictures_every is of clips: leave it out")
        if self.turn and (self.learn == "dense" or self.dense_weight):
            raise ValueError(
                "turn leaves corners that show nothing, which dense lessons would take for the "
                "ground: set it to 0"
            )
        if self.pictures_every == 1:
            raise ValueError("pictures_every=1 leaves no clips: use a stage of pictures")
        try:
            rates = self.rates()
        except ConfigError as error:
            raise ValueError(str(error)) from error
        able = _LEARN_FROM.get(self.learn, ())
        if able and not any(rates.parts.get(part, 1.0) for part in able):
            raise ValueError(
                f"parts leave nothing to learn of {self.learn}: let {' or '.join(able)} have more "
                "than 0"
            )
        return self

    def rates(self) -> LearningRates:
        """How fast what learns; only the encoder does without prompts."""
        parts = dict(self.parts)
        if self.learn == "dense":
            parts = {"prompts": 0.0, "decoder": 0.0, "memory": 0.0, **parts}
        elif self.learn == "classes":
            parts = {**dict.fromkeys(PARTS, 0.0), **parts}
        elif self.learn == "pictures":
            parts = {"memory": 0.0, **parts}
        return LearningRates(
            rate=self.rate,
            parts=parts,
            encoder_decay=self.encoder_decay,
            weight_decay=self.weight_decay,
        )

    def lesson(self) -> Lesson:
        """What is done with each batch."""
        clicks = Interaction(
            box_chance=self.box_chance,
            box_slack=self.box_slack,
            corrections=self.corrections,
            middle_chance=self.middle_chance,
            through_answers=self.through_answers,
        )
        clips = ClipInteraction(
            mask_chance=self.mask_chance, most_prompted=self.prompted_frames, clicks=clicks
        )
        return Lesson(
            interaction=clicks,
            clips=clips,
            losses=LossConfig(**self.loss.model_dump()),
            classes=ClassLossConfig(dice=self.class_dice, weights=self.class_weights),
            prompted=self.learn != "dense",
            dense_weight=1.0 if self.learn == "dense" else self.dense_weight,
            dense_clicks=self.dense_clicks,
        )

    def learns_clips(self, step: int) -> bool:
        """Whether a step learns from clips."""
        is_break = self.pictures_every and (step + 1) % self.pictures_every == 0
        return self.learn == "clips" and not is_break

    def kind_of(self, step: int) -> BatchKind:
        """What kind of batch a step learns from."""
        if self.learn == "classes":
            return "classes"
        return "clips" if self.learns_clips(step) else "pictures"

    def rate_share(self, step: int) -> float:
        """The share of the full rate at a step."""
        if step < self.warmup_steps:
            return (step + 1) / (self.warmup_steps + 1)
        done = (step - self.warmup_steps) / max(1, self.steps - self.warmup_steps)
        return self.last_rate + (1 - self.last_rate) * (1 + cos(pi * done)) / 2
