"""A unit and its masks -> the small files that show it, and what to say beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..config import JobConfig
from ..dataset import Dataset
from ..records import Unit
from ..stages.clips import ClipSpec
from .painting import ColouredMask, SmallGrid, jpeg, masks_png
from .sample import Row
from .unit_masks import MaskTally, frames_to_show, masks_to_draw, tally_masks
from .unit_pictures import Frame, SeenUnit, see_unit

_PICTURE_PX, _FRAME_PX = 640, 320
_UNKNOWN = "the manifest of this output does not say where it was read from"
_LOST_HW = (3, 4)  # of what is neither seen nor said


@dataclass(frozen=True, slots=True)
class Chip:
    """What one colour stands for."""

    colour: int
    words: str


@dataclass(frozen=True, slots=True, eq=False)
class DrawnFrame:
    """A picture, or a frame of a clip, in two layers."""

    number: Frame
    seconds: float | None
    small_hw: tuple[int, int]
    picture: bytes | None  # a JPEG; None: it cannot be seen any more
    masks: bytes  # a PNG, as large
    there: int  # masks
    left_out: int  # of these, the smallest


@dataclass(frozen=True, slots=True, eq=False)
class DrawnUnit:
    """All that a page shows of a unit."""

    row: Row  # how it ended, as OUTCOME_SCHEMA has it
    tally: MaskTally
    frames: tuple[DrawnFrame, ...]
    chips: tuple[Chip, ...]
    complaint: str | None  # why it is not shown as it should be


def draw_unit(
    data: Dataset, row: Row, unit: Unit | None, config: JobConfig, spec: ClipSpec
) -> DrawnUnit:
    """Read a unit and its masks, and draw them; nothing of it stays but small files."""
    unit_id, is_clip = row["unit_id"], row["kind"] != "image"
    tally = tally_masks(data, unit_id)
    frames: Sequence[Frame] = [None]
    if is_clip:
        frames = frames_to_show(tally, _looked_at(row, unit, config)) or [_first_frame(unit)]
    masks = masks_to_draw(data, unit_id, frames)
    most_px = _FRAME_PX if is_clip else _PICTURE_PX
    seen = SeenUnit(why_not=_UNKNOWN) if unit is None else see_unit(unit, frames, spec, most_px)
    colours = {number: rank for rank, number in enumerate(sorted(tally.objects))}
    painter = _Painter(row, tally, seen, colours, most_px)
    try:
        drawn = tuple(painter.frame(frame, masks.get(frame, [])) for frame in frames)
    except ValueError as error:  # run lengths that are none, of a picture without pixels
        complaint = f"Its masks cannot be read ({error}): sam2ray verify tells more."
        return DrawnUnit(row, tally, (), (), complaint)
    complaint = None
    if seen.why_not is not None:
        complaint = f"The source cannot be shown any more: {seen.why_not}"
    return DrawnUnit(row, tally, drawn, _chips(masks, colours), complaint)


def _looked_at(row: Row, unit: Unit | None, config: JobConfig) -> range | None:
    """The frames that a run has looked at, as far as its settings say; None if they do not."""
    if config.mode == "prompt" or config.decode.video.fps is not None:
        return None
    first, step = _first_frame(unit), config.decode.video.every_nth
    return range(first, first + (row["frames"] or 0) * step, step)


def _first_frame(unit: Unit | None) -> int:
    return 0 if unit is None else unit.first_frame or 0


@dataclass(frozen=True, slots=True, eq=False)
class _Painter:
    """Draws the frames of one unit; objects keep their colours through all of them."""

    row: Row
    tally: MaskTally
    seen: SeenUnit
    colours: Mapping[int, int]  # by object
    most_px: int

    def frame(self, number: Frame, masks: Sequence[Row]) -> DrawnFrame:
        picture, own_hw = self.seen.pictures.get(number), self.seen.sizes_hw.get(number)
        size_hw = own_hw or (self.row["height"] or _LOST_HW[0], self.row["width"] or _LOST_HW[1])
        if masks:
            size_hw = masks[0]["height"] or 0, masks[0]["width"] or 0
        if picture is not None and own_hw != size_hw:
            self.seen.why_not = (
                f"it is of another size now than when its masks were found ({_by(own_hw)} pixels, "
                f"{_by(size_hw)} then)"
            )
            picture = None
        grid = SmallGrid.of(size_hw, self.most_px)
        there = self.tally.masks if number is None else self.tally.frames[number]
        return DrawnFrame(
            number,
            masks[0]["timestamp_s"] if masks else None,
            grid.small_hw,
            None if picture is None else jpeg(picture),
            masks_png(grid, (self._coloured(mask, place) for place, mask in enumerate(masks))),
            there,
            there - len(masks),
        )

    def _coloured(self, mask: Row, place: int) -> ColouredMask:
        return ColouredMask(mask["rle_counts"] or "", _colour_of(mask, place, self.colours))


def _by(size_hw: tuple[int, int] | None) -> str:
    return "no" if size_hw is None else f"{size_hw[1]} x {size_hw[0]}"


def _colour_of(mask: Row, place: int, colours: Mapping[int, int]) -> int:
    """That of an object, or of the place of a mask among those of its picture."""
    return colours.get(mask["object_id"], place)


def _chips(masks: Mapping[Frame, Sequence[Row]], colours: Mapping[int, int]) -> tuple[Chip, ...]:
    """What colours stand for, where they stand for one thing: an object, or a named mask."""
    found: dict[int, Chip] = {}
    for frame, of_frame in masks.items():
        for place, mask in enumerate(of_frame):
            words = _words_on_picture(mask) if frame is None else _words_on_clip(mask)
            if words:
                colour = _colour_of(mask, place, colours)
                found.setdefault(colour, Chip(colour, words))
    return tuple(found[colour] for colour in sorted(found))


def _words_on_picture(mask: Row) -> str:
    """A name and a score; in mode auto masks have no names."""
    number, score = mask["object_id"], mask["predicted_iou"]
    name = _name_of(mask) or ("" if number is None else f"object {number}")
    return name if not name or score is None else f"{name} {score:.2f}"


def _words_on_clip(mask: Row) -> str:
    """An object; masks of none have their colours on each frame by their size alone."""
    if mask["object_id"] is None:
        return ""
    number, name = f"object {mask['object_id']}", _name_of(mask)
    return f"{name} ({number})" if name else number


def _name_of(mask: Row) -> str:
    return mask["label"] or (f"prompt {mask['prompt_id']}" if mask["prompt_id"] else "")
