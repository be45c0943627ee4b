"""SAM 2: segment images, find all masks, track objects through clips; batched, and exact."""

from . import _check_ops as _check_ops
from .build import build_sam2, load_sam2
from .checkpoint import export_checkpoint, load_checkpoint
from .class_head_files import load_class_head, read_head_config, save_class_head
from .config import RELEASED, ModelConfig
from .data import FramePrompt, Prompt
from .errors import (
    CheckpointError,
    CheckpointMismatch,
    CheckpointUnreadable,
    ConfigError,
    DownloadFailed,
    FrameSourceError,
    ImageError,
    PromptError,
    Sam2Error,
)
from .inference.automask import AutoMaskConfig, Mask
from .inference.class_segmenter import ClassMap, ClassSegmenter
from .inference.image_segmenter import EmbeddedImages, ImageSegmenter, Segmentation
from .inference.mask_generator import MaskGenerator
from .inference.preprocess import Picture, ResizedPicture, read_image, resize_picture
from .inference.session import TrackingSession
from .inference.tracked_frame import TrackedFrame
from .inference.tracking_config import TrackingConfig
from .inference.video_tracker import Clip, ClipEnd, ClipFrame, VideoTracker
from .network.class_head import ClassHead, HeadConfig
from .network.encoder_digest import encoder_digest
from .network.sam2 import Sam2

__all__ = [
    "RELEASED",
    "AutoMaskConfig",
    "CheckpointError",
    "CheckpointMismatch",
    "CheckpointUnreadable",
    "ClassHead",
    "ClassMap",
    "ClassSegmenter",
    "Clip",
    "ClipEnd",
    "ClipFrame",
    "ConfigError",
    "DownloadFailed",
    "EmbeddedImages",
    "FramePrompt",
    "FrameSourceError",
    "HeadConfig",
    "ImageError",
    "ImageSegmenter",
    "Mask",
    "MaskGenerator",
    "ModelConfig",
    "Picture",
    "Prompt",
    "PromptError",
    "ResizedPicture",
    "Sam2",
    "Sam2Error",
    "Segmentation",
    "TrackedFrame",
    "TrackingConfig",
    "TrackingSession",
    "VideoTracker",
    "build_sam2",
    "encoder_digest",
    "export_checkpoint",
    "load_checkpoint",
    "load_class_head",
    "load_sam2",
    "read_head_config",
    "read_image",
    "resize_picture",
    "save_class_head",
]
