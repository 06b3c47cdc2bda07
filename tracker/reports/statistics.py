"""How sure a rate is. Each function names the source of its formula."""

from __future__ import annotations

from math import sqrt

Z_95 = 1.959963984540054


def wilson(hits: int, trials: int, z: float = Z_95) -> tuple[float, float]:
    """The score interval of a proportion, 0 <= hits <= trials, trials > 0.

    E. B. Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927), 209-212.
    81 of 263 gives .2553 to .3662; 0 of 20 gives 0 to .1611 (Newcombe, Statistics in Medicine 17 (1998), 857-872).
    """
    p = hits / trials
    square = z * z
    centre = p + square / (2 * trials)
    margin = z * sqrt((p * (1 - p) + square / (4 * trials)) / trials)
    scale = 1 + square / trials
    low = 0.0 if hits == 0 else (centre - margin) / scale
    high = 1.0 if hits == trials else (centre + margin) / scale
    return low, high


def newcombe(hits: int, trials: int, hits_before: int, trials_before: int) -> tuple[float, float]:
    """The 95 % interval of the difference of two proportions, first less second, each over trials > 0.

    Method 10 (hybrid score) of R. G. Newcombe, Statistics in Medicine 17 (1998), 873-890.
    56 of 70 less 48 of 80 gives .0524 to .3339.
    """
    p, q = hits / trials, hits_before / trials_before
    low, high = wilson(hits, trials)
    low_before, high_before = wilson(hits_before, trials_before)
    difference = p - q
    return (
        difference - sqrt((p - low) ** 2 + (high_before - q) ** 2),
        difference + sqrt((high - p) ** 2 + (q - low_before) ** 2),
    )
