"""Where the marks of a chart lie. Pure geometry in the SVG's own units; a template draws it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil, floor, log10

from tracker.reports.metrics import Rate

STEPS_MAX = 4
BAR_SHARE = 0.62
BAR_MAX = 34.0
LABEL_WIDTH = 66.0
BAND_WIDTH = 100.0
MARK_WIDTH = 1.0


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
class Chart:
    """Bars of this period, the period before as the points of a line, and both axes."""

    size: Size
    bars: list[Bar]
    line: str | None
    y_ticks: list[Tick]
    x_ticks: list[Tick]


def bar_chart(values: Sequence[Value], before: Sequence[int], size: Size) -> Chart:
    """`before` lies beside `values`, step by step; what is longer than `values` is cut off."""
    before = before[: len(values)]
    scale = axis(max([value.n for value in values] + list(before), default=0))
    top = scale[-1]
    plot_width, plot_height = size.width - size.left - size.right, size.height - size.top - size.bottom
    slot = plot_width / max(len(values), 1)
    bar_width = min(slot * BAR_SHARE, BAR_MAX)

    def y(n: int) -> float:
        return round(size.top + plot_height * (1 - n / top), 1)

    def middle(index: int) -> float:
        return round(size.left + slot * (index + 0.5), 1)

    bars = [
        Bar(
            x=round(middle(index) - bar_width / 2, 1),
            y=y(value.n),
            width=round(bar_width, 1),
            height=round(y(0) - y(value.n), 1),
            slot_x=round(size.left + slot * index, 1),
            slot_width=round(slot, 1),
            title=value.title,
            is_partial=value.is_partial,
        )
        for index, value in enumerate(values)
    ]
    return Chart(
        size=size,
        bars=bars,
        line=_line([(middle(index), y(n)) for index, n in enumerate(before)], slot),
        y_ticks=[Tick(y(n), n) for n in scale],
        x_ticks=_apart(Tick(middle(index), value.label) for index, value in enumerate(values) if value.label),
    )


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
    highs = [rate.interval[1] for rate in rates if rate.interval]
    highest = max(highs, default=0.0)
    if not 0 < highest < 1:
        return 1.0
    magnitude = 10.0 ** floor(log10(highest))
    return min(1.0, next(round(n * magnitude, 9) for n in (1.5, 2, 3, 4, 5, 6, 8, 10) if n * magnitude >= highest))
