"""Some frames of a video file of any store, as pixels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from sam2_core import FrameSourceError
from sam2_core.inference.preprocess import ResizedPicture, RgbArray
from sam2_core.inference.video_file import VideoFile

from ...errors import Sam2RayError
from ...patience import STEADY
from ...records import Unit
from ...stages.clip_files import bring
from ...storage import Options
from .reading import refuse

_MOST_BYTES = 4 << 30


def read_frames(unit: Unit, numbers: Sequence[int], options: Options) -> list[RgbArray]:
    """Frames by their numbers in the video. Raises BadLabels."""
    with video_path(unit, options) as path:
        return frames_at(path, numbers, unit)


@contextmanager
def video_path(unit: Unit, options: Options) -> Iterator[Path]:
    """The video on this machine's disk, for as long as it is needed. Raises BadLabels."""
    try:
        file = bring(unit, options, STEADY, _MOST_BYTES)
    except (OSError, Sam2RayError) as error:
        refuse(unit.source_uri, error)
    try:
        yield file.path
    finally:
        file.close()


def frames_at(path: Path, numbers: Sequence[int], unit: Unit) -> list[RgbArray]:
    """Frames of a file. Raises BadLabels."""
    try:
        video = VideoFile(path)
        return [_pixels(video, number) for number in numbers]
    except (FrameSourceError, IndexError, OSError) as error:
        refuse(unit.source_uri, error)


def _pixels(video: VideoFile, number: int) -> RgbArray:
    frame = video.read_one(number)
    assert not isinstance(frame, ResizedPicture), "nothing asked for another size"
    return frame
