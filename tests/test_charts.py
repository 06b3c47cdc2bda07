"""The geometry of charts: what a reader sees must be in proportion to what was counted."""

from __future__ import annotations

from itertools import pairwise

import pytest

from tracker.reports.metrics import Rate
from tracker.web.charts import (
    BAND_WIDTH,
    LABEL_WIDTH,
    NARROW,
    STEPS_MAX,
    WIDE,
    Mark,
    Size,
    Value,
    axis,
    band,
    band_top,
    bar_chart,
)

pytestmark = pytest.mark.any_database


def values(*counts: int) -> list[Value]:
    return [Value(n, f"day {index}", f"day {index}: {n}") for index, n in enumerate(counts)]


@pytest.mark.parametrize(
    ("highest", "scale"), [(0, [0, 1]), (1, [0, 1]), (4, [0, 1, 2, 3, 4]), (91, [0, 25, 50, 75, 100])]
)
def test_an_axis_has_round_whole_numbers(highest: int, scale: list[int]) -> None:
    assert axis(highest) == scale


@pytest.mark.parametrize("highest", [*range(200), 999, 1000, 1001, 123_456_789])
def test_an_axis_reaches_the_highest_value_in_few_steps(highest: int) -> None:
    scale = axis(highest)
    assert scale[0] == 0
    assert scale[-1] >= highest
    assert 2 <= len(scale) <= STEPS_MAX + 1


def test_bars_are_as_high_as_their_values() -> None:
    chart = bar_chart(values(0, 10, 20), [], WIDE)
    assert chart.bars[0].height == 0
    assert chart.bars[2].height == pytest.approx(2 * chart.bars[1].height, abs=0.2)
    assert {round(bar.y + bar.height, 1) for bar in chart.bars} == {WIDE.height - WIDE.bottom}


@pytest.mark.parametrize("shown", [WIDE, NARROW])
@pytest.mark.parametrize("count", [1, 2, 14, 120])
def test_everything_lies_inside_the_drawing(shown: Size, count: int) -> None:
    chart = bar_chart(values(*range(count)), list(range(count)), shown)
    assert all(shown.left <= bar.x and bar.x + bar.width <= shown.width for bar in chart.bars)
    assert all(shown.top <= bar.y <= shown.height for bar in chart.bars)
    assert len(chart.bars) == count


def test_the_period_before_shares_the_scale() -> None:
    chart = bar_chart(values(10), [40], WIDE)
    assert [tick.label for tick in chart.y_ticks][-1] == 40
    assert chart.line is not None
    assert {point.split(",")[1] for point in chart.line.split()} == {f"{WIDE.top:.1f}"}


def test_a_longer_period_before_is_cut_to_this_one() -> None:
    chart = bar_chart(values(1, 2), [1, 2, 3], WIDE)
    assert chart.line is not None
    assert len(chart.line.split()) == 2


def test_without_a_period_before_there_is_no_line() -> None:
    assert bar_chart(values(1, 2), [], WIDE).line is None


def test_labels_keep_their_distance_and_empty_ones_are_left_out() -> None:
    chart = bar_chart(values(*[1] * 100), [], NARROW)
    places = [tick.at for tick in chart.x_ticks]
    assert all(b - a >= LABEL_WIDTH for a, b in pairwise(places))
    assert bar_chart([Value(1, "", "an hour")], [], WIDE).x_ticks == []


def test_an_empty_series_still_has_axes() -> None:
    chart = bar_chart([], [], WIDE)
    assert chart.bars == []
    assert [tick.label for tick in chart.y_ticks] == [0, 1]


def test_every_mark_has_its_words() -> None:
    assert [bar.title for bar in bar_chart(values(3, 4), [], WIDE).bars] == ["day 0: 3", "day 1: 4"]


def test_a_band_runs_between_the_interval_s_limits() -> None:
    rate = Rate(480, 12_000)
    drawn = band(rate, 0.05)
    assert drawn is not None
    assert rate.interval is not None
    assert drawn.start == pytest.approx(rate.interval[0] / 0.05 * BAND_WIDTH, abs=0.1)
    assert drawn.start < drawn.at < drawn.start + drawn.width


@pytest.mark.parametrize("rate", [Rate(0, 0), Rate(3, 2)])
def test_without_an_interval_there_is_no_band(rate: Rate) -> None:
    assert band(rate, 1.0) is None


@pytest.mark.parametrize("rate", [Rate(0, 1), Rate(1, 1), Rate(0, 10**9), Rate(10**9, 10**9)])
def test_a_band_never_leaves_its_track(rate: Rate) -> None:
    drawn = band(rate, band_top([rate]))
    assert drawn is not None
    assert 0 <= drawn.start <= drawn.start + drawn.width <= BAND_WIDTH + 0.5
    assert 0 <= drawn.at <= BAND_WIDTH


def test_several_rates_share_one_scale() -> None:
    rates = [Rate(1, 100), Rate(9, 100), Rate(0, 0)]
    top = band_top(rates)
    assert all(rate.interval is None or rate.interval[1] <= top for rate in rates)
    assert band_top([]) == band_top([Rate(1, 1)]) == 1.0


def test_changes_that_would_lie_upon_each_other_share_a_flag() -> None:
    marks = [Mark(1.5, f"link {number} made") for number in range(5)]
    marks += [Mark(0.1, "campaign made"), Mark(2.9, "note")]
    flags = bar_chart(values(1, 2, 3), [], WIDE, marks).flags
    assert [flag.title for flag in flags] == [
        "campaign made",
        "link 0 made; link 1 made; link 2 made; and 2 more",
        "note",
    ]
    assert [flag.x for flag in flags] == sorted(flag.x for flag in flags)
    # Upon a phone there is less room.
    near = [Mark(place, f"at {place}") for place in (1.0, 1.06, 1.5)]
    assert [len(bar_chart(values(1, 2, 3), [], size, near).flags) for size in (WIDE, NARROW)] == [3, 2]
