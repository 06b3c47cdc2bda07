"""Models of attribution: what is published of them, and that nothing is lost or made by rounding."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracker.credits import HALF_LIFE_MS, MODELS, WHOLE, Model, share, weights

pytestmark = pytest.mark.any_database

DAY_MS = 86_400_000
SALE_MS = 1_795_000_000_000
instants = st.lists(st.integers(0, 90 * DAY_MS), min_size=1, max_size=50).map(sorted)
models = st.sampled_from(Model)


def credits_of(model: Model, instants_ms: Sequence[int]) -> list[int]:
    """Each touch's credit in millionths, the earliest touch first."""
    return share(WHOLE, weights(model, instants_ms))


def before(*days: float) -> list[int]:
    """Instants so many days before the sale, the earliest first."""
    return sorted(SALE_MS - round(day * DAY_MS) for day in days)


@pytest.mark.parametrize(
    ("model", "touches", "percent"),
    [
        (Model.LAST_CLICK, 4, (0, 0, 0, 100)),
        (Model.FIRST_CLICK, 4, (100, 0, 0, 0)),
        (Model.LINEAR, 4, (25, 25, 25, 25)),
        (Model.POSITION_BASED, 4, (40, 10, 10, 40)),
        (Model.POSITION_BASED, 3, (40, 20, 40)),
        (Model.POSITION_BASED, 2, (50, 50)),
        *((model, 1, (100,)) for model in Model),
    ],
)
def test_a_model_shares_as_it_is_published(model: Model, touches: int, percent: tuple[int, ...]) -> None:
    at = before(*range(touches))
    assert credits_of(model, at) == [each * WHOLE // 100 for each in percent]


def test_a_click_eight_days_before_gets_half_of_one_a_day_before() -> None:
    # The table of Google Ads: 1, 8, 15 and 22 days before get 1, 0.5, 0.25 and 0.125.
    weighed = weights(Model.TIME_DECAY, before(1, 8, 15, 22))
    assert [Fraction(each, weighed[-1]) for each in reversed(weighed)] == [1, *(Fraction(1, 2**n) for n in (1, 2, 3))]
    assert credits_of(Model.TIME_DECAY, before(0, 7)) == [333_333, 666_667]
    assert credits_of(Model.TIME_DECAY, before(1, 8, 15)) == [142_857, 285_714, 571_429]


def test_time_decay_asks_only_how_far_apart_the_touches_are() -> None:
    assert credits_of(Model.TIME_DECAY, before(0, 3)) == credits_of(Model.TIME_DECAY, before(20, 23))
    assert credits_of(Model.TIME_DECAY, before(2, 2)) == [500_000, 500_000]


def test_half_a_half_life_is_the_root_of_a_half() -> None:
    late, early = reversed(weights(Model.TIME_DECAY, [SALE_MS - HALF_LIFE_MS // 2, SALE_MS]))
    assert early / late == pytest.approx(0.5**0.5, rel=1e-11)


def test_what_rounding_leaves_goes_to_the_later_touch() -> None:
    assert credits_of(Model.LINEAR, before(0, 1, 2)) == [333_333, 333_333, 333_334]
    assert share(100, [1, 1, 1]) == [33, 33, 34]
    assert share(2, [1, 1, 1]) == [0, 1, 1]
    assert share(-100, [1, 1, 1]) == [-33, -33, -34]
    assert share(0, [1, 2]) == [0, 0]
    # The largest remainder comes before the later touch: 1.2, 0.6 and 0.2 of 2.
    assert share(2, [6, 3, 1]) == [1, 1, 0]


def test_touches_out_of_order_or_none_are_refused() -> None:
    for wrong in ([], [2, 1]):
        with pytest.raises(ValueError, match="earliest first"):
            credits_of(Model.LINEAR, wrong)


def test_models_are_named_by_words() -> None:
    assert list(MODELS) == ["last_click", "first_click", "linear", "time_decay", "position_based"]


@given(models, instants, st.integers(-(10**15), 10**15))
def test_credits_and_money_add_up_exactly(model: Model, at: list[int], minor: int) -> None:
    credited = credits_of(model, at)
    assert sum(credited) == WHOLE
    assert min(credited) >= 0
    shared = share(minor, weights(model, at))
    assert sum(shared) == minor
    assert all(part * minor >= 0 for part in shared)


@given(models, instants, st.integers(0, 10**12))
def test_a_part_is_less_than_one_unit_from_its_exact_share(model: Model, at: list[int], minor: int) -> None:
    weighed = weights(model, at)
    for part, weight in zip(share(minor, weighed), weighed, strict=True):
        assert abs(part - Fraction(minor * weight, sum(weighed))) < 1


@given(instants)
def test_a_later_touch_never_gets_less_by_time_decay_or_by_equal_parts(at: list[int]) -> None:
    for model in (Model.TIME_DECAY, Model.LINEAR):
        credited = credits_of(model, at)
        assert credited == sorted(credited)


@given(models, instants, st.integers(-(10**9), 10**9))
def test_the_same_path_another_time_is_credited_the_same(model: Model, at: list[int], shift: int) -> None:
    assert credits_of(model, at) == credits_of(model, [each + shift for each in at])
