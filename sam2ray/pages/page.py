"""Outputs -> one page: what there is, a sample of it in pictures, and what failed.

The page comes in pieces, one unit after another, so that no more than one is ever in memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from .. import dataset
from ..config_section import public_uri
from ..report import counted
from ..storage import Options
from ..tables import amount
from .drawn_unit import draw_unit
from .html import Html, element, from_outside
from .sample import Overview, Row, Sample, modest_words, sample_units
from .style import STYLE
from .unit_card import address_of, title_of, unit_card
from .unit_pictures import reading_spec

MOST_FAILURES = 500  # that a page lists
_NOTE = 2000  # characters
_NO_NETWORK = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_OPENED = "<!doctype html>\n<html lang=en>"
_CLOSED = "</main></body></html>\n"


@dataclass(slots=True, eq=False)
class Shown:
    """An output on a page, and what came of showing it."""

    data: dataset.Dataset
    options: Options  # of stores, by protocol
    sample: Sample
    with_failures: bool
    heading: str
    notes: Sequence[str] = ()
    command: str | None = None  # by which it can be made
    lost: list[str] = field(default_factory=list)  # units that could not be shown in full

    @property
    def uri(self) -> str:
        """Where it lies, for anybody to see."""
        return public_uri(self.data.store.uri)

    @property
    def has_masks(self) -> bool:
        """Whether there is anything to draw."""
        return self.sample.overview.mode != "embed"


def open_shown(
    uri: str,
    options: Options,
    units: int,
    *,
    with_failures: bool = False,
    heading: str | None = None,
    notes: Sequence[str] = (),
    command: str | None = None,
) -> Shown:
    """Look at an output, and choose some of its units."""
    data = dataset.open(uri, options)
    sample = sample_units(data, units, MOST_FAILURES if with_failures else 0)
    title = heading or public_uri(data.store.uri).rstrip("/").rpartition("/")[2]
    return Shown(data, options, sample, with_failures, title, notes, command)


def page_of(title: str, outputs: Sequence[Shown], lead: Sequence[str] = ()) -> Iterator[str]:
    """A whole page; a single output needs no heading of its own."""
    yield _OPENED
    yield _head(title)
    yield "<body><main>"
    yield element("h1", from_outside(title))
    yield from (element("p", words, class_="soft") for words in lead)
    modest = modest_words(one.sample.overview.kept for one in outputs)
    if modest is not None:
        yield element("p", modest, class_="warning")
    if any(one.has_masks for one in outputs):
        yield _switch()
    for one in outputs:
        yield "<section>"
        if len(outputs) > 1:
            yield element("h2", from_outside(one.heading))
        yield from _section(one)
        yield "</section>"
    yield element("footer", "Made by sam2ray. All of this page is in this one file.")
    yield _CLOSED


def _head(title: str) -> Html:
    return element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", http_equiv="Content-Security-Policy", content=_NO_NETWORK),
        element("meta", name="referrer", content="no-referrer"),
        element("title", from_outside(title)),
        element("style", Html(STYLE)),
    )


def _switch() -> Html:
    box = element("input", type="checkbox", id="hide")
    words = "Point at a picture, or touch it, to see it the other way."
    label = element("label", box, "Hide all masks", for_="hide")
    return element("div", label, element("span", words, class_="soft"), class_="switch")


def _section(shown: Shown) -> Iterator[str]:
    overview = shown.sample.overview
    facts = f"{from_outside(shown.uri)} · mode {overview.mode} · model {overview.model}"
    yield element("p", facts, class_="soft")
    yield _totals(overview)
    yield from (element("p", from_outside(words, _NOTE)) for words in shown.notes)
    if shown.command is not None:
        code = element("code", from_outside(shown.command, _NOTE))
        yield element("p", "The same by hand: ", code, class_="soft")
    if not shown.has_masks:
        yield element("p", _without_masks(shown))
    elif shown.sample.good:
        if how_many := _how_many(shown):
            yield element("p", how_many, class_="soft")
        yield '<div class="units">'
        yield from _cards(shown)
        yield "</div>"
    yield from _failures(shown)


def _cards(shown: Shown) -> Iterator[Html]:
    config = shown.sample.overview.kept.config
    spec = reading_spec(config, shown.options)
    for row in shown.sample.good:
        drawn = draw_unit(shown.data, row, shown.sample.units.get(row["unit_id"]), config, spec)
        if drawn.complaint is not None:
            shown.lost.append(address_of(row))
        yield unit_card(drawn)


def _totals(overview: Overview) -> Html:
    now = overview.standing
    what = "masks" if overview.mode != "embed" else "embeddings"
    tiles = {"units": now.units, "done": now.ok, "failed": now.failed}
    tiles["waiting"] = now.units - now.ok - now.failed
    tiles[what] = overview.masks
    shown = [
        element("div", element("dt", name), element("dd", f"{count:,}"))
        for name, count in tiles.items()
        if count or name in ("units", "done", what)
    ]
    return element("dl", *shown, class_="totals")


def _how_many(shown: Shown) -> str:
    count, there = len(shown.sample.good), shown.sample.overview.standing.ok
    if count >= there:
        return f"All {there:,} units." if there > 1 else ""
    return f"{count:,} of {there:,} units, drawn by lot: the same ones each time."


def _without_masks(shown: Shown) -> str:
    return (
        "Mode embed keeps features of the encoder and no masks, so there are none to show. "
        f"sam2ray.open({shown.uri!r}).embeddings() reads them in Python."
    )


def _failures(shown: Shown) -> Iterator[Html]:
    now = shown.sample.overview.standing
    if not now.failed:
        return
    why = counted({name: count for name, count in now.ended.items() if name != "ok"})
    rows = shown.sample.failed
    more = "" if len(rows) == now.failed else f" {len(rows):,} of them are listed here."
    if not shown.with_failures:
        more = " sam2ray show --failed lists them with their reasons."
    yield element("p", f"{amount(now.failed, 'unit')} failed: {why}.{more}", class_="gone")
    if rows:
        yield _failure_table(rows)


def _failure_table(rows: Sequence[Row]) -> Html:
    head = element("tr", *(element("th", name) for name in ("unit", "class", "reason", "attempt")))
    lines = [
        element(
            "tr",
            element("td", title_of(row), title=address_of(row)),
            element("td", from_outside(row["error_class"] or ""), class_="class"),
            element("td", from_outside(row["error_message"] or "")),
            element("td", str(row["attempt"])),
        )
        for row in rows
    ]
    return element("div", element("table", head, *lines), class_="failures")
