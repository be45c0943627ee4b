"""What a config says reaches the modes and the readers of clips."""

from __future__ import annotations

import pytest
from small_models import lively_model

from sam2_core import ClassHead
from sam2ray.config import JobConfig
from sam2ray.modes.auto_track import DiscoverObjects
from sam2ray.modes.classes import ClassMasks
from sam2ray.modes.clips import FrameByFrame
from sam2ray.modes.discovery import DiscoveryRules
from sam2ray.modes.pictures import AllMasks, Embeddings, NoPictures, PromptedMasks
from sam2ray.modes.track import TrackPrompts
from sam2ray.sinks.result_files import EMBEDDINGS, MASKS
from sam2ray.stages.make_labeller import clip_mode, picture_mode
from sam2ray.stages.sampling import Sampling
from sam2ray.stages.specs import clip_spec


def config(mode: str = "auto", **settings) -> JobConfig:
    given = {
        "mode": mode,
        "source": {"uri": "in"},
        "output": {"uri": "out"},
        "model": {"name": "nano", "image_size": 64},
    }
    if mode in ("prompt", "track"):
        given["prompts"] = {"coordinates": "pixels"}
    if mode == "semantic":
        given["semantic"] = {"head": "head.safetensors"}
    return JobConfig.model_validate(given | settings)


@pytest.mark.parametrize(
    ("mode", "of_pictures", "of_clips", "choice", "folder"),
    [
        ("auto", AllMasks, FrameByFrame, "sampled", MASKS),
        ("embed", Embeddings, FrameByFrame, "sampled", EMBEDDINGS),
        ("prompt", PromptedMasks, FrameByFrame, "prompted", MASKS),
        ("track", NoPictures, TrackPrompts, "sampled_and_prompted", MASKS),
        ("auto_track", NoPictures, DiscoverObjects, "sampled", MASKS),
        ("semantic", ClassMasks, FrameByFrame, "sampled", MASKS),
    ],
)
def test_every_mode_knows_pictures_and_clips(mode, of_pictures, of_clips, choice, folder):
    head = None if mode != "semantic" else ClassHead.for_model(lively_model(64), ("a", "b"))
    pictures = picture_mode(config(mode), lively_model(64), head)
    clips = clip_mode(config(mode), lively_model(64), head)
    assert type(pictures) is of_pictures
    assert type(clips) is of_clips
    assert (pictures.folder, clips.folder, clips.choice) == (folder, folder, choice)


def test_settings_of_tracking_and_discovery_reach_their_modes():
    tracking = {"max_objects": 7, "direction": "both", "fill_hole_area": 3}
    followed = clip_mode(config("track", tracking=tracking), lively_model(64))
    assert isinstance(followed, TrackPrompts)
    assert (followed.max_objects, followed.direction) == (7, "both")
    assert followed.tracker.config.fill_hole_area == 3
    assert followed.tracker.config.max_cond_frames_in_attn == 8
    tracking = tracking | {"direction": "forward"}
    discover = {"key_every_frames": 5, "new_below_iou": 0.25, "retire_after_absent_frames": 9}
    found = clip_mode(
        config("auto_track", tracking=tracking, discover=discover, masks={"points_per_side": 3}),
        lively_model(64),
    )
    assert isinstance(found, DiscoverObjects)
    assert found.rules == DiscoveryRules(
        key_every_frames=5, new_below_iou=0.25, retire_after_absent_frames=9, max_objects=7
    )
    assert found.generator.config.points_per_side == 3
    assert found.config.fill_hole_area == 3


def test_settings_of_decoding_reach_the_clips():
    video = {"every_nth": 3, "max_frames": 9, "max_duration_s": 7.5, "max_side": 99, "threads": 2}
    spec = clip_spec(
        config(
            decode={"video": video, "max_pixels": 1234},
            fetch={"threads": 8, "attempts": 3, "backoff_s": 0.25},
            resources={"video_lanes": 4},
        )
    )
    assert spec.sampling == Sampling(every_nth=3, max_frames=9, max_duration_s=7.5)
    assert (spec.max_side, spec.threads_a_video, spec.threads_a_folder) == (99, 2, 2)
    assert spec.limits.max_pixels == 1234
    assert (spec.patience.attempts, spec.patience.first_pause_s) == (3, 0.25)
    assert clip_spec(config(decode={"video": {"fps": 2}})).sampling.fps == 2


@pytest.mark.parametrize(
    ("mode", "settings", "model_px"),
    [
        ("auto", {}, 64),
        ("auto", {"decode": {"mode": "scaled"}}, 64),
        ("auto", {"decode": {"mode": "exact"}}, None),
        ("auto", {"masks": {"crop_n_layers": 1}}, None),
        ("auto_track", {"masks": {"crop_n_layers": 1}}, None),
        ("track", {"masks": {"crop_n_layers": 1}}, 64),
    ],
)
def test_frames_come_at_the_models_side_unless_their_own_pixels_count(mode, settings, model_px):
    assert clip_spec(config(mode, **settings)).model_px == model_px
