"""A job's config and its model -> what an actor does with a batch; no Ray in it."""

from __future__ import annotations

from dataclasses import dataclass

from sam2_core import (
    ClassHead,
    ClassSegmenter,
    ImageSegmenter,
    MaskGenerator,
    Sam2,
    VideoTracker,
)

from ..config import JobConfig
from ..heads import skipped_classes
from ..modes.auto_track import DiscoverObjects, DiscoveryRules
from ..modes.classes import ClassMasks
from ..modes.clips import ClipMode, FrameByFrame
from ..modes.pictures import AllMasks, Embeddings, NoPictures, PictureMode, PromptedMasks
from ..modes.track import TrackPrompts
from ..sinks.commit import Committer
from .clips import ClipOpener
from .hands import Hands
from .label import BatchLabeller, PictureLabeller
from .label_videos import VideoLabeller
from .outcome_rows import Stamp
from .specs import clip_spec


@dataclass(frozen=True, slots=True, eq=False)
class Modes:
    """What is done with pictures, and what with videos."""

    pictures: PictureMode
    clips: ClipMode


def make_labeller(
    config: JobConfig,
    model: Sam2,
    hands: Hands,
    stamp: Stamp,
    committer: Committer,
    *,
    head: ClassHead | None = None,
) -> BatchLabeller:
    """All that an actor needs to label pictures and videos."""
    modes = Modes(picture_mode(config, model, head), clip_mode(config, model, head))
    return labeller_of(config, modes, hands, stamp, committer)


def labeller_of(
    config: JobConfig, modes: Modes, hands: Hands, stamp: Stamp, committer: Committer
) -> BatchLabeller:
    """The same around modes that are made already."""
    videos = VideoLabeller(
        modes.clips,
        ClipOpener(clip_spec(config), modes.clips.choice),
        hands,
        stamp,
        committer,
        lanes=config.resources.video_lanes,
        frames_at_once=max(config.resources.batch_size, config.resources.video_lanes),
        max_rows=config.output.max_masks_per_unit,
    )
    most = config.output.max_masks_per_unit
    return BatchLabeller(PictureLabeller(modes.pictures, hands, stamp, max_rows=most), videos)


def picture_mode(config: JobConfig, model: Sam2, head: ClassHead | None = None) -> PictureMode:
    """What the job does with pictures."""
    if config.mode in ("track", "auto_track"):
        return NoPictures(config.mode)
    return _frame_mode(config, model, head)


def _frame_mode(config: JobConfig, model: Sam2, head: ClassHead | None) -> PictureMode:
    if config.mode == "prompt":
        return PromptedMasks(
            ImageSegmenter(model), config.prompts.multimask, config.prompts.keep_best
        )
    if config.mode == "embed":
        return Embeddings(ImageSegmenter(model))
    if config.mode == "semantic":
        assert head is not None, "the config demands one"
        segmenter = ClassSegmenter(model, head, batch=config.resources.batch_size)
        return ClassMasks(segmenter, skipped_classes(config, head.config))
    return AllMasks(_mask_generator(config, model))


def clip_mode(config: JobConfig, model: Sam2, head: ClassHead | None = None) -> ClipMode:
    """What the job does with videos."""
    tracking = config.tracking
    if config.mode == "track":
        tracker = VideoTracker(model, tracking.tracking_config())
        return TrackPrompts(tracker, tracking.direction, tracking.max_objects)
    if config.mode == "auto_track":
        rules = DiscoveryRules(
            key_every_frames=config.discover.key_every_frames,
            new_below_iou=config.discover.new_below_iou,
            retire_after_absent_frames=config.discover.retire_after_absent_frames,
            max_objects=tracking.max_objects,
        )
        generator = _mask_generator(config, model)
        return DiscoverObjects(model, generator, tracking.tracking_config(), rules)
    return FrameByFrame(
        _frame_mode(config, model, head),
        config.resources.batch_size,
        "prompted" if config.mode == "prompt" else "sampled",
    )


def _mask_generator(config: JobConfig, model: Sam2) -> MaskGenerator:
    return MaskGenerator(model, config.masks.auto_mask_config(model.config))
