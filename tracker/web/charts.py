"""Where the marks of a chart lie. Pure geometry in the SVG's own units; a template draws it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from math import ceil, floor, log10

from tracker.reports.metrics import Rate

STEPS_MAX = 4
BAR_SHARE = 0.62
BAR_MAX = 34.0
LABEL_WIDTH = 66.0
BAND_WIDTH = 100.0
MARK_WIDTH = 1.0
FLAG_WIDTH = 10.0
FLAG_NAMES_MAX = 3


@dataclass(frozen=True, slots=True)
class Size:
    """A drawing and the margins kept free for its labels."""

    width: int
    height: int
    left: int
    right: int = 4
    top: int = 12
    bottom: int = 26


# A phone gets a drawing of its own, so that its labels keep their size.
WIDE = Size(width=900, height=240, left=44)
NARROW = Size(width=350, height=230, left=36)


@dataclass(frozen=True, slots=True)
class Value:
    """One step of a series. `label` stands under the axis (or nothing does), `title` says all about it in words.

    Of a partial one more is to come.
    """

    n: int
    label: str
    title: str
    is_partial: bool = False


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar, and the whole column it stands in (`slot_*`), which is what a pointer may hit."""

    x: float
    y: float
    width: float
    height: float
    slot_x: float
    slot_width: float
    title: str
    is_partial: bool


@dataclass(frozen=True, slots=True)
class Tick:
    """A label and the place on its axis."""

    at: float
    label: int | str


@dataclass(frozen=True, slots=True)
class Dot:
    """A rate with its interval from `low` to `high`, in the column (`slot_*`) it stands in; without a rate no mark."""

    x: float
    y: float | None
    low: float | None
    high: float | None
    slot_x: float
    slot_width: float
    title: str


@dataclass(frozen=True, slots=True)
class Flag:
    """Something that was changed, or several things one could not tell apart: where on the axis of time, and what."""

    x: float
    title: str


@dataclass(frozen=True, slots=True)
class Mark:
    """A change before it is drawn; `place` counts steps from the left edge: 1.5 is the middle of the second."""

    place: float
    title: str


@dataclass(frozen=True, slots=True)
class Chart:
    """Bars or dots of this period, the period before as the points of a line, changes, and both axes."""

    size: Size
    bars: list[Bar]
    line: str | None
    y_ticks: list[Tick]
    x_ticks: list[Tick]
    dots: list[Dot] = field(default_factory=list)
    flags: list[Flag] = field(default_factory=list)


class _Plane:
    """Where columns and values lie in a drawing whose highest value is `top`."""

    def __init__(self, size: Size, columns: int, top: float) -> None:
        self._size, self._top = size, top
        self._height = size.height - size.top - size.bottom
        self.slot = (size.width - size.left - size.right) / max(columns, 1)

    def y(self, n: float) -> float:
        return round(self._size.top + self._height * (1 - n / self._top), 1)

    def x(self, place: float) -> float:
        return round(self._size.left + self.slot * place, 1)

    def middle(self, index: int) -> float:
        return self.x(index + 0.5)

    def flags(self, marks: Iterable[Mark]) -> list[Flag]:
        """Marks that would lie upon each other share a flag at the first one's place."""
        shared: list[tuple[float, list[str]]] = []
        for mark in sorted(marks, key=lambda mark: mark.place):
            x = self.x(mark.place)
            if shared and x - shared[-1][0] < FLAG_WIDTH:
                shared[-1][1].append(mark.title)
            else:
                shared.append((x, [mark.title]))
        return [Flag(x, _listed(titles)) for x, titles in shared]


def _listed(titles: Sequence[str]) -> str:
    left = len(titles) - FLAG_NAMES_MAX
    return "; ".join(titles[:FLAG_NAMES_MAX]) + (f"; and {left} more" if left > 0 else "")


def bar_chart(values: Sequence[Value], before: Sequence[int], size: Size, marks: Sequence[Mark] = ()) -> Chart:
    """`before` lies beside `values`, step by step; what is longer than `values` is cut off."""
    before = before[: len(values)]
    scale = axis(max([value.n for value in values] + list(before), default=0))
    plane = _Plane(size, len(values), scale[-1])
    bar_width = min(plane.slot * BAR_SHARE, BAR_MAX)
    bars = [
        Bar(
            x=round(plane.middle(index) - bar_width / 2, 1),
            y=plane.y(value.n),
            width=round(bar_width, 1),
            height=round(plane.y(0) - plane.y(value.n), 1),
            slot_x=plane.x(index),
            slot_width=round(plane.slot, 1),
            title=value.title,
            is_partial=value.is_partial,
        )
        for index, value in enumerate(values)
    ]
    return Chart(
        size=size,
        bars=bars,
        line=_line([(plane.middle(index), plane.y(n)) for index, n in enumerate(before)], plane.slot),
        y_ticks=[Tick(plane.y(n), n) for n in scale],
        x_ticks=_labels(plane, [value.label for value in values]),
        flags=plane.flags(marks),
    )


