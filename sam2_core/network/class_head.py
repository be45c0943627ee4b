"""A head without prompts: the three levels of an embedding -> a logit for each class and pixel."""

# B images  C classes  P coarse pixels  h,w pixels at stride 4

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import Tensor, nn

from ..data import ImageEmbedding
from ..errors import ConfigError
from ..layers.levels import at_finest
from ..layers.mlp import TokenConv
from .encoder_digest import encoder_digest
from .sam2 import Sam2

UNKNOWN = 255  # in maps of class ids: nobody knows what such a pixel shows
MOST_CLASSES = UNKNOWN
WIDTH_STEP, MOST_WIDTH = 8, 1024
_LONGEST_NAME = 200
_MOST_SIDE_PX = 1 << 16
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadConfig:
    """What a head answers, and which encoder it belongs to."""

    classes: tuple[str, ...]  # their names, in the order of their ids
    ground: str | None = None  # the one that means: none of the others
    width: int = 64
    model: str
    image_size: int
    encoder_sha256: str  # see encoder_digest

    def __post_init__(self) -> None:
        check_class_names(self.classes, self.ground)
        check_width(self.width)
        if not isinstance(self.model, str) or not 0 < len(self.model) <= _LONGEST_NAME:
            raise ConfigError(f"model={self.model!r:.80}: it must be the name of a model.")
        side = self.image_size
        if type(side) is not int or not 0 < side <= _MOST_SIDE_PX or side % 32:
            raise ConfigError(f"image_size={side!r:.80}: it must be a positive multiple of 32.")
        if not isinstance(self.encoder_sha256, str) or not _SHA256.fullmatch(self.encoder_sha256):
            raise ConfigError(f"encoder_sha256={self.encoder_sha256!r:.80}: it must be 64 digits.")

    @property
    def ground_id(self) -> int | None:
        """The id of the ground, if one of the classes is that."""
        return None if self.ground is None else self.classes.index(self.ground)


def check_class_names(classes: Sequence[str], ground: str | None) -> None:
    """Refuse names that cannot tell classes apart."""
    if not isinstance(classes, tuple) or not 2 <= len(classes) <= MOST_CLASSES:
        count = len(classes) if isinstance(classes, tuple | list) else repr(classes)[:80]
        raise ConfigError(f"classes: {count} of them; there must be 2 to {MOST_CLASSES} names.")
    for name in classes:
        is_short = isinstance(name, str) and 0 < len(name) <= _LONGEST_NAME
        if not is_short or not name.isprintable():
            raise ConfigError(
                f"classes: {name!r:.80} is no name of a class: 1 to {_LONGEST_NAME} characters "
                "that can be printed."
            )
    twice = sorted({name for name in classes if classes.count(name) > 1})
    if twice:
        raise ConfigError(f"classes: {twice[0]!r} is there twice: each id has a name of its own.")
    if ground is not None and ground not in classes:
        raise ConfigError(
            f"ground={ground!r:.80}: it must be one of the classes, {', '.join(classes):.200}."
        )


def check_width(width: int) -> None:
    """Refuse widths that no head has."""
    if type(width) is not int or not 0 < width <= MOST_WIDTH or width % WIDTH_STEP:
        raise ConfigError(
            f"width={width!r:.80}: it must be a multiple of {WIDTH_STEP} up to {MOST_WIDTH}."
        )


class ClassHead(nn.Module):
    """A small decoder: levels are brought to one width, summed at stride 4, and mixed twice.

    It computes in fp32 whatever the precision of the encoder: it is a small part of the time, and
    what it says is compared.
    """

    def __init__(self, config: HeadConfig, hidden_dim: int) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.coarse = TokenConv(hidden_dim, width)
        self.middle = TokenConv(hidden_dim // 4, width)
        self.fine = TokenConv(hidden_dim // 8, width)
        self.mix = nn.Sequential(_norm(width), nn.ReLU(), *_mixing(width), *_mixing(width))
        self.classify = nn.Conv2d(width, len(config.classes), 1)

    @classmethod
    def for_model(
        cls, model: Sam2, classes: Sequence[str], ground: str | None = None, width: int = 64
    ) -> ClassHead:
        """A head that has learned nothing yet."""
        config = HeadConfig(
            classes=tuple(classes),
            ground=ground,
            width=width,
            model=model.config.name,
            image_size=model.config.image_size,
            encoder_sha256=encoder_digest(model),
        )
        return cls(config, model.config.hidden_dim)

    def belong_to(self, model: Sam2) -> None:
        """Take the encoder as it is now for the one that this head has learned on."""
        self.config = replace(self.config, encoder_sha256=encoder_digest(model))

    def forward(self, embedding: ImageEmbedding) -> Tensor:
        """Logits of bare images: float32 [B, C, h, w]."""
        # Projecting before resizing is the same as behind it, of far fewer pixels.
        summed = at_finest(
            self.coarse(embedding.coarse_BPC.float()),
            self.middle(embedding.middle_BPQC.float()),
            self.fine(embedding.fine_BPQC.float()),
        )
        return self.classify(self.mix(summed)).float()


def _norm(width: int) -> nn.Module:
    """Of groups of channels: nothing depends on the batch, whatever its size."""
    return nn.GroupNorm(WIDTH_STEP, width)


def _mixing(width: int) -> list[nn.Module]:
    return [nn.Conv2d(width, width, 3, padding=1, bias=False), _norm(width), nn.ReLU()]
