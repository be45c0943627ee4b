"""Facts about the released models, and the settings a user may vary.

A released SAM 2 is six numbers and a version. Everything that never varies between releases is a
constant here; choices about a run (thresholds, grids, hole filling) live with what they steer.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from difflib import get_close_matches
from numbers import Integral, Real
from typing import Literal

from .errors import ConfigError

Version = Literal["2.0", "2.1"]
Precision = Literal["fp32", "bf16", "fp16"]
Compile = Literal["off", "encoder", "full"]

PIXEL_MEAN = (0.485, 0.456, 0.406)
PIXEL_STD = (0.229, 0.224, 0.225)

MASK_TOKENS = 4  # one for the unambiguous answer, three for part, subpart and whole
DECODER_LAYERS = 2
DECODER_HEADS = 8
DECODER_MLP_DIM = 2048
SCORE_HIDDEN_DIM = 256  # of the IoU head; the only width that does not follow hidden_dim
MASK_PROMPT_CHANNELS = 16

MEMORY_FUSER_LAYERS = 2
MASK_LOGIT_SCALE = 20.0  # a mask in [0, 1] becomes logits 20 m - 10
MASK_LOGIT_BIAS = -10.0
ABSENT_LOGIT = -1024.0  # what a mask of an absent object is filled with
LOGIT_CLAMP = 32.0  # bound of low-res logits that are handed out or fed back

STABILITY_DELTA = 0.05  # of the single-mask fallback
STABILITY_THRESHOLD = 0.98

COARSE_STRIDE = 16
LOW_RES_STRIDE = 4
_STRIDES = (4, 8, 16, 32)  # of the encoder's stages

_COUNTS = (  # fields of a ModelConfig that count something
    *("embed_dim", "heads", "position_grid", "image_size", "hidden_dim", "memory_dim"),
    *("memory_layers", "memory_mlp_dim", "max_memories", "max_pointers"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """The shape of one SAM 2 network; `dataclasses.replace` makes variants."""

    name: str
    version: Version
    embed_dim: int
    heads: int
    stages: tuple[int, int, int, int]
    global_blocks: tuple[int, ...]
    windows: tuple[int, int, int, int] = (8, 4, 14, 7)
    position_grid: int = 7
    image_size: int = 1024
    hidden_dim: int = 256
    memory_dim: int = 64
    memory_layers: int = 4
    memory_mlp_dim: int = 2048
    max_memories: int = 7  # prompted frames count as one, so up to six earlier frames
    max_pointers: int = 16
    # Defaults for all masks that suit these weights; None keeps AutoMaskConfig's own.
    points_per_side: int | None = None
    pred_iou_thresh: float | None = None
    stability_score_thresh: float | None = None

    def __post_init__(self) -> None:
        self._settle_kinds()
        if self.image_size <= 0 or self.image_size % 32:
            raise ConfigError(
                f"image_size={self.image_size} of {self.name!r}: the encoder halves it five times, "
                "so it must be a positive multiple of 32, such as "
                f"{nearest_multiple(self.image_size)}."
            )
        if self.version not in ("2.0", "2.1"):
            raise ConfigError(f"{self.name!r} has version={self.version!r}: write '2.0' or '2.1'.")
        for name in _COUNTS:
            self._require(name, getattr(self, name) >= 1, "at least 1")
        self._check_encoder()
        self._check_widths()

    def _settle_kinds(self) -> None:
        """Integers of any kind become plain ones, rows of them tuples; all else is refused."""
        self._require("name", isinstance(self.name, str), "text")
        for name in _COUNTS:
            whole = _whole(getattr(self, name))
            self._require(name, whole is not None, "an integer")
            object.__setattr__(self, name, whole)
        for name in ("stages", "global_blocks", "windows"):
            row = getattr(self, name)
            wholes = tuple(map(_whole, row)) if isinstance(row, tuple | list) else (None,)
            self._require(name, None not in wholes, "a row of integers")
            object.__setattr__(self, name, wholes)
        points = self.points_per_side
        is_count = points is None or (_whole(points) is not None and points >= 1)
        self._require("points_per_side", is_count, "an integer from 1 on, or None")
        for name in ("pred_iou_thresh", "stability_score_thresh"):
            share = getattr(self, name)
            self._require(name, share is None or _is_share(share), "within 0..1, or None")

    def _check_encoder(self) -> None:
        count, blocks, windows = len(_STRIDES), sum(self.stages), self.windows
        for name, row in (("stages", self.stages), ("windows", windows)):
            self._require(name, len(row) == count and min(row) >= 1, f"{count} numbers from 1 on")
        known = all(0 <= block < blocks for block in self.global_blocks)
        self._require("global_blocks", known, f"numbers of blocks, 0 to {blocks - 1}")
        self._require(
            "windows",
            not any(window % 2 for window in windows[:-1]),
            "even but for the last one: each stage halves the windows of the one before",
        )
        side = self.image_size // _STRIDES[0]
        self._require(
            "windows", side % windows[0] == 0, f"led by a divisor of {side}, the patches a side"
        )
        if self.embed_dim % self.heads:
            raise ConfigError(
                f"embed_dim={self.embed_dim} of {self.name!r} is no multiple of heads={self.heads}."
            )

    def _check_widths(self) -> None:
        if self.hidden_dim % self.memory_dim:
            raise ConfigError(
                f"hidden_dim={self.hidden_dim} of {self.name!r} is no multiple of "
                f"memory_dim={self.memory_dim}: pointers could not be cut into memory tokens."
            )
        # Heads share half of it, and positions take sines and cosines of two axes.
        heads = 2 * DECODER_HEADS
        self._require("hidden_dim", self.hidden_dim % heads == 0, f"a multiple of {heads}")
        self._require("memory_dim", self.memory_dim % 4 == 0, "a multiple of 4")

    def _require(self, name: str, holds: bool, wanted: str) -> None:
        if not holds:
            value = getattr(self, name)
            raise ConfigError(f"{name}={value!r} of {self.name!r}: it must be {wanted}.")

    @property
    def coarse_size(self) -> int:
        """Side of the stride-16 feature map."""
        return self.image_size // COARSE_STRIDE

    @property
    def low_res_size(self) -> int:
        """Side of the mask logits that the decoder gives."""
        return self.image_size // LOW_RES_STRIDE

    @property
    def stage_dims(self) -> tuple[int, int, int, int]:
        """Channels of the four encoder stages."""
        d = self.embed_dim
        return (d, 2 * d, 4 * d, 8 * d)

    @property
    def marks_absence_in_memory(self) -> bool:
        """Whether memories of frames without the object carry an embedding that says so (2.1)."""
        return self.version == "2.1"

    @property
    def pointers_know_their_age(self) -> bool:
        """Whether object pointers carry a temporal encoding (2.1)."""
        return self.version == "2.1"


def _whole(value: object) -> int | None:
    """An integer of any kind as a plain one; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        return None
    return int(value)


