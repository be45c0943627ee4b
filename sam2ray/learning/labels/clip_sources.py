"""A clip of any store -> its frames as pixels: a video file, or a folder of pictures.

Both may come from anybody: sizes are judged before anything is decoded, and no clip is ever in
memory as a whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager

from sam2_core import FrameSourceError
from sam2_core.inference.frame_sources import FrameSource
from sam2_core.inference.preprocess import ResizedPicture, RgbArray, size_hw_of

from ...errors import Sam2RayError
from ...patience import STEADY
from ...readers.locate import frames_of
from ...records import Unit
from ...stages.clip_files import ask, bring, check_header
from ...stages.clip_frames import BoundedVideoFile, FolderFrames, VideoFrames
from ...stages.frame_opener import FrameOpener
from ...stages.sampling import Sample
from ...storage import Options, open_store
from .labelled import BadLabels
from .reading import LIMITS, refuse

_MOST_BYTES = 4 << 30  # of a video
_MOST_SIDE = 8192  # of a video, as runs take them by default
_THREADS = 2  # that open the pictures of a folder


def read_frames(unit: Unit, numbers: Sequence[int], options: Options) -> list[RgbArray]:
    """Frames by their numbers in the clip, which ascend. Raises BadLabels."""
    pixels: list[RgbArray] = []
    with open_clip(unit, options, numbers) as source:
        try:
            for frame in source.read(range(len(numbers))):
                assert not isinstance(frame, ResizedPicture), "nothing asked for another size"
                pixels.append(frame)
        except (FrameSourceError, IndexError, OSError) as error:
            refuse(unit.source_uri, error)
    if len(pixels) < len(numbers):
        raise BadLabels(f"{unit.source_uri}: it ends before frame {numbers[len(pixels)]}")
    return pixels


@contextmanager
def open_clip(
    unit: Unit, options: Options, numbers: Sequence[int] | None = None
) -> Iterator[FrameSource]:
    """All frames of a clip or some, for as long as they are needed. Raises BadLabels."""
    if unit.kind == "frames":
        yield _open_folder(unit, options, numbers)
        return
    try:
        file = bring(unit, options, STEADY, _MOST_BYTES)
    except (OSError, Sam2RayError) as error:
        refuse(unit.source_uri, error)
    with closing(file):
        try:
            check_header(file.path, _MOST_SIDE)
            video = BoundedVideoFile(file.path, resized_to=None, threads=1, max_side=_MOST_SIDE)
            if numbers is None:
                video.size_hw()  # what cannot be decoded at all is said now
        except (FrameSourceError, OSError, Sam2RayError) as error:
            refuse(unit.source_uri, error)
        if numbers is None:
            yield video
        else:
            yield VideoFrames(video, Sample(numbers, reaches_end=False), seeks=file.seeks)


def _open_folder(unit: Unit, options: Options, numbers: Sequence[int] | None) -> FolderFrames:
    uri = unit.source_uri
    try:
        entries = ask(lambda: frames_of(unit, options), uri, STEADY)
        if numbers is None:
            numbers = range(len(entries))
        if numbers[-1] >= len(entries):
            raise BadLabels(f"{uri}: it ends before frame {numbers[-1]}")
        open_frame = FrameOpener(open_store(uri, options), entries, STEADY, LIMITS)
        size_hw = size_hw_of(open_frame(numbers[0]))
    except (OSError, Sam2RayError) as error:
        refuse(uri, error)
    return FolderFrames(uri, size_hw, Sample(numbers, reaches_end=True), open_frame, _THREADS)
