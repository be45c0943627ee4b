"""What a job may be told: one frozen tree of settings, each with its limits and its meaning.

Facts about models are not here but in sam2_core; choices are not here but in configs/*.yaml, which
`config_file` reads. Each setting is either a `result` or a `run` setting: `config_id` digests the
former, so nobody adds one without deciding. Sizes are in bytes, times in seconds, sides in pixels.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    ValidationError,
    model_validator,
)
from pydantic_core import InitErrorDetails

from sam2_core import RELEASED, AutoMaskConfig, ConfigError, ModelConfig, TrackingConfig
from sam2_core.config import Compile, Precision, model_config
from sam2_core.inference.tracking_config import Direction

from .config_decode import Decode
from .config_running import Fetch, Limits, Resources
from .config_section import (
    Contradiction,
    Section,
    Share,
    Text,
    Texts,
    Uri,
    Uris,
    fault,
    frozen,
    result,
    run,
    section,
)
from .config_storage import Storage
from .file_systems import Options, with_timeout
from .readers.prompts.columns import BoxFormat, Part

Mode = Literal["auto", "prompt", "track", "auto_track", "embed", "semantic"]
SourceKind = Literal["auto", "files", "frames", "tar", "list", "parquet"]
PromptFormat = Literal["auto", "columns", "coco", "parquet", "sav", "davis"]

Grids = Annotated[
    tuple[tuple[tuple[Share, Share], ...], ...],
    BeforeValidator(frozen, json_schema_input_type=list[list[list[float]]]),
]

PromptParts = Annotated[
    tuple[Part, ...], BeforeValidator(frozen, json_schema_input_type=list[Part])
]

_TAKES_PROMPTS = ("prompt", "track")
_SAYS_NO_COORDINATES = ("columns", "parquet")
_TABLE_SUFFIXES = (".parquet", ".pq")


class Source(Section):
    """Where the archive is, and what in it is a unit."""

    uri: Uris = run(..., "Folder, prefix, file or list with the archive; several in a list.")
    kind: SourceKind = run(
        "auto",
        "What lies there: files; frames, each folder a clip; tar, WebDataset shards; list, a table "
        "of addresses; parquet, a table with the bytes. auto looks.",
    )
    keep: Texts = run((), "Columns of the source that are copied to the column `user` of units.")
    uri_column: Text | None = run(
        None, "Column of a list that has the addresses; null: known by its name."
    )
    bytes_column: Text | None = run(
        None, "Column of a Parquet file that has the pictures; null: known by its type and name."
    )
    ask_versions: bool = run(
        True,
        "Ask stores and servers which version of a file they have, where a list has no column "
        "version or etag; false: nothing is asked, and new content under an old address not seen.",
    )


class Output(Section):
    """Where masks go, and how often they are safe there."""

    uri: Uri = run(..., "Folder or prefix of the dataset of masks.")
    max_masks_per_unit: int = result(
        1_000_000, "Most masks of one image or video; the best of a picture are kept.", ge=1
    )
    commit_every_units: int = run(
        256, "Most units of one file of masks, which is a commit; fewer: less to redo.", ge=1
    )
    commit_every_bytes: int = run(
        256 << 20, "A file of masks is also closed at this size in memory.", ge=1 << 20
    )
    compression: Literal["zstd", "snappy", "none"] = run("zstd", "Compression of Parquet files.")


def _released(name: str) -> str:
    return model_config(name).name


class Model(Section):
    """Which SAM 2, and how it computes."""

    name: Annotated[str, AfterValidator(_released)] = result(
        "sam2.1_hiera_tiny", "A released model.", schema={"enum": [*RELEASED]}
    )
    checkpoint: Uri | None = run(
        None, "Path or URL of weights; null: the published ones. Their content is what counts."
    )
    precision: Precision = result("fp32", "Arithmetic of the network: bf16 is fast on GPUs.")
    compile: Compile = run("off", "What torch compiles: off, encoder, or full.")
    image_size: int | None = result(
        None, "Side of the square the model sees, px; null: the model's.", multiple_of=32, gt=0
    )
    device: Literal["auto", "cuda", "cpu"] = run("auto", "auto: a GPU where the cluster has one.")

    def row(self) -> ModelConfig:
        """The model as sam2_core knows it."""
        row = RELEASED[self.name]
        return row if self.image_size is None else replace(row, image_size=self.image_size)


class Masks(Section):
    """All masks of a picture: the reference's names. Rows always carry COCO run lengths."""

    points_per_side: int | None = result(
        None,
        "Points along a side of the grid; null: as suits the model, or as point_grids has them.",
        ge=1,
    )
    points_per_batch: int = run(64, "Points that are decoded at once.", ge=1)
    pred_iou_thresh: Share | None = result(
        None, "Masks that the model itself rates lower are dropped; null: what suits its weights."
    )
    stability_score_thresh: Share | None = result(
        None, "Masks that change more with the threshold are dropped; null: as above."
    )
    stability_score_offset: float = result(1.0, "How far the threshold is moved to see it.")
    mask_threshold: float = result(0.0, "Logit above which a pixel belongs to a mask.")
    box_nms_thresh: Share = result(0.7, "Of two masks whose boxes overlap more, one is kept.")
    crop_n_layers: int = result(0, "Layers of crops beside the whole picture; 1: four.", ge=0)
    crop_nms_thresh: Share = result(0.7, "box_nms_thresh between crops.")
    crop_overlap_ratio: Share = result(512 / 1500, "Overlap of crops, of the shorter side.")
    crop_n_points_downscale_factor: int = result(
        1, "Each layer has points_per_side divided by this once more.", ge=1
    )
    point_grids: Grids | None = result(
        None, "Grids of your own, one a layer: lists of [x, y] in 0..1."
    )
    min_mask_region_area: int = result(
        0, "Holes and specks up to this many low-resolution pixels are cleaned away.", ge=0
    )
    use_m2m: bool = result(False, "Refine each mask once with itself as a prompt.")
    multimask_output: bool = result(True, "Three masks a point; false: one.")
    stability_fallback: bool = result(
        True, "An unsteady single mask gives way to the best of three."
    )

    @model_validator(mode="after")
    def _works(self) -> Masks:
        try:
            AutoMaskConfig(**(self._no_grid() | self._given()))
        except ConfigError as error:
            words = str(error).replace("AutoMaskConfig.", "").replace("None", "null")
            raise Contradiction(words, *self._named_in(words)) from error
        return self

    def auto_mask_config(self, model: ModelConfig) -> AutoMaskConfig:
        """What MaskGenerator takes, with what suits the model."""
        return AutoMaskConfig.for_model(model, **self._given())

    def _named_in(self, words: str) -> list[str]:
        named = set(re.findall(r"\w+", words))
        return [name for name in type(self).model_fields if name in named]

    def _given(self) -> dict[str, Any]:
        given = {name: getattr(self, name) for name in type(self).model_fields}
        for name in ("points_per_side", "pred_iou_thresh", "stability_score_thresh"):
            if given[name] is None:
                del given[name]
        return given

    def _no_grid(self) -> dict[str, Any]:
        return {} if self.point_grids is None else {"points_per_side": None}


