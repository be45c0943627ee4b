"""From bytes to pixels: how pictures and videos are decoded, and which are refused before that."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from .config_section import Contradiction, Section, result, run, section

DecodeMode = Literal["rounded", "exact", "scaled"]


class VideoDecode(Section):
    """Which frames of a video are read."""

    every_nth: int = result(1, "Every n-th frame.", ge=1)
    fps: float | None = result(None, "Frames a second instead of every_nth.", gt=0)
    max_frames: int | None = result(None, "A longer video is cut off here; null: never.", ge=1)
    max_duration_s: float | None = result(None, "A longer video is cut off here.", gt=0)
    max_side: int = result(8192, "A video with a longer side is refused, px.", ge=1)
    max_bytes: int = result(
        64 << 30, "A larger file of a video is refused; read, it lies on the actor's disk.", ge=1
    )
    threads: int = run(1, "Threads that decode one video.", ge=1, le=256)

    @model_validator(mode="after")
    def _samples_in_one_way(self) -> VideoDecode:
        if self.fps is not None and self.every_nth != 1:
            words = "give every_nth or fps, not both; set fps to null or every_nth to 1"
            raise Contradiction(words, "every_nth", "fps")
        return self


class Decode(Section):
    """From bytes to pixels, and which pictures are refused before that."""

    mode: DecodeMode = result(
        "rounded", "rounded to 8 bits at model size; exact as the reference; scaled while decoding."
    )
    max_bytes: int = result(256 << 20, "A larger file of a picture is refused.", ge=1)
    max_pixels: int = result(100_000_000, "A picture with more pixels is refused.", ge=1)
    min_side: int = result(1, "A picture with a shorter side is refused, px.", ge=1)
    max_side: int = result(65_535, "A picture with a longer side is refused, px.", ge=1)
    max_aspect_ratio: float = result(100.0, "A longer, narrower picture is refused.", ge=1)
    video: VideoDecode = section(VideoDecode, "Which frames of a video are read.")

    @model_validator(mode="after")
    def _sides_leave_room(self) -> Decode:
        if self.min_side > self.max_side:
            words = f"min_side={self.min_side} is above max_side={self.max_side}"
            raise Contradiction(words, "min_side", "max_side")
        return self
