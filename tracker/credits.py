"""How the credit for one conversion is shared among the touches that led to it, by each model of attribution.

Whole numbers only: a credit is in millionths, which add up to 1,000,000, and money in minor units, which add up to the
amount. What rounding leaves over goes by the largest remainder, of equal ones to the later touch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Context, Decimal
from enum import IntEnum
from functools import lru_cache

WHOLE = 1_000_000
HALF_LIFE_MS = 7 * 86_400_000
# A weight of the latest touch; one of 40 half-lives before counts nothing beside it.
_DECAY_SCALE = 2**40
# Decimal arithmetic is the same on every machine, which powers of floats are not.
_CONTEXT = Context(prec=28)


class Model(IntEnum):
    """Numbers are stored: never renumber."""

    LAST_CLICK = 1
    FIRST_CLICK = 2
    LINEAR = 3
    TIME_DECAY = 4
    POSITION_BASED = 5

    @property
    def word(self) -> str:
        return self.name.lower()


MODELS = {model.word: model for model in Model}
Weights = Callable[[Sequence[int]], list[int]]


def _last(instants_ms: Sequence[int]) -> list[int]:
    return [0] * (len(instants_ms) - 1) + [1]


def _first(instants_ms: Sequence[int]) -> list[int]:
    return [1] + [0] * (len(instants_ms) - 1)


def _linear(instants_ms: Sequence[int]) -> list[int]:
    return [1] * len(instants_ms)


def _time_decay(instants_ms: Sequence[int]) -> list[int]:
    """Half as much for each seven days earlier, against the latest touch: only ratios matter, not when it converted.

    As Google Ads has it: a click 8 days before the conversion gets half as much as one 1 day before.
    """
    return [_decayed(instants_ms[-1] - at_ms) for at_ms in instants_ms]


@lru_cache(maxsize=10_000)
def _decayed(age_ms: int) -> int:
    halvings = _CONTEXT.divide(Decimal(-age_ms), Decimal(HALF_LIFE_MS))
    return int(_CONTEXT.multiply(_CONTEXT.power(Decimal(2), halvings), Decimal(_DECAY_SCALE)))


def _position_based(instants_ms: Sequence[int]) -> list[int]:
    """40 % to the first and to the last, 20 % to all between in equal parts; of two each has half."""
    between = len(instants_ms) - 2
    if between <= 0:
        return [1] * len(instants_ms)
    return [2 * between, *[1] * between, 2 * between]


_WEIGHTS: Mapping[Model, Weights] = {
    Model.LAST_CLICK: _last,
    Model.FIRST_CLICK: _first,
    Model.LINEAR: _linear,
    Model.TIME_DECAY: _time_decay,
    Model.POSITION_BASED: _position_based,
}


def weights(model: Model, instants_ms: Sequence[int]) -> list[int]:
    """What each touch weighs against the others. `instants_ms` are the touches' own, the earliest first; one at least.

    Raises ValueError where there is none, or where they are not in order.
    """
    if not instants_ms or list(instants_ms) != sorted(instants_ms):
        raise ValueError("touches are given the earliest first, and there is one at least")
    return _WEIGHTS[model](instants_ms)


def share(total: int, weighed: Sequence[int]) -> list[int]:
    """Parts of `total`, which may be negative, in proportion to weights of which one at least is not zero."""
    if total < 0:
        return [-part for part in share(-total, weighed)]
    whole = sum(weighed)
    parts = [total * weight // whole for weight in weighed]
    remainders = [total * weight % whole for weight in weighed]
    latest_first = sorted(range(len(parts)), key=lambda place: (remainders[place], place), reverse=True)
    for place in latest_first[: total - sum(parts)]:
        parts[place] += 1
    return parts
