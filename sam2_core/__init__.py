"""SAM 2: segment images, find all masks, track objects through clips; batched, and exact."""

from . import _check_ops as _check_ops
from .config import RELEASED, ModelConfig
from .data import FramePrompt, Prompt
from .inference.automask import AutoMaskConfig, Mask
from .inference.image_segmenter import EmbeddedImages, ImageSegmenter, Segmentation
from .inference.mask_generator import MaskGenerator
from .inference.session import TrackingSession
from .inference.tracked_frame import TrackedFrame
from .inference.tracking_config import TrackingConfig
from .inference.video_tracker import Clip, ClipFrame, VideoTracker
