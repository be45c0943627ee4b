"""Units of videos and of folders of frames -> clips that a mode can read. Raises UnitFailed."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace

from sam2_core import FrameSourceError
from sam2_core.inference.containers.broken_bytes import unheard
from sam2_core.inference.frame_prompts import LostPrompt
from sam2_core.inference.preprocess import size_hw_of

from ..errors import UnitFailed
from ..modes.clips import FrameChoice, OpenClip, loss_of
from ..patience import Patience
from ..readers.locate import frames_of
from ..readers.places import base_name
from ..readers.prompts import UnitPrompt, parse_prompts
from ..records import ErrorClass, Failure, Unit
from ..storage import Options, open_store
from .clip_files import ClipFile, ask, bring, check_header, failure_of_video
from .clip_frames import BoundedVideoFile, BrokenClip, FolderFrames, VideoFrames
from .decode import DecodeMode, PictureLimits
from .frame_opener import FrameOpener
from .read_ahead import ReadAhead
from .sampling import Sample, Sampling, Seconds, sample

_MOST_THREADS = 8  # that open the pictures of one folder: each has some of them in memory


@dataclass(frozen=True, slots=True)
class ClipSpec:
    """How clips are fetched, sampled and decoded."""

    mode: DecodeMode
    model_px: int | None  # None: the frames' own pixels are needed
    sampling: Sampling
    max_side: int
    max_bytes: int  # of a video
    threads_a_video: int
    threads_a_folder: int
    limits: PictureLimits  # of pictures that are frames
    patience: Patience
    storage: Options


@dataclass(frozen=True, slots=True, eq=False)
class ClipInHand:
    """A clip that can be read, and what there is to say and to clean up about it."""

    clip: OpenClip
    ahead: ReadAhead  # the frames of `clip`
    size_hw: tuple[int, int]
    fps: float | None
    fetch_s: float
    explain: Callable[[FrameSourceError], Failure]
    file: ClipFile | None
    lost: Sequence[LostPrompt] = ()  # on frames that the file lacks

    def loss(self) -> FrameSourceError | None:
        """What the file lacks, if prompts are lost with it."""
        return loss_of(self.clip) if self.lost else None

    def close(self) -> None:
        """End what still reads, and remove what was brought here."""
        self.ahead.end()
        if self.file is not None:
            self.file.close()


@dataclass(frozen=True, slots=True, eq=False)
class ClipOpener:
    """Opens clips, for a mode that looks at certain frames."""

    spec: ClipSpec
    choice: FrameChoice

    @property
    def needs_prompts(self) -> bool:
        """Whether nothing is done with a clip that has none."""
        return self.choice != "sampled"

    def open(self, unit: Unit, on_piece: Callable[[], None] = unheard) -> ClipInHand:
        """Fetch a unit, look at its first frame, and choose among the others.

        `on_piece` is called whenever a piece of it has come, or was looked through; what it raises
        ends that.
        """
        if unit.kind == "frames":
            return self._open_folder(unit)
        start = time.perf_counter()
        spec = self.spec
        file = bring(unit, spec.storage, spec.patience, spec.max_bytes, on_piece)
        try:
            return self._open_video(unit, file, time.perf_counter() - start, on_piece)
        except FrameSourceError as error:
            failure = failure_of_video(error, file)
            file.close()
            raise UnitFailed(failure.error_class, failure.message) from error
        except BaseException:
            file.close()
            raise

    def _open_video(
        self, unit: Unit, file: ClipFile, fetch_s: float, on_piece: Callable[[], None]
    ) -> ClipInHand:
        spec = self.spec
        check_header(file.path, spec.max_side)
        video = BoundedVideoFile(
            file.path,
            resized_to=spec.model_px,
            threads=spec.threads_a_video,
            max_side=spec.max_side,
            on_progress=on_piece,
        )
        length, size_hw = video.length(), video.size_hw()
        asked = self._prompts(unit, size_hw)
        prompts = _within_reach(asked, length, video.loss())
        lost = _lost(asked, length)
        chosen = self._choose(unit, length, video.seconds, prompts)
        if lost:  # what is missing behind the last frame is wanted, wherever the sample ends
            chosen = replace(chosen, reaches_end=True)
        ahead = ReadAhead(VideoFrames(video, chosen, seeks=file.seeks))
        clip = OpenClip(unit.unit_id, unit.source_uri, ahead, chosen, video.seconds, prompts)
        return ClipInHand(
            clip,
            ahead,
            size_hw,
            video.frames_per_s(),
            fetch_s,
            lambda error: failure_of_video(error, file),
            file,
            lost,
        )

    def _open_folder(self, unit: Unit) -> ClipInHand:
        start, spec = time.perf_counter(), self.spec
        entries = ask(lambda: frames_of(unit, spec.storage), unit.source_uri, spec.patience)
        open_frame = FrameOpener(
            open_store(unit.source_uri, spec.storage),
            entries,
            spec.patience,
            spec.limits,
            spec.mode,
            spec.model_px,
        )
        size_hw = size_hw_of(open_frame(0))
        fetch_s = time.perf_counter() - start
        names = [base_name(entry.name).rpartition(".")[0] for entry in entries]
        prompts = _within_reach(self._prompts(unit, size_hw, names), len(entries), None)
        chosen = self._choose(unit, len(entries), _unknown, prompts)
        threads = min(_MOST_THREADS, self.spec.threads_a_folder)
        ahead = ReadAhead(FolderFrames(unit.source_uri, size_hw, chosen, open_frame, threads))
        clip = OpenClip(unit.unit_id, unit.source_uri, ahead, chosen, _unknown, prompts)
        return ClipInHand(clip, ahead, size_hw, None, fetch_s, _explain_folder, None)

    def _prompts(
        self, unit: Unit, size_hw: tuple[int, int], frames: Sequence[str] | None = None
    ) -> list[UnitPrompt]:
        if unit.prompts is None or not self.needs_prompts:
            return []
        return parse_prompts(unit.prompts, size_hw, frames)

    def _choose(
        self, unit: Unit, length: int, seconds: Seconds, prompts: Collection[UnitPrompt]
    ) -> Sample:
        first, end = unit.first_frame or 0, unit.end_frame
        prompted = {one.frame_prompt.frame for one in prompts}
        if self.choice == "prompted":
            return Sample(sorted(prompted), reaches_end=False)
        try:
            chosen = sample(length, seconds, self.spec.sampling, first, end)
        except ValueError as error:
            raise UnitFailed(
                ErrorClass.UNSUPPORTED,
                f"{error}, so decode.video.fps cannot be met: use every_nth for it",
            ) from error
        if not chosen.numbers and not prompted:
            raise UnitFailed(
                ErrorClass.ZERO_FRAMES, f"it ends after {length} frames, before frame {first}"
            )
        return chosen.with_frames(prompted)


def _within_reach(
    prompts: Sequence[UnitPrompt], length: int, loss: str | None
) -> Sequence[UnitPrompt]:
    """Prompts on frames that are there. Raises UnitFailed if others are not, and none was cut off.

    Of a file that was cut off before some prompts, the others are worth it.
    """
    latest = max((one.frame_prompt.frame for one in prompts), default=0)
    if latest < length:
        return prompts
    if loss is None:
        raise UnitFailed(
            ErrorClass.BAD_PROMPT,
            f"a prompt is on frame {latest}, and the clip has {length} frames",
        )
    within = [one for one in prompts if one.frame_prompt.frame < length]
    if not within:
        raise UnitFailed(ErrorClass.TRUNCATED, f"a prompt is on frame {latest}, and {loss}")
    return within


def _lost(prompts: Sequence[UnitPrompt], length: int) -> list[LostPrompt]:
    asked = [one.frame_prompt for one in prompts]
    return [LostPrompt(one.object_id, one.frame) for one in asked if one.frame >= length]


def _unknown(_: int) -> None:
    """When a picture of a folder is shown."""


def _explain_folder(error: FrameSourceError) -> Failure:
    if isinstance(error, BrokenClip):
        return error.failure
    return Failure(ErrorClass.UNSUPPORTED, str(error))
