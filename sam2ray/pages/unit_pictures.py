"""A unit -> small pictures of what its masks were found on, read from its source once more.

Sources may have changed, moved or closed since; then there is a reason instead of a picture.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace

from PIL import Image

from sam2_core import FrameSourceError
from sam2_core.inference.preprocess import ResizedPicture, RgbArray

from ..config import JobConfig
from ..errors import Sam2RayError, UnitFailed, failure_by_surprise, is_of_the_job
from ..patience import BRIEF
from ..readers.locate import frames_of, read_unit
from ..records import ErrorClass, Unit
from ..stages.clip_files import ClipFile, ask, bring, check_header, failure_of_video
from ..stages.clip_frames import BoundedVideoFile, VideoFrames
from ..stages.clips import ClipSpec
from ..stages.decode import decode_picture
from ..stages.fetch import fetch
from ..stages.frame_opener import FrameOpener
from ..stages.sampling import Sample
from ..stages.specs import clip_spec
from ..storage import Options, local_path, open_store
from .painting import small_picture

_MOST_FETCHED = 1 << 30  # bytes of a clip that lies elsewhere, for a few of its frames

Frame = int | None  # the number of a frame in its source; None: the unit is a picture


@dataclass(slots=True, eq=False)
class SeenUnit:
    """Small pictures by their frame, and why the others are missing."""

    pictures: dict[Frame, Image.Image] = field(default_factory=dict)
    sizes_hw: dict[Frame, tuple[int, int]] = field(default_factory=dict)  # of the whole ones
    why_not: str | None = None


def reading_spec(config: JobConfig, options: Options) -> ClipSpec:
    """How units are read for a page: within the limits of their run, but in their own pixels."""
    spec = replace(clip_spec(config), mode="exact", model_px=None)
    return replace(spec, patience=BRIEF, storage=options)


def see_unit(unit: Unit, frames: Sequence[Frame], spec: ClipSpec, most_px: int) -> SeenUnit:
    """Read what can be read of a picture, or of some frames of a clip, which ascend."""
    seen = SeenUnit()
    try:
        for frame, pixels in _pixels(unit, frames, spec):
            seen.sizes_hw[frame] = (pixels.shape[0], pixels.shape[1])
            seen.pictures[frame] = small_picture(pixels, most_px)
    except Sam2RayError as error:  # a bad address ends a run; here others can be shown
        seen.why_not = str(error)
    except Exception as error:  # one odd file costs its own picture, and not the page
        if is_of_the_job(error):
            raise
        seen.why_not = failure_by_surprise(error).text
    if seen.why_not is None and len(seen.pictures) < len(frames):
        seen.why_not = "it ends before some of its frames that have masks"
    return seen


def _pixels(
    unit: Unit, frames: Sequence[Frame], spec: ClipSpec
) -> Iterator[tuple[Frame, RgbArray]]:
    if unit.kind == "image":
        yield (
            None,
            _decoded(
                fetch(lambda: read_unit(unit, spec.storage, spec.limits.max_bytes), spec.patience),
                spec,
            ),
        )
        return
    numbers = [frame for frame in frames if frame is not None]
    if unit.kind == "frames":
        yield from _pictures_of_folder(unit, numbers, spec)
        return
    most = _most_bytes(unit, spec)
    try:
        file = bring(unit, spec.storage, spec.patience, most)
    except UnitFailed as failure:
        if failure.error_class is ErrorClass.TOO_LARGE and most < spec.max_bytes:
            words = f"a clip of more than {most:,} bytes, which are not fetched for a page"
            raise UnitFailed(ErrorClass.TOO_LARGE, words) from failure
        raise
    with closing(file):
        yield from _frames_of_video(file, numbers, spec)


def _most_bytes(unit: Unit, spec: ClipSpec) -> int:
    is_here = unit.member is None and local_path(unit.source_uri) is not None
    return spec.max_bytes if is_here else min(spec.max_bytes, _MOST_FETCHED)


def _frames_of_video(
    file: ClipFile, numbers: Sequence[int], spec: ClipSpec
) -> Iterator[tuple[int, RgbArray]]:
    check_header(file.path, spec.max_side)
    video = BoundedVideoFile(
        file.path, resized_to=None, threads=spec.threads_a_video, max_side=spec.max_side
    )
    frames = VideoFrames(video, Sample(numbers, reaches_end=False), seeks=file.seeks)
    try:
        for number, frame in zip(numbers, frames.read(range(len(numbers))), strict=False):
            assert not isinstance(frame, ResizedPicture)
            yield number, frame
    except FrameSourceError as error:
        failure = failure_of_video(error, file)
        raise UnitFailed(failure.error_class, failure.message) from error


def _pictures_of_folder(
    unit: Unit, numbers: Sequence[int], spec: ClipSpec
) -> Iterator[tuple[int, RgbArray]]:
    entries = ask(lambda: frames_of(unit, spec.storage), unit.source_uri, spec.patience)
    store = open_store(unit.source_uri, spec.storage)
    open_frame = FrameOpener(store, entries, spec.patience, spec.limits)
    for number in numbers:
        if number >= len(entries):
            return
        frame = open_frame(number)
        assert not isinstance(frame, ResizedPicture), "nothing asked for another size"
        yield number, frame


def _decoded(content: bytes, spec: ClipSpec) -> RgbArray:
    return decode_picture(content, mode="exact", model_px=None, limits=spec.limits).pixels
