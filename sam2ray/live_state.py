"""How a run is doing -> words: all of them for a log, and what matters most for a narrow line."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from .ledger import Tally
from .records import ErrorClass
from .report import counted, duration
from .root import Selection, Standing

Watcher = Callable[[Standing, Tally], None]
"""Called about once a second with where a run began and how it is doing."""

_PACE_OVER_S = 60.0
_BETWEEN = ", "
_BAR = 24
_SHORTEST_BAR = 8
_DONE, _LEFT = "━", "─"


@dataclass(slots=True)
class Pace:
    """How fast units and frames end, by what ended lately."""

    _seen: deque[tuple[float, int, int]] = field(default_factory=deque)  # seconds, units, frames

    def see(self, tally: Tally) -> None:
        """Take note of how things stand."""
        self._seen.append((tally.elapsed_s, sum(tally.ended.values()), tally.frames))
        while len(self._seen) > 2 and self._seen[-1][0] - self._seen[1][0] >= _PACE_OVER_S:
            self._seen.popleft()

    @property
    def units_per_s(self) -> float:
        """Units that ended."""
        return self._rate(1)

    @property
    def frames_per_s(self) -> float:
        """Frames with results."""
        return self._rate(2)

    def _rate(self, of: int) -> float:
        if not self._seen:
            return 0.0
        last = self._seen[-1]
        # Results are committed many at a time: a short window would see none, or a whole file.
        first = self._seen[0] if last[0] - self._seen[0][0] >= _PACE_OVER_S / 2 else (0.0, 0, 0)
        seconds = last[0] - first[0]
        return (last[of] - first[of]) / seconds if seconds > 0 else 0.0


def units_to_do(before: Standing, chosen: Selection) -> int:
    """Units that a run takes, at most: of those that failed some may have no attempt left."""
    waiting = before.units - before.ok - before.failed
    again = sum(
        count
        for name, count in before.ended.items()
        if name != "ok" and (ErrorClass(name).retryable or ErrorClass(name) in chosen.retried)
    )
    return waiting + again if chosen.limit is None else min(chosen.limit, waiting + again)


# ---------------------------------------------------------------- words


@dataclass(frozen=True, slots=True)
class Part:
    """One thing to be said, at length and in short; what has a low rank matters most."""

    rank: int
    words: str
    short: str


def state_in_parts(to_do: int, tally: Tally, pace: Pace) -> list[Part]:
    """What ended, what failed, how fast, how long it will take, as it is read."""
    if not to_do:
        return [Part(0, "nothing is to be done", "nothing to do")]
    ended = sum(tally.ended.values())
    failures = {name: count for name, count in tally.ended.items() if name != "ok"}
    parts = [
        Part(0, f"{ended:,} of {to_do:,} units", f"{ended:,}/{to_do:,}"),
        Part(5, f"{tally.masks:,} masks", f"{tally.masks:,} masks"),
    ]
    if failures:
        of_all = f"{sum(failures.values()):,} failed"
        parts.append(Part(3, f"failed: {counted(failures)}", of_all))
    if not ended:
        words = "nothing has ended yet: models are loaded, the first units run"
        return [*parts, Part(1, words, "nothing has ended")]
    rate = pace.units_per_s
    parts.append(Part(1, f"{rate:,.2f} {tally.unit_name}/s", f"{_in_short(rate)}/s"))
    if tally.of_clips:
        frames = pace.frames_per_s
        parts.append(Part(4, f"{frames:,.1f} frames/s", f"{_in_short(frames)} frames/s"))
    if ended < to_do and rate > 0:
        left = duration((to_do - ended) / rate)
        parts.append(Part(2, f"{left} left", " ".join(left.split()[:2])))
    return parts


def state_in_words(parts: Sequence[Part]) -> str:
    """All of it in one line."""
    return _BETWEEN.join(part.words for part in parts)


def state_within(parts: Sequence[Part], width: int) -> str:
    """What matters most in so many columns: first all in short, then at length what has room."""
    ranked = sorted(parts, key=lambda part: part.rank)
    shown: dict[int, str] = {}
    for part in ranked:
        if not _fits({**shown, part.rank: part.short}, width):
            break  # what matters less does not take its place
        shown[part.rank] = part.short
    for part in ranked:
        longer = {**shown, part.rank: part.words}
        if part.rank in shown and _fits(longer, width):
            shown = longer
    return _BETWEEN.join(shown[part.rank] for part in parts if part.rank in shown)[:width]


def _fits(words: dict[int, str], width: int) -> bool:
    return len(_BETWEEN.join(words.values())) <= width


def bar_within(done: float, width: int) -> str:
    """A bar in what the words leave, or nothing where that is too little to tell from."""
    length = min(_BAR, width)
    if length < _SHORTEST_BAR:
        return ""
    filled = round(length * min(1.0, max(0.0, done)))
    return _DONE * filled + _LEFT * (length - filled)


def _in_short(rate: float) -> str:
    return f"{rate:,.2f}" if rate < 10 else f"{rate:,.1f}" if rate < 100 else f"{rate:,.0f}"
