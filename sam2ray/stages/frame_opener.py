"""The pictures of a folder, fetched and decoded by their number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sam2_core import ResizedPicture
from sam2_core.inference.preprocess import SizedPicture

from ..errors import UnitFailed
from ..patience import Patience
from ..records import ErrorClass
from ..storage import Entry, Store
from .clip_files import ask
from .decode import DecodeMode, PictureLimits, decode_picture


@dataclass(frozen=True, slots=True, eq=False)
class FrameOpener:
    """Opens one frame after another; by default as it is. Raises UnitFailed."""

    store: Store
    entries: Sequence[Entry]
    patience: Patience
    limits: PictureLimits
    mode: DecodeMode = "exact"
    model_px: int | None = None

    def __call__(self, number: int) -> SizedPicture:
        """One frame."""
        entry, most = self.entries[number], self.limits.max_bytes
        try:
            if entry.size > most:
                excess = f"{entry.size} bytes, more than decode.max_bytes={most}"
                raise UnitFailed(ErrorClass.TOO_LARGE, excess)
            data = ask(lambda: self.store.read(entry.name), self.store.uri, self.patience)
            picture = decode_picture(
                data, mode=self.mode, model_px=self.model_px, limits=self.limits
            )
        except UnitFailed as failure:
            words = f"frame {number}, {entry.name}: {failure.message}"
            raise UnitFailed(failure.error_class, words) from failure
        return (
            ResizedPicture(picture.pixels, picture.size_hw) if picture.resized else picture.pixels
        )
