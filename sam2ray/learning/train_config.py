"""What a training may be told: the model, where labels come from, its stages, and who works."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, model_validator
from pydantic_core import InitErrorDetails

from sam2_core import RELEASED, ConfigError, ModelConfig
from sam2_core.config import model_config
from sam2_core.network.class_head import check_class_names, check_width

from ..config_section import Section, Text, Texts, Uri, fault, frozen, result, run, section
from ..config_storage import Storage
from .train_stage import Stage

LabelKind = Literal["world", "masks", "coco", "sa1b", "sav", "davis", "classes"]
CLASS_KINDS: tuple[LabelKind, ...] = ("classes", "coco", "world")  # that say what is of a class


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
