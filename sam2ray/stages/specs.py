"""A job's config -> how its pictures and clips are fetched and decoded."""

from __future__ import annotations

from ..config import JobConfig
from ..config_decode import Decode
from ..patience import Patience
from ..planner import needs_own_pixels
from .clips import ClipSpec
from .decode import PictureLimits
from .prepare import PrepareSpec
from .sampling import Sampling


def prepare_spec(config: JobConfig) -> PrepareSpec:
    """How this job fetches and decodes pictures."""
    return PrepareSpec(
        config.decode.mode,
        None if needs_own_pixels(config) else config.model.row().image_size,
        _limits(config.decode),
        _patience(config),
        config.fetch.threads,
        config.store_options(),
    )


def clip_spec(config: JobConfig) -> ClipSpec:
    """How this job reads videos."""
    decode, video = config.decode, config.decode.video
    crops = config.mode in ("auto", "auto_track") and config.masks.crop_n_layers > 0
    own_pixels = crops or decode.mode == "exact"
    return ClipSpec(
        mode=decode.mode,
        model_px=None if own_pixels else config.model.row().image_size,
        sampling=Sampling(
            every_nth=video.every_nth,
            fps=video.fps,
            max_frames=video.max_frames,
            max_duration_s=video.max_duration_s,
        ),
        max_side=video.max_side,
        max_bytes=video.max_bytes,
        threads_a_video=video.threads,
        threads_a_folder=max(1, config.fetch.threads // config.resources.video_lanes),
        limits=_limits(decode),
        patience=_patience(config),
        storage=config.store_options(),
    )


def _limits(decode: Decode) -> PictureLimits:
    return PictureLimits(
        max_bytes=decode.max_bytes,
        max_pixels=decode.max_pixels,
        min_side=decode.min_side,
        max_side=decode.max_side,
        max_aspect_ratio=decode.max_aspect_ratio,
    )


def _patience(config: JobConfig) -> Patience:
    return Patience(config.fetch.attempts, config.fetch.backoff_s)
