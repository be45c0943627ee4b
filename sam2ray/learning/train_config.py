"""What a training may be told: the model, where labels come from, and its stages one by one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from math import cos, pi
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, model_validator
from pydantic_core import InitErrorDetails

from sam2_core import RELEASED, ConfigError, ModelConfig
from sam2_core.config import model_config
from sam2_core.learning.classes import ClassLossConfig
from sam2_core.learning.clips import ClipInteraction
from sam2_core.learning.lessons import Lesson
from sam2_core.learning.losses import LossConfig
from sam2_core.learning.pictures import Interaction
from sam2_core.learning.weights import PARTS, LearningRates
from sam2_core.network.class_head import check_class_names, check_width

from ..config_section import Section, Share, Text, Texts, Uri, fault, frozen, result, run, section
from ..config_storage import Storage

LabelKind = Literal["world", "masks", "coco", "sa1b", "sav", "davis", "classes"]
CLASS_KINDS: tuple[LabelKind, ...] = ("classes", "coco", "world")  # that say what is of a class
What = Literal["dense", "pictures", "clips", "classes"]
BatchKind = Literal["pictures", "clips", "classes"]
Weight = Annotated[float, Field(ge=0)]


def _released(name: str) -> str:
    return model_config(name).name


class Start(Section):
    """Which model learns, and from what weights."""

    name: Annotated[str, AfterValidator(_released)] = result(
        "sam2.1_hiera_tiny", "A released model.", schema={"enum": [*RELEASED]}
    )
    start: Literal["weights", "scratch"] = result(
        "weights", "weights: those of checkpoint, or the published ones; scratch: random ones."
    )
    checkpoint: Uri | None = result(None, "Path or URL of weights; null: the published ones.")
    image_size: int | None = result(
        None, "Side of the square the model sees, px; null: the model's.", multiple_of=32, gt=0
    )

    @model_validator(mode="after")
    def _starts_in_one_way(self) -> Start:
        if self.start == "scratch" and self.checkpoint is not None:
            raise ValueError("start=scratch reads no checkpoint: leave one of them out")
        return self

    def row(self) -> ModelConfig:
        """The model as sam2_core knows it."""
        row = RELEASED[self.name]
        return row if self.image_size is None else replace(row, image_size=self.image_size)


_OF_KINDS: Mapping[str, tuple[LabelKind, ...]] = {
    "pictures": ("coco", "sa1b", "sav", "davis", "classes"),
    "seed": ("world",),
    "min_score": ("masks",),
    "min_area": ("world", "masks", "coco", "sa1b", "sav", "davis"),
    "categories": ("coco", "world"),
}


class Labels(Section):
    """One place that labels come from."""

    kind: LabelKind = result(
        ...,
        "world: made as they are needed; masks: an output of sam2ray; coco: instances JSON; sa1b: "
        "pictures with a JSON each; sav: videos with masklets; davis: JPEGImages and Annotations; "
        "classes: PNGs whose pixels are ids of classes, 255 unknown.",
    )
    uri: Uri | None = result(None, "Folder or file of the labels; of a world there is none.")
    pictures: Uri | None = result(
        None, "Folder that pictures or videos are looked for in; null: where the labels say."
    )
    share: float = result(1.0, "How often it is drawn, beside the other sources.", gt=0)
    seed: int = result(0, "Of a world: another seed is another one.", ge=0)
    hold_out_every: int | None = result(
        None,
        "One in n pictures and clips, by their names, is kept for examinations, and not learned "
        "from; null: none is.",
        ge=2,
    )
    held_out: bool = result(
        False, "Only what is kept for examinations: by hold_out_every, or the shapes of a world."
    )
    min_score: float = result(
        0.0,
        "Of sam2ray's masks: those it rates lower are left out, of clips the whole object.",
        ge=0,
    )
    min_area: int = result(
        16,
        "Masks of fewer pixels are left out; of a clip, objects whose largest one has fewer.",
        ge=1,
    )
    categories: dict[str, str] = result(
        {},
        "Of coco and world: which category, by name or id, is which class, if not by its name.",
    )

    @model_validator(mode="after")
    def _says_where(self) -> Labels:
        if self.kind == "world" and self.uri is not None:
            raise ValueError("a world has no uri: leave it out, or name another kind")
        if self.kind != "world" and self.uri is None:
            raise ValueError(f"kind={self.kind} needs a uri: where its labels lie")
        if self.kind == "world" and self.hold_out_every is not None:
            raise ValueError("a world keeps shapes for examinations: leave hold_out_every out")
        if self.kind != "world" and self.held_out and self.hold_out_every is None:
            raise ValueError("held_out needs hold_out_every: which pictures and clips are kept")
        if self.kind == "masks" and self.pictures is not None:
            raise ValueError("masks know where their pictures lie: leave pictures out")
        for name, kinds in _OF_KINDS.items():
            if self.kind not in kinds and getattr(self, name) != Labels.model_fields[name].default:
                raise ValueError(
                    f"{name} means nothing for kind={self.kind}: leave it out; it is of "
                    f"{', '.join(kinds)}"
                )
        return self


class Head(Section):
    """What stages that learn classes teach: a head without prompts on the encoder."""

    classes: Texts = result((), "Names of the classes, in the order of their ids.")
    ground: Text | None = result(
        None, "The class that means none of the others; null: what is not labelled is unknown."
    )
    width: int = result(64, "Channels inside the head, a multiple of 8.")

    @model_validator(mode="after")
    def _works(self) -> Head:
        try:
            if self.classes:
                check_class_names(self.classes, self.ground)
            check_width(self.width)
        except ConfigError as error:
            raise ValueError(str(error)) from error
        return self


class Loss(Section):
    """How wrong answers are; by default as SAM 2 was trained."""

    focal: float = result(20.0, "Weight of the focal loss.", ge=0)
    dice: float = result(1.0, "Weight of the dice loss.", ge=0)
    iou: float = result(1.0, "Weight of the error of predicted IoU.", ge=0)
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
        if self.pictures_every == 1:
            raise ValueError("pictures_every=1 leaves no clips: use a stage of pictures")
        try:
            rates = self.rates()
        except ConfigError as error:
            raise ValueError(str(error)) from error
        if self.learn != "classes" and not any(rates.parts.get(part, 1.0) for part in PARTS):
            raise ValueError("parts leave nothing to learn: let one of them have more than 0")
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


Labelled = Annotated[
    tuple[Labels, ...],
    BeforeValidator(frozen, json_schema_input_type=list[Labels]),
    Field(min_length=1),
]


class Examination(Section):
    """How good the model is, asked again and again on labels that it does not learn from."""

    labels: Labels | None = result(
        None,
        "Where those labels come from; null: what hold_out_every keeps of the first labels that "
        "have it, and without any nothing is asked.",
    )
    pictures: int = result(64, "How many pictures are asked about.", ge=1)
    clips: int = result(
        4, "How many clips are asked about in stages of clips, where the labels have some.", ge=0
    )
    frames: int = result(64, "How many frames of each clip are followed at most.", ge=3)
    every_steps: int = result(1000, "Steps from one examination to the next.", ge=1)


class Workers(Section):
    """What of the cluster learns."""

    count: int = run(1, "Processes that learn side by side, each from its own batch.", ge=1)
    gpus: bool | Literal["auto"] = run("auto", "A GPU for each; auto: where the cluster has one.")
    cpus: float = run(1.0, "CPUs that each books; what makes samples takes one of the rest.", ge=0)
    threads: int = run(1, "Threads each computes with on the CPU.", ge=1)
    failures: int = run(3, "Deaths of workers after which the training is given up.", ge=0)


class TrainConfig(Section):
    """Settings of a training."""

    output: Uri = run(..., "Folder for checkpoints, weights, figures and the curve.")
    seed: int = result(0, "Of what is drawn, asked and made up.", ge=0)
    model: Start = section(Start, "Which model learns, and from what weights.")
    labels: Labelled = Field(description="Where labels come from.")
    stages: Annotated[
        tuple[Stage, ...],
        BeforeValidator(frozen, json_schema_input_type=list[Stage]),
        Field(min_length=1),
    ] = Field(description="What is learned, one after another.")
    head: Head = section(Head, "What stages that learn classes teach.")
    examination: Examination = section(Examination, "How good the model is by now.")
    workers: Workers = section(Workers, "What of the cluster learns.")
    save_memory: bool = run(
        False, "Make activations of encoder and memory twice instead of keeping them."
    )
    checkpoint_every_steps: int = run(
        200, "Steps from one checkpoint to the next: most that a death costs.", ge=1
    )
    storage: Storage = section(
        Storage,
        "How stores are reached, by protocol; better left to the environment.",
        exclude=True,
    )

    @property
    def examined(self) -> Labels | None:
        """The labels of examinations."""
        if self.examination.labels is not None:
            return self.examination.labels
        kept = (one for one in self.labels if one.hold_out_every is not None)
        return next((one.model_copy(update={"held_out": True}) for one in kept), None)

    @property
    def learns_classes(self) -> bool:
        """Whether a stage does."""
        return any(stage.learn == "classes" for stage in self.stages)

    @model_validator(mode="after")
    def _makes_sense_as_a_whole(self) -> TrainConfig:
        faults = [*self._contradictions()]
        if faults:
            raise ValidationError.from_exception_data("training", faults)
        return self

    def _contradictions(self) -> Iterator[InitErrorDetails]:
        names, exam = self.head.classes, self.examined
        if self.learns_classes and not names:
            yield fault("head.classes", "is missing: a stage learns classes, so name them")
        if names and not self.learns_classes:
            yield fault("head.classes", "is of stages that learn classes, and none does")
        for number, stage in enumerate(self.stages):
            for name in stage.class_weights:
                if name not in names:
                    yield fault(f"stages.{number}.class_weights", f"{name!r} is no class of head")
        if exam is None:
            return
        if self.learns_classes and exam.kind not in CLASS_KINDS:
            words = f"kind={exam.kind} says nothing of classes: {', '.join(CLASS_KINDS)} do"
            yield fault("examination.labels", words)
        if exam.kind == "classes" and any(s.learn in ("pictures", "clips") for s in self.stages):
            words = "kind=classes has no masks, which stages of pictures and clips are asked about"
            yield fault("examination.labels", words)