@dataclass(frozen=True, slots=True)
class RateValue:
    """A rate at one step of a series, as Value is of counts."""

    rate: Rate
    label: str
    title: str


def rate_chart(
    values: Sequence[RateValue], before: Sequence[Rate], size: Size, say: Callable[[float], str], marks: Sequence[Mark]
) -> Chart:
    """Rates as dots with their intervals, those of the period before as a line that leaves out what has none.

    The axis ends above the rates and what of their intervals is of use: a day with three hits must not squeeze others.
    `say` writes a fraction as a label of the axis.
    """
    before = before[: len(values)]
    rates = [value.rate for value in values] + list(before)
    known = [rate.value for rate in rates if rate.value is not None]
    highs = sorted(value.rate.interval[1] for value in values if value.rate.interval)
    usual = highs[len(highs) // 2] if highs else 0.0
    top = _round_up(max([*known, usual], default=0.0))
    plane = _Plane(size, len(values), top)

    def dot(index: int, value: RateValue) -> Dot:
        rate, interval = value.rate.value, value.rate.interval
        low, high = (plane.y(min(edge, top)) for edge in interval) if interval else (None, None)
        y = None if rate is None else plane.y(min(rate, top))
        return Dot(plane.middle(index), y, low, high, plane.x(index), round(plane.slot, 1), value.title)

    points = [
        (plane.middle(index), plane.y(min(rate.value, top)))
        for index, rate in enumerate(before)
        if rate.value is not None
    ]
    return Chart(
        size=size,
        bars=[],
        dots=[dot(index, value) for index, value in enumerate(values)],
        line=_line(points, plane.slot),
        y_ticks=[Tick(plane.y(top * part / STEPS_MAX), say(top * part / STEPS_MAX)) for part in range(STEPS_MAX + 1)],
        x_ticks=_labels(plane, [value.label for value in values]),
        flags=plane.flags(marks),
    )


def _labels(plane: _Plane, labels: Sequence[str]) -> list[Tick]:
    return _apart(Tick(plane.middle(index), label) for index, label in enumerate(labels) if label)


def sparkline(values: Sequence[int], width: float = 100.0, height: float = 24.0) -> str:
    """The points of a small line over the whole width, from 0 to the highest value; empty without any."""
    if not any(values):
        return ""
    top, step = max(values), width / max(len(values) - 1, 1)
    points = [(round(index * step, 1), round(1 + (height - 2) * (1 - n / top), 1)) for index, n in enumerate(values)]
    points = points if len(points) > 1 else [points[0], (width, points[0][1])]
    return " ".join(f"{x:g},{y:g}" for x, y in points)


def _apart(ticks: Iterable[Tick]) -> list[Tick]:
    """As many labels as find room beside each other, from the left."""
    kept: list[Tick] = []
    for tick in ticks:
        if not kept or tick.at - kept[-1].at >= LABEL_WIDTH:
            kept.append(tick)
    return kept


def _line(points: list[tuple[float, float]], slot: float) -> str | None:
    if not points:
        return None
    if len(points) == 1:
        x, y = points[0]
        points = [(round(x - slot / 4, 1), y), (round(x + slot / 4, 1), y)]
    return " ".join(f"{x},{y}" for x, y in points)


def axis(highest: int) -> list[int]:
    """Whole round numbers from 0 to at or above the highest value, at most STEPS_MAX steps."""
    highest = max(highest, 1)
    magnitude = 10 ** floor(log10(max(highest / STEPS_MAX, 1)))
    steps = [n * magnitude // 10 for n in (10, 20, 25, 50, 100) if n * magnitude % 10 == 0]
    step = next(step for step in steps if step * STEPS_MAX >= highest)
    return list(range(0, step * ceil(highest / step) + 1, step))


@dataclass(frozen=True, slots=True)
class Band:
    """A rate with its interval on a bar of BAND_WIDTH units for 0 to `top`; `at` is the left edge of its mark."""

    start: float
    width: float
    at: float
    top: float


def band(rate: Rate, top: float) -> Band | None:
    """None where the rate has no interval."""
    if rate.interval is None or rate.value is None:
        return None
    low, high = rate.interval
    start, end = (min(edge / top, 1) * BAND_WIDTH for edge in (low, high))
    at = min(max(rate.value / top * BAND_WIDTH - MARK_WIDTH / 2, 0), BAND_WIDTH - MARK_WIDTH)
    return Band(round(start, 1), round(max(end - start, 0.5), 1), round(at, 1), top)


def band_top(rates: Iterable[Rate]) -> float:
    """One scale for several rates: the next round fraction above the highest interval, 1 at most."""
    return _round_up(max((rate.interval[1] for rate in rates if rate.interval), default=0.0))


def _round_up(highest: float) -> float:
    """The next round fraction above, 1 at most; for nothing 1."""
    if not 0 < highest < 1:
        return 1.0
    magnitude = 10.0 ** floor(log10(highest))
    return min(1.0, next(round(n * magnitude, 9) for n in (1.5, 2, 3, 4, 5, 6, 8, 10) if n * magnitude >= highest))
