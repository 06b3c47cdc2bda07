"""The intervals, against the figures of the papers they come from."""

from __future__ import annotations

import pytest

from tracker.reports.comparison import difference
from tracker.reports.metrics import Rate
from tracker.reports.statistics import newcombe, wilson

pytestmark = pytest.mark.any_database


@pytest.mark.parametrize(
    ("hits", "trials", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (0, 20, 0.0, 0.1611), (480, 12000, 0.0366, 0.0437), (24, 480, 0.0338, 0.0733)],
)
def test_wilson_gives_the_published_limits(hits: int, trials: int, low: float, high: float) -> None:
    assert wilson(hits, trials) == pytest.approx((low, high), abs=5e-5)
    assert wilson(trials - hits, trials) == pytest.approx((1 - high, 1 - low), abs=5e-5)


def test_newcombe_gives_the_published_limits() -> None:
    assert newcombe(56, 70, 48, 80) == pytest.approx((0.0524, 0.3339), abs=5e-5)


def test_a_rate_without_trials_is_none_and_one_above_all_has_no_interval() -> None:
    assert (Rate(0, 0).value, Rate(0, 0).interval) == (None, None)
    assert (Rate(3, 2).value, Rate(3, 2).interval) == (1.5, None)
    assert difference(Rate(1, 2), Rate(0, 0)) is None
    change = difference(Rate(50, 100), Rate(10, 100))
    assert change is not None
    assert change.is_real