def _is_share(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and 0 <= float(value) <= 1


def nearest_multiple(value: int, step: int = 32) -> int:
    """The multiple of `step` nearest to value, at least one step."""
    return max(step, round(value / step) * step)


_NEWEST = (
    ModelConfig(
        name="sam2.1_hiera_tiny",
        version="2.1",
        embed_dim=96,
        heads=1,
        stages=(1, 2, 7, 2),
        global_blocks=(5, 7, 9),
    ),
    ModelConfig(
        name="sam2.1_hiera_small",
        version="2.1",
        embed_dim=96,
        heads=1,
        stages=(1, 2, 11, 2),
        global_blocks=(7, 10, 13),
    ),
    ModelConfig(
        name="sam2.1_hiera_base_plus",
        version="2.1",
        embed_dim=112,
        heads=2,
        stages=(2, 3, 16, 3),
        global_blocks=(12, 16, 20),
        position_grid=14,
    ),
    ModelConfig(
        name="sam2.1_hiera_large",
        version="2.1",
        embed_dim=144,
        heads=2,
        stages=(2, 6, 36, 4),
        global_blocks=(23, 33, 43),
        windows=(8, 4, 16, 8),
    ),
)

# The weights of 2.0 fit the same shapes; only what memories and pointers carry differs.
_FIRST = tuple(
    replace(config, name=config.name.replace("sam2.1", "sam2"), version="2.0") for config in _NEWEST
)

NANO = ModelConfig(
    name="nano",
    version="2.1",
    image_size=384,
    embed_dim=32,
    heads=1,
    stages=(2, 3, 3, 1),
    global_blocks=(6, 7),
    windows=(8, 8, 8, 4),
    hidden_dim=128,
    memory_layers=1,
    memory_mlp_dim=96,
    max_memories=4,
    points_per_side=16,
    pred_iou_thresh=0.5,
    stability_score_thresh=0.75,
)

RELEASED: dict[str, ModelConfig] = {config.name: config for config in (*_NEWEST, *_FIRST, NANO)}


def model_config(name_or_config: str | ModelConfig) -> ModelConfig:
    """The row of a released model by name; a config passes through."""
    if isinstance(name_or_config, ModelConfig):
        return name_or_config
    if not isinstance(name_or_config, str):
        raise ConfigError(
            f"A model is a name or a ModelConfig, not a {type(name_or_config).__name__}. "
            f"Known: {', '.join(RELEASED)}."
        )
    if name_or_config in RELEASED:
        return RELEASED[name_or_config]
    near = get_close_matches(name_or_config, RELEASED, n=1, cutoff=0.4)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise ConfigError(f"No model is called {name_or_config!r}.{hint} Known: {', '.join(RELEASED)}.")
