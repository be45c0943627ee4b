"""Track objects through clips: all objects of a step, of one clip or several, as one batch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch

from ..data import FramePrompt, ImageEmbedding, concatenate_embeddings
from ..errors import ConfigError, FrameSourceError, PromptError, Sam2Error
from ..network.sam2 import Sam2
from .clip_track import ClipTrack, TrackedObject, Visit
from .frame_prompts import LostPrompt, check_frame_prompts, words_of_lost
from .frame_sources import Frames, open_frames
from .object_steps import StepResult, answer_prompts, follow_memory, remember_prompted
from .preprocess import SizedPicture, frames_to_pixels
from .session import TrackingSession
from .settings import require_config, require_model
from .tracked_frame import TrackedFrame
from .tracking_config import Direction, TrackingConfig

_DEVICE_BATCH = 8  # frames encoded at once on an accelerator; a CPU gains nothing from batches


@dataclass(frozen=True, slots=True, eq=False)
class Clip:
    """Frames and what to track in them."""

    frames: Frames
    prompts: Sequence[FramePrompt]
    direction: Direction = "forward"


class ClipFrame(NamedTuple):
    """A tracked frame and the number of its clip."""

    clip: int
    tracked: TrackedFrame


class ClipEnd(NamedTuple):
    """A clip of which no frame will follow, and why it ended early; None if it did not."""

    clip: int
    error: Sam2Error | None
    lost: tuple[LostPrompt, ...] = ()  # on frames that cannot be read: the others were tracked


class VideoTracker:
    """Track what prompts point at; it holds a model and settings, and no clip."""

    def __init__(self, model: Sam2, config: TrackingConfig | None = None) -> None:
        require_model(model)
        self.model = model
        self.config = TrackingConfig() if config is None else config
        require_config(self.config, TrackingConfig)

    def track(
        self,
        frames: Frames,
        prompts: Sequence[FramePrompt],
        direction: Direction = "forward",
    ) -> Iterator[TrackedFrame]:
        """Track all objects through a clip; every prompt is known before the first frame.

        Memory is bounded whatever the length: a ring of recent frames, and the prompted ones.
        A clip that breaks off, such as a file that was cut, is a FrameSourceError behind the last
        frame that can be tracked: whoever keeps frames as they come keeps them all.
        """
        lane = self._open(0, Clip(frames, prompts, direction))  # errors come now, not on first use
        return self._alone(lane)

    def _alone(self, lane: ClipTrack) -> Iterator[TrackedFrame]:
        for event in self._run(iter([lane]), 1):
            if isinstance(event, ClipFrame):
                yield event.tracked
            elif event.lost:
                words = words_of_lost(event.lost)
                said = str(event.error).removesuffix(".")
                raise FrameSourceError(f"{said}. {words}") from event.error
            elif event.error is not None:
                raise event.error

    def track_many(self, clips: Iterable[Clip], lanes: int = 4) -> Iterator[ClipFrame | ClipEnd]:
        """Track several clips side by side; a lane that is done takes the next clip.

        Every clip has one ClipEnd. A clip that cannot be opened, or breaks off, says so there and
        leaves the others alone, whatever its frames raised.
        """
        if isinstance(lanes, bool) or not isinstance(lanes, int) or lanes < 1:
            raise ConfigError(f"lanes={lanes!r}: it is how many clips are open, at least 1.")
        arrivals = (self._try_to_open(number, clip) for number, clip in enumerate(clips))
        return self._run(arrivals, lanes)

    def session(self, frames: Frames) -> TrackingSession:
        """Track interactively: prompt, look, correct, propagate."""
        return TrackingSession(self.model, open_frames(frames), self.config)

    def _try_to_open(self, number: int, clip: Clip) -> ClipTrack | ClipEnd:
        try:
            return self._open(number, clip)
        except Sam2Error as error:
            return ClipEnd(number, error)

    def _open(self, number: int, clip: Clip) -> ClipTrack:
        if not isinstance(clip, Clip):
            raise PromptError(f"expected Clip(frames, prompts), got {type(clip).__name__}.")
        source = open_frames(clip.frames)
        prompts = check_frame_prompts(clip.prompts, source, self.model.config)
        return ClipTrack(source, prompts, clip.direction, self.config, self.model.config, number)

    def _run(
        self, arrivals: Iterator[ClipTrack | ClipEnd], lanes: int
    ) -> Iterator[ClipFrame | ClipEnd]:
        running: list[ClipTrack] = []
        while True:
            while len(running) < lanes and (arrival := next(arrivals, None)) is not None:
                if isinstance(arrival, ClipEnd):
                    yield arrival
                else:
                    self._answer_ahead(arrival)
                    running.append(arrival)
            if not running:
                return
            self._look_ahead(running)
            yield from (_end_of(lane) for lane in running if not lane.ahead)
            running = [lane for lane in running if lane.ahead]
            for lane, frame in zip(running, self._step(running), strict=True):
                if frame is not None:
                    yield ClipFrame(lane.number, frame)

    @torch.inference_mode()
    def _answer_ahead(self, lane: ClipTrack) -> None:
        """Answer all prompts of a clip that can be read twice, so that earlier frames know them.

        Those behind the first that cannot be read are lost.
        """
        if not lane.source.rereadable:
            return
        for frame in lane.prompted:
            try:
                picture = lane.look_at(frame)
            except FrameSourceError as error:
                lane.lose_from(frame, error)
                return
            self._answer(lane, frame, self._embed([picture]))

    def _answer(self, lane: ClipTrack, frame: int, embedding: ImageEmbedding) -> None:
        objects = lane.unanswered(frame)
        if objects:
            lane.accept_answers(frame, objects, self._answer_prompts(objects, frame, embedding))

    def _answer_prompts(
        self, objects: Sequence[TrackedObject], frame: int, embedding: ImageEmbedding
    ) -> StepResult:
        prompts = [tracked.prompts[frame] for tracked in objects]
        shown = answer_prompts(self.model, embedding, prompts, self.config)
        return StepResult(shown, remember_prompted(self.model, embedding, shown, self.config))

    @torch.inference_mode()
    def _look_ahead(self, lanes: Sequence[ClipTrack]) -> None:
        """Encode the next frames of every lane that has run out of them, as one batch."""
        empty = [lane for lane in lanes if not lane.ahead]
        if not empty:
            return
        on_cpu = self.model.device.type == "cpu"
        count = 1 if on_cpu else max(1, _DEVICE_BATCH // len(lanes))
        fetched: list[tuple[ClipTrack, Visit, SizedPicture | None]] = []
        for lane in empty:
            fetched += [(lane, visit, picture) for visit, picture in lane.fetch(count)]
        pictures = [picture for _, _, picture in fetched if picture is not None]
        embedding = self._embed(pictures) if pictures else None
        row = 0
        for lane, visit, picture in fetched:
            if picture is None or embedding is None:
                lane.ahead.append((visit, None))
            else:
                lane.ahead.append((visit, embedding.rows(slice(row, row + 1))))
                row += 1

    def _embed(self, pictures: Sequence[SizedPicture]) -> ImageEmbedding:
        size = self.model.config.image_size
        return self.model.embed_images(frames_to_pixels(pictures, size, self.model.device))

    @torch.inference_mode()
    def _step(self, lanes: Sequence[ClipTrack]) -> list[TrackedFrame | None]:
        """Advance every lane by one frame."""
        visits = [lane.ahead.popleft() for lane in lanes]
        for lane, (visit, embedding) in zip(lanes, visits, strict=True):
            if embedding is not None:
                self._answer(lane, visit.frame, embedding)
        result, first_rows = self._follow(lanes, visits)
        frames = []
        for lane, (visit, _), first_row in zip(lanes, visits, first_rows, strict=True):
            frame = lane.accept_step(visit, result, first_row)
            frames.append(frame if visit.shown else None)
        return frames

    def _follow(
        self, lanes: Sequence[ClipTrack], visits: Sequence[tuple[Visit, ImageEmbedding | None]]
    ) -> tuple[StepResult | None, list[int]]:
        """Let all objects of all lanes follow memory; also says where each lane's rows begin."""
        embeddings: list[ImageEmbedding] = []
        recalls, first_rows = [], []
        for lane, (visit, embedding) in zip(lanes, visits, strict=True):
            first_rows.append(len(recalls))
            of_lane = lane.recalls(visit, len(embeddings))
            if of_lane:
                assert embedding is not None
                embeddings.append(embedding)
                recalls += of_lane
        if not recalls:
            return None, first_rows
        batch = concatenate_embeddings(embeddings)
        return follow_memory(self.model, batch, recalls, self.config), first_rows


def _end_of(lane: ClipTrack) -> ClipEnd:
    return ClipEnd(lane.number, lane.error, lane.lost)
