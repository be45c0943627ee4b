"""A drawn unit -> its card on a page."""

from __future__ import annotations

from collections.abc import Iterator

from ..readers.places import base_name
from ..tables import amount
from .drawn_unit import Chip, DrawnFrame, DrawnUnit
from .html import Html, data_uri, element, from_outside
from .painting import css_colour
from .sample import Row

_CHIPS, _LABELS = 12, 6
_TITLE = 120  # characters
_TINY_PX = 160  # smaller pictures grow on the page, and their pixels are to be seen


def unit_card(unit: DrawnUnit) -> Html:
    """A picture with its masks on it, or frames of a clip side by side, and what they are."""
    is_clip = unit.row["kind"] != "image"
    about = element(
        "div",
        element("h3", title_of(unit.row), title=address_of(unit.row)),
        *(element("p", words, class_="soft") for words in _facts(unit)),
        *_complaints(unit),
        _chips(unit.chips),
        class_="about",
    )
    frames = [_frame(unit, frame) for frame in unit.frames]
    if not is_clip:
        return element("article", *frames, about, class_="unit")
    return element("article", element("div", *frames, class_="strip"), about, class_="unit clip")


def title_of(row: Row) -> str:
    """The name of a unit's file, and its member or row."""
    member = f" / {base_name(row['member']) or row['member']}" if row["member"] else ""
    return from_outside(f"{base_name(row['source_uri']) or row['source_uri']}{member}", _TITLE)


def address_of(row: Row) -> str:
    """Where a unit lies, in full."""
    member = f" / {row['member']}" if row["member"] else ""
    return from_outside(f"{row['source_uri']}{member}")


def _frame(unit: DrawnUnit, frame: DrawnFrame) -> Html:
    height, width = frame.small_hw
    size = {"width": width, "height": height}
    kinds = ["layers"]
    layers: list[Html] = []
    if frame.picture is None:
        kinds.append("lost")
    else:
        source = data_uri(frame.picture, "image/jpeg")
        layers.append(element("img", class_="seen", src=source, alt="", **size))
    found = data_uri(frame.masks, "image/png")
    layers.append(element("img", class_="found", src=found, alt="", **size))
    if max(frame.small_hw) < _TINY_PX:
        kinds.append("tiny")
    name = f"{title_of(unit.row)} and its masks"
    shown = element("div", *layers, class_=" ".join(kinds), tabindex=0, role="img", aria_label=name)
    words = ", ".join(_frame_words(frame))
    return element("figure", shown, element("figcaption", words) if words else Html())


def _frame_words(frame: DrawnFrame) -> Iterator[str]:
    if frame.number is not None:
        yield f"frame {frame.number:,}"
    if frame.seconds is not None:
        yield f"{frame.seconds:.2f} s"
    if frame.number is not None and not frame.there:
        yield "no masks"
    if frame.left_out:
        yield f"without the {amount(frame.left_out, 'smallest mask')}"


def _facts(unit: DrawnUnit) -> Iterator[str]:
    row, tally = unit.row, unit.tally
    facts = []
    if row["width"] and row["height"]:
        facts.append(f"{row['width']:,} × {row['height']:,}")
    if row["kind"] != "image":
        facts.append(_length(row))
    if tally.objects and row["kind"] != "image":  # of a picture, each mask is an object
        facts.append(amount(len(tally.objects), "object"))
    masks = amount(tally.masks, "mask")
    facts.append(f"{masks} on {amount(len(tally.frames), 'frame')}" if tally.frames else masks)
    yield " · ".join(facts)
    if tally.score is not None:
        low, high = (f"{score:.2f}" for score in tally.score_range)
        spread = "" if low == high else f" ({low} to {high})"
        yield f"The model's own estimate of IoU: {tally.score:.2f}{spread}"
    if len(tally.labels) > min(len(unit.chips), _CHIPS):
        names = [
            f"{from_outside(name, 60)} × {count:,}"
            for name, count in tally.labels.most_common(_LABELS)
        ]
        more = ["…"] if len(tally.labels) > _LABELS else []
        yield f"Labels: {', '.join([*names, *more])}"


def _length(row: Row) -> str:
    frames = amount(row["frames"] or 0, "frame")
    return f"{frames} at {row['fps']:.3g} a second" if row["fps"] else frames


def _complaints(unit: DrawnUnit) -> Iterator[Html]:
    row = unit.row
    if row["error_class"]:  # beside status ok: a clip that ended early
        words = f"{row['error_class']}: {row['error_message'] or ''}"
        yield element("p", from_outside(words), class_="gone")
    if unit.complaint is not None:
        yield element("p", from_outside(unit.complaint), class_="gone")


def _chips(chips: tuple[Chip, ...]) -> Html:
    if not chips:
        return Html()
    shown = [
        element(
            "li",
            element("i", style=f"background:{css_colour(chip.colour)}"),
            from_outside(chip.words, 80),
        )
        for chip in chips[:_CHIPS]
    ]
    if len(chips) > _CHIPS:
        shown.append(element("li", f"and {len(chips) - _CHIPS:,} more"))
    return element("ul", *shown, class_="chips")