class Tracking(Section):
    """Objects through a video: the reference's names, bounded so that memory is."""

    direction: Direction = result("forward", "From the first prompt on, or backward, or both.")
    max_objects: int = result(64, "Most objects of a video at a time.", ge=1)
    max_cond_frames_in_attn: int = result(8, "Prompted frames that are recalled at once.", ge=2)
    memory_temporal_stride_for_eval: int = result(1, "Recall every n-th earlier frame.", ge=1)
    fill_hole_area: int = result(8, "Holes up to this many low-resolution pixels are filled.", ge=0)
    non_overlap_masks: bool = result(False, "A pixel belongs to one object at most.")
    binarize_mask_from_pts_for_mem_enc: bool = result(
        True, "Prompted frames are remembered as masks and not as logits."
    )
    stability_fallback: bool = result(
        True, "An unsteady single mask gives way to the best of three."
    )

    def tracking_config(self) -> TrackingConfig:
        """What VideoTracker takes."""
        own = self.model_dump(exclude={"direction", "max_objects"})
        return TrackingConfig(**own)


class Discover(Section):
    """auto_track: all masks on key frames, tracked; what is new on a key frame joins."""

    key_every_frames: int = result(30, "Frames from one key frame to the next.", ge=1)
    new_below_iou: Share = result(
        0.5, "A mask of a key frame is new if its IoU with every tracked object is below this."
    )
    retire_after_absent_frames: int = result(
        300, "An object that is not seen for so many frames is tracked no further.", ge=1
    )


class Prompts(Section):
    """prompt and track: where prompts come from and what they mean."""

    file: Uri | None = run(None, "File or folder of prompts; null: columns of the source.")
    format: PromptFormat = run("auto", "auto: by the suffix of the file, else columns.")
    coordinates: Literal["pixels", "normalized"] | None = result(
        None, "What boxes and points of a table count in: pixels of the picture as shown, or 0..1."
    )
    uri_column: Text | None = run(
        None, "Column of a table of prompts that names the files; null: known by its name."
    )
    box_format: BoxFormat | None = result(
        None, "What a column bbox holds, or which of several boxes counts; null: as columns say."
    )
    use: PromptParts | None = result(
        None,
        "What of each prompt is used; null: all there is, but of COCO files the boxes.",
        min_length=1,
    )
    multimask: bool = result(True, "Three masks a prompt, for prompts that may mean several.")
    keep_best: bool = result(True, "Of three masks keep the one the model rates best.")

    def read_as(self) -> PromptFormat:
        """The format, where it is written or the file's name tells; else auto."""
        if self.format != "auto" or self.file is None:
            return self.format
        name = self.file.lower()
        return "parquet" if name.endswith(_TABLE_SUFFIXES) else "auto"


