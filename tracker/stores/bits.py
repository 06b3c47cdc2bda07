"""Several small numbers in one: what is counted then is one number a row, which is quickest."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Integer, cast, literal

# How many bits each takes.
FLAG, KIND, VERDICT = 1, 3, 4


def joined(column: Any, *more: tuple[Any, int]) -> ColumnElement[int]:
    """A number with smaller ones below it, each in so many bits; nothing where the first is nothing."""
    number: Any = cast(column, BigInteger)
    for each, bits in more:
        small = cast(each, Integer) if bits == FLAG else each
        number = number * literal(1 << bits, literal_execute=True) + small
    found: ColumnElement[int] = number
    return found


def parted(number: int, *bits: int) -> tuple[int, ...]:
    """What was joined: the first number, then those of so many bits."""
    found = []
    for width in reversed(bits):
        found.append(number & (1 << width) - 1)
        number >>= width
    return (number, *reversed(found))