class Semantic(Section):
    """semantic: what each pixel shows, by a head of classes that `sam2ray train` made."""

    head: Uri | None = run(
        None, "Path or URL of the head, which belongs to the model's weights. Its content counts."
    )
    skip: Texts | None = result(
        None, "Classes that give no rows; null: the ground, if the head has one; []: none."
    )


class JobConfig(Section):
    """Settings of a sam2ray job."""

    mode: Mode = result(
        "auto",
        "auto: all masks; prompt: masks of prompts; track: prompted objects through videos; "
        "auto_track: found objects through videos; embed: features of the encoder; "
        "semantic: a mask of each class that a head knows.",
    )
    source: Source = Field(description="Where the archive is.")
    output: Output = Field(description="Where masks go.")
    model: Model = section(Model, "Which SAM 2, and how it computes.")
    masks: Masks = section(Masks, "How all masks are found (auto, auto_track).")
    prompts: Prompts = section(Prompts, "Where prompts come from (prompt, track).")
    tracking: Tracking = section(Tracking, "How objects are followed (track, auto_track).")
    discover: Discover = section(Discover, "How new objects are found (auto_track).")
    semantic: Semantic = section(Semantic, "Which classes are found, by which head (semantic).")
    decode: Decode = section(Decode, "From bytes to pixels.")
    fetch: Fetch = section(Fetch, "How bytes come from a store.")
    resources: Resources = section(Resources, "What of the cluster the job takes.")
    limits: Limits = section(Limits, "When units or the run are given up.")
    storage: Storage = section(
        Storage,
        "How stores are reached, by protocol; better left to the environment.",
        exclude=True,  # from every dump, so from the stored config too
    )

    def store_options(self) -> Options:
        """What file systems are made with, by protocol; see storage.open_store."""
        return with_timeout(self.storage.options(), self.fetch.timeout_s)

    @model_validator(mode="after")
    def _makes_sense_as_a_whole(self) -> JobConfig:
        faults = [*self._contradictions()]
        if faults:
            raise ValidationError.from_exception_data("job", faults)
        return self

    def _contradictions(self) -> Iterator[InitErrorDetails]:
        yield from self._contradictions_of_prompts()
        if self.mode == "auto_track" and self.tracking.direction != "forward":
            words = (
                "must be forward in mode auto_track: objects are followed from where they appear"
            )
            yield fault("tracking.direction", words, "mode")
        if self.mode == "semantic" and self.semantic.head is None:
            words = (
                "is missing: mode semantic needs the head of classes that sam2ray train made, "
                "such as tuned/weights/best_head.safetensors"
            )
            yield fault("semantic.head", words, "mode")
        if self.mode != "semantic" and self.semantic.head is not None:
            words = f"is not read in mode {self.mode}: write semantic"
            yield fault("semantic.head", words, "mode")
        gpus = self.resources.gpus_per_actor
        if self.model.device == "cpu" and gpus not in ("auto", 0):
            words = "must be 0 or auto where model.device is cpu"
            yield fault("resources.gpus_per_actor", words, "model.device")
        if self.model.device == "cuda" and gpus == 0:
            words = "must be above 0 where model.device is cuda"
            yield fault("resources.gpus_per_actor", words, "model.device")

    def _contradictions_of_prompts(self) -> Iterator[InitErrorDetails]:
        prompts = self.prompts
        if self.mode not in _TAKES_PROMPTS:
            if prompts.file is not None:
                words = f"is not read in mode {self.mode}: write prompt or track"
                yield fault("prompts.file", words, "mode")
            return
        if prompts.file is None and prompts.uri_column is not None:
            words = "is of a prompts.file: write source.uri_column"
            yield fault("prompts.uri_column", words, "prompts.file", "mode")
        if prompts.file is None and prompts.format not in ("auto", "columns"):
            words = f"is missing: format {prompts.format} is read from a file"
            yield fault("prompts.file", words, "prompts.format", "mode")
        if prompts.file is not None and prompts.format == "columns":
            words = "is not read where format is columns: leave one of them out"
            yield fault("prompts.file", words, "prompts.format", "mode")
        if prompts.read_as() in _SAYS_NO_COORDINATES and prompts.coordinates is None:
            words = "is missing: a table does not say what it counts in; write pixels or normalized"
            yield fault("prompts.coordinates", words, "prompts.file", "prompts.format", "mode")
